"""`python -m lfvar.doctor`."""

import json
import re
from pathlib import Path

import pytest

from lfvar import doctor


def test_it_reports_as_json_and_succeeds_here(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {})
    assert doctor.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert report["works"]
    assert set(doctor.BASE) < set(found)
    assert found["torch"]["state"] == "ok"
    assert "cores" in found["cpu"]["value"]
    assert "GiB" in found["memory"]["value"]
    assert found["conf/"]["state"] == "ok"
    assert all(finding["cure"] for finding in report["findings"] if finding["state"] != "ok")


def test_a_missing_package_fails_it_and_is_told_with_the_command(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "BASE", {"numpy": "numpy", "no-such-package": "no_such_module", "rich": "rich"})
    monkeypatch.setattr(doctor, "EXTRAS", {"lite": ("no_such_extra",)})
    assert doctor.main([]) == 1
    shown = capsys.readouterr().out
    assert "pip install no-such-package" in shown
    assert 'pip install "lfvar[lite]"' in shown
    assert "does not work here yet" in shown


def test_a_package_that_breaks_or_kills_the_process_takes_nobody_along(tmp_path, monkeypatch):
    (tmp_path / "breaks.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "kills.py").write_text("import os; os._exit(11)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    errors = doctor.import_errors(("json", "breaks", "kills", "math"))
    assert set(errors) == {"breaks", "kills"}
    assert "exit code 11" in errors["kills"]
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "EXTRAS", {"inception": ("breaks",)})
    monkeypatch.setattr(doctor, "import_errors", lambda modules: errors)
    (finding,) = doctor.extras()
    assert finding.state == "note"
    assert "nms does not exist" in finding.value
    assert "pip uninstall torchvision" in finding.cure


@pytest.mark.parametrize("free_gib", [1, 100])
def test_little_disk_is_worth_a_note(free_gib, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": free_gib * 2**30})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    finding = doctor.disk(tmp_path)
    assert (finding.state == "note") == (free_gib == 1)
    assert bool(finding.cure) == (free_gib == 1)


def test_a_compiler_is_looked_for(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    finding = doctor.compiler()
    assert finding.state == "missing"
    assert "build-essential" in finding.cure


def test_it_looks_at_everything_the_package_needs():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") : text.index("[project.optional-dependencies]")]
    assert set(re.findall(r'^    "([\w-]+)', block, re.MULTILINE)) == set(doctor.BASE)
