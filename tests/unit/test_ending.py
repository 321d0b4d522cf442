import pytest

from lfvar.ending import IN_PIPELINE, show_ending, show_path, show_seconds, show_size


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (12, "12 s"), (75, "1 min 15 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds, text):
    assert show_seconds(seconds) == text


def test_sizes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 12_345)
    assert show_size(tmp_path / "a") == "12 kB"
    assert show_size(tmp_path) == "1 file"
    assert show_size(tmp_path / "gone") == ""


def test_paths_are_as_short_as_they_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert show_path(tmp_path / "runs" / "x.ckpt") == "runs/x.ckpt"
    assert show_path(tmp_path.parent / "x.ckpt") == str(tmp_path.parent / "x.ckpt")


def test_an_ending_names_files_time_and_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(IN_PIPELINE, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    long = tmp_path / ("x" * 80)
    long.write_bytes(b"123")
    show_ending({"picture": long}, 61, next_command="python -m lfvar.train")
    out = capsys.readouterr().out
    assert str(long) in out  # in one line, to be copied
    assert "3 B" in out
    assert "done in 1 min 01 s" in out
    assert "next: python -m lfvar.train" in out
    monkeypatch.setenv(IN_PIPELINE, "1")
    show_ending({}, 1, next_command="python -m lfvar.train")
    assert "next" not in capsys.readouterr().out
