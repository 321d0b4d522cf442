"""Every notebook runs from a fresh clone, at reduced settings, and was committed with outputs worth looking at."""

import json
import os

import pytest
from tests.docs.pages import NOTEBOOKS

LARGEST = 1_000_000


def read_cells(path):
    return json.loads(path.read_text())["cells"]


def test_there_are_four():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_outputs(path):
    assert path.stat().st_size < LARGEST, "make its pictures smaller: lfvar.figures.display.show(…)"
    outputs = [output for cell in read_cells(path) for output in cell.get("outputs", ())]
    if not outputs:
        pytest.skip("not run since it was written: make notebooks")
    assert any("image/jpeg" in output.get("data", {}) for output in outputs), "run it, and save it with its pictures"
    assert not [output["ename"] for output in outputs if output["output_type"] == "error"]
    shown = json.dumps(outputs)
    assert "/home/" not in shown
    assert "/tmp/" not in shown
    counts = [cell["execution_count"] for cell in read_cells(path) if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="pip install 'lfvar[notebooks]'")
    pytest.importorskip("ipykernel", reason="pip install 'lfvar[notebooks]'")
    import nbformat

    monkeypatch.setenv("LFVAR_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("JPY_SESSION_NAME", "somebody watches, so that sliders are made")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nobody's startup files
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert (tmp_path / "work").is_dir(), "it writes to work/, and nowhere else"
    assert {entry.name for entry in os.scandir(tmp_path)} <= {"work", "ipython"}
