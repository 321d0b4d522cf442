import json

import pytest

from lfvar.errors import ArtefactError, DataError
from lfvar.metrics.usefulness import read_runs, seed_interval, usefulness_rows, usefulness_table
from lfvar.usefulness import TABLE_FILE, main


def write_card(folder, train_on, seed, accuracy, *, status="finished", balanced=True, steps=5, stage="classifier"):
    folder.mkdir(parents=True)
    scores = {"balanced_accuracy": accuracy, "macro_auc": 0.9, "recall_mel": accuracy - 0.1, "recall_mel_low": 0.0}
    scores |= {"balanced_accuracy_low": accuracy - 0.05, "balanced_accuracy_high": accuracy + 0.05}
    card = {
        "stage": stage,
        "data": {"manifest": "abc"},
        "config": {
            "train_on": train_on,
            "seed": seed,
            "data": {"loader": {"balanced": balanced, "batch_size": 8, "augment": "none", "seed": seed}},
            "model": {"channels": 8},
            "optim": {"lr": 1e-3},
            "loss": {},
            "trainer": {"max_steps": steps},
        },
        "result": {"status": status, "metrics": {f"test/{k}": v for k, v in scores.items()} | {"val/loss": 1.0}},
    }
    (folder / "run_card.json").write_text(json.dumps(card))


@pytest.fixture
def sweep(tmp_path):
    for seed, (real, both) in enumerate([(0.50, 0.53), (0.60, 0.65), (0.55, 0.59)]):
        write_card(tmp_path / f"{seed}", "real", seed, real)
        write_card(tmp_path / f"{seed + 3}", "both", seed, both)
    write_card(tmp_path / "6", "synthetic", 0, 0.4, status="interrupted")
    write_card(tmp_path / "7", "real", 0, 0.4, stage="vqvae")
    return tmp_path


def test_gains_are_paired_by_seed(sweep):
    real, both = usefulness_rows(read_runs(sweep))
    assert (real["trained on"], both["trained on"], both["seeds"]) == ("real", "both", 3)
    assert real["gain"] is None
    assert real["balanced_accuracy"].value == pytest.approx(0.55)
    # differences 0.03, 0.05, 0.04: mean 0.04, spread 0.01, t(2) = 4.3027
    assert both["gain"].value == pytest.approx(0.04)
    assert both["gain"].high - both["gain"].value == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    assert both["balanced_accuracy"].low < 0.5  # over seeds alone nothing would be seen
    assert both["test set"].low == pytest.approx(0.59 - 0.05)


def test_the_table_names_what_is_in_it(sweep, capsys):
    assert main([str(sweep)]) == 0
    table = capsys.readouterr().out
    assert (sweep / TABLE_FILE).read_text() in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "recall mel" in lines[0]
    assert "+0.040 [+0.015, +0.065]" in lines[3]


def test_sampling_as_found_is_a_row_of_its_own(sweep):
    write_card(sweep / "8", "real", 0, 0.4, balanced=False)
    assert [row["trained on"] for row in usefulness_rows(read_runs(sweep))] == [
        "real",
        "real, as frequent as found",
        "both",
    ]


def test_one_seed_has_no_interval(tmp_path):
    write_card(tmp_path / "0", "real", 0, 0.5)
    assert str(seed_interval([0.5])) == "0.500"
    assert "| real | 1 | 0.500 |" in usefulness_table(read_runs(tmp_path))


def test_runs_that_cannot_be_compared(sweep, tmp_path, capsys):
    write_card(sweep / "9", "real", 5, 0.5, steps=50)
    with pytest.raises(DataError, match="max_steps"):
        read_runs(sweep)
    (sweep / "9/run_card.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        read_runs(sweep)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(empty)]) == 1
    assert "sweep=usefulness" in capsys.readouterr().err
