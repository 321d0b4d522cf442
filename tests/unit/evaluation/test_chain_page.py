"""The page on a chain of steps: whatever is there is shown, whatever is missing is left out."""

import base64
import json
import re

import numpy as np
import pytest

from lfvar.config.card import CARD_VERSION
from lfvar.data.imageio import write_png
from lfvar.evaluation.chain_page import StepResult, write_chain_page
from lfvar.prepare import write_overview

PIXELS = np.full((8, 8, 3), 120, np.uint8)


def fill_run(folder, metrics):
    """A training run as `lfvar.train` leaves it."""
    (folder / "pictures").mkdir(parents=True)
    write_png(folder / "pictures" / "latest.png", PIXELS)
    for version, steps in (("a", (1, 2)), ("b", (3, 4))):  # resumed once
        (folder / "csv" / version).mkdir(parents=True)
        rows = "".join(f"{step},{1 / step},\n{step},,{20 + step}\n" for step in steps)
        (folder / "csv" / version / "metrics.csv").write_text(f"step,train/loss,val/psnr_inside\n{rows}")
    card = {
        "card_version": CARD_VERSION, "overrides": ["experiment=vqvae"], "command": ["train"], "started": "now",
        "seed": 0, "git": None, "versions": {"torch": "2.6"}, "device": {"accelerators": [], "cpu_count": 2},
        "data": {"manifest": "f" * 64}, "config": {"optim": {"lr": 0.001}},
        "result": {"status": "finished", "seconds": 1.0, "metrics": metrics},
    }  # fmt: skip
    (folder / "run_card.json").write_text(json.dumps(card))


@pytest.fixture
def steps(phantom_folder, tmp_path):
    from lfvar.data.manifest import Manifest

    write_overview(phantom_folder, Manifest.read(phantom_folder))
    fill_run(tmp_path / "tokenizer", {"val/psnr_inside": 23.456})
    (tmp_path / "generate-matrix" / "sheets").mkdir(parents=True)
    write_png(tmp_path / "generate-matrix" / "sheets" / "matrix.png", PIXELS)
    fill_run(tmp_path / "evaluate-matrix", {"fd/measurements_matched": 0.5, "fd/measurements_floor": 0.25})
    (tmp_path / "evaluate-matrix" / "report.md").write_text("# R\n\n## Findings\n\n- good\n\n## Notes\n\n- long\n")
    return [
        StepResult("prepare", "python -m lfvar.prepare", phantom_folder, 12.0),
        StepResult("tokenizer", "python -m lfvar.train experiment=vqvae", tmp_path / "tokenizer", 61.0),
        StepResult("transformer", "python -m lfvar.train experiment=var", tmp_path / "nowhere"),
        StepResult("generate-matrix", "python -m lfvar.generate mode=matrix", tmp_path / "generate-matrix", 3.0),
        StepResult("evaluate-matrix", "python -m lfvar.evaluate", tmp_path / "evaluate-matrix", 4.0),
    ]


def test_the_page_shows_all_there_is_and_needs_no_other_file(steps, tmp_path):
    page = write_chain_page(tmp_path / "out", "A chain", steps)
    text = page.read_text()
    for words in (
        *("70 images of 16 px", "PSNR inside lesions", "23.5", "curves of the tokenizer", "matrix", "lr: 0.001"),
        *("0.500", "0.250", "<li>good</li>", "<summary>Notes</summary>", "1 min 01 s", "not for diagnosis"),
    ):
        assert words in text, words
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 5  # overview, curves, reconstructions, matrix, the evaluation's own
    assert base64.b64decode(pictures[3]) == (tmp_path / "generate-matrix" / "sheets" / "matrix.png").read_bytes()
    assert "<h2>Tokenizer</h2>" in text
    assert "<h2>Transformer</h2>" not in text  # its folder is gone
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert write_chain_page(tmp_path / "out", "A chain", steps).read_text() == text


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_chain_that_stopped_has_a_page_too(steps, tmp_path, count):
    text = write_chain_page(tmp_path / "out", "A chain", steps[:count]).read_text()
    assert text.startswith("<!doctype html>")
    assert "Generated images<" not in text
