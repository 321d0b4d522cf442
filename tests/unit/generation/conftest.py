"""A measured phantom folder, shared by the tests of generating."""

import pytest
from tests.generation_examples import open_pool
from tests.unit.data.measured_phantom import measure_copy


@pytest.fixture(scope="session")
def pool(phantom_folder, tmp_path_factory):
    return open_pool(measure_copy(phantom_folder, tmp_path_factory.mktemp("pool") / "phantom"))
