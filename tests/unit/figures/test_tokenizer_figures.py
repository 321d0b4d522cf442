import numpy as np
import pytest

from lfvar.figures.panels import GAP, HEADING, draw_reconstructions
from lfvar.figures.tokenizer import CAPTION, draw_captioned, draw_preservation, pick_evenly
from lfvar.measure.schema import SCHEMA
from lfvar.metrics.preservation import preservation_table


def test_captions_stand_left_of_their_rows():
    image = np.zeros((2, 3, 8, 8))
    mask = np.ones((2, 8, 8), bool)
    picture = draw_captioned(image, mask, [image], (8,), ["", "second\nrow"])
    table = draw_reconstructions(image, mask, [image], (8,), side=128)
    assert np.array_equal(picture[:, CAPTION:], table)
    left = picture[:, :CAPTION]
    first, second = left[HEADING : HEADING + 128], left[HEADING + 128 + GAP :]
    assert (first == 255).all()
    assert (second < 128).any()
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        draw_captioned(image, mask, [image], (8,), ["one"])


def test_rows_go_from_the_worst_to_the_best():
    values = np.array([30.0, np.inf, 10.0, 20.0, np.nan, 40.0])
    assert pick_evenly(values, 6).tolist() == [2, 3, 0, 5, 1, 4]
    assert pick_evenly(values, 2).tolist() == [2, 4]
    assert pick_evenly(values[:1], 5).tolist() == [0]


def test_preservation_is_drawn_as_it_is():
    generator = np.random.default_rng(0)
    original = generator.random((20, len(SCHEMA)))
    recon = original + generator.random(original.shape)
    recon[:, 30] = 1  # constant: no correlation
    table = preservation_table(original, recon)
    figure = draw_preservation(table)
    upper, lower = figure.axes
    drawn = np.concatenate([dots.get_offsets()[:, 1] for dots in upper.collections])
    expected = table.loc[~table["follows_from_mask"], "spearman"].dropna()
    assert sorted(drawn) == pytest.approx(sorted(expected))
    assert "1 measurements have no rank correlation" in lower.get_xlabel()
    draw_preservation(preservation_table(original[:2], recon[:2]))  # nothing to draw is no error
