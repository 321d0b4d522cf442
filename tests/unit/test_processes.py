"""Work in several processes."""

from functools import partial

import pytest

from lfvar.errors import ConfigError
from lfvar.processes import Workers, _fail


def double(value):
    return 2 * value


def double_here(number):
    return double


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_cannot_be_set_up_says_why(processes):
    """Not that a process died, most likely for lack of memory."""
    wrong = partial(_fail, ConfigError("the segmenter takes 64 px", cure="use another"))
    with (
        pytest.raises(ConfigError, match="takes 64 px"),
        Workers(wrong, processes, cure="use fewer processes") as workers,
    ):
        list(workers.spread(range(3)))


def test_pieces_of_work_come_back():
    with Workers(double_here, 1, cure="") as workers:
        assert sorted(workers.spread(range(5))) == [0, 2, 4, 6, 8]
