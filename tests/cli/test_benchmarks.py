"""The benchmarks of transformer and sampler, at sizes that only show that they run and compare what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_benchmark(name, folder, *arguments, sizes=("--size", "tiny", "--depth", "2")):
    report = folder / "report.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *sizes, "--json", str(report), *arguments],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text())


def test_sampling(tmp_path):
    shown, report = run_benchmark("sample.py", tmp_path, "--batches", "1", "3", "--turns", "2")
    assert report["about"]["same_ids_fp32"] == {"1": 1.0, "3": 1.0}  # the naive twin draws what the sampler draws
    names = [row["what"] for row in report["rows"] if row["batch"] == 3]
    assert names[:7] == [
        "straightforward, fp32",
        "our order, fp32",
        "ours, fp32",
        "ours, fp32, edit",
        "straightforward, bf16",
        "ours, bf16",
        "ours, bf16, edit",
    ]
    assert all(len(turns["seconds"]) == 2 and min(turns["seconds"]) > 0 for turns in report["turns"])
    assert [row["times_straightforward"] for row in report["rows"] if row["what"].startswith("straight")] == [1.0] * 4
    assert all(name in shown for name in names)


def test_training(tmp_path):
    shown, report = run_benchmark("var_train.py", tmp_path, "--batch", "2", "--turns", "2")
    rows = report["rows"]
    assert [row["what"] for row in rows] == [
        "images, dense, fp32",
        "+ cached tokens",
        "+ grouped attention",
        "+ bf16",
    ]
    assert rows[0]["times_plain"] == 1.0
    assert rows[0]["floor_ms"] > rows[1]["floor_ms"] == rows[2]["floor_ms"]  # encoding is not free
    assert all(row["what"] in shown for row in rows)


def test_suite_and_how_it_compares(tmp_path):
    old = tmp_path / "old.json"
    rows = [
        {"part": "sampling", "what": "straightforward, fp32", "times_plain": 1.0},
        {"part": "evaluation: copies", "what": "ours: two products", "times_plain": 1e9},
    ]
    old.write_text(json.dumps({"about": {"size": "64"}, "rows": rows}))
    options = ("--batch", "2", "--turns", "1", "--images", "24", "--compare", str(old))
    shown, report = run_benchmark("suite.py", tmp_path, *options)
    parts = list(dict.fromkeys(row["part"].split(",")[0] for row in report["rows"]))
    assert parts == [
        "data loading",
        "measuring",
        "tokenizer step",
        "transformer step",
        "sampling",
        "evaluation: copies",
        "evaluation: neighbours",
    ]
    first = {row["part"]: row for row in reversed(report["rows"])}
    assert all(row["times_plain"] == 1.0 for row in first.values())
    assert all(row["ms"] > 0 and row["floor_ms"] > 0 for row in report["rows"])
    assert "the other run differs: size 64 there" in shown
    assert "slower than before: evaluation: copies, ours: two products" in shown
    assert "slower than before: sampling" not in shown
    assert "times as fast as the fastest tokenizer step" in shown


def test_growth(tmp_path):
    sizes = ("--counts", "40", "80", "--sizes", "64", "128", "--depths", "1", "2")
    shown, report = run_benchmark("growth.py", tmp_path, sizes=sizes)
    found = report["parts"]["images"]
    assert {point["count"] for point in found} == {40, 80}
    assert len({point["what"] for point in found}) == 13
    assert [point["count"] for point in report["parts"]["depth"]] == [1, 2]
    assert "mask bank" in shown


def test_cpu_layouts():
    """No JSON: a table to read."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "cpu_layouts.py"), "--size", "tiny", "--turns", "1", "--decoder"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("convolution 8", "4 rows", "bf16 instead of fp32", "decoder"))


def test_memory_plan(tmp_path):
    """The plan of a step is what a step really takes, up to scratch memory, and checkpointing keeps less."""
    _, report = run_benchmark("memory_plan.py", tmp_path, sizes=("--sizes", "64", "--depths", "6"))
    row = report["rows"][0]
    assert row["checkpointed_gb"] < row["activations_gb"] / 2
    assert row["fixed_gb"] == pytest.approx(16 * row["parameters_m"] / 1e3)


def test_the_published_transformer_fits_at_512_px(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import build_configs
    from memory_plan import BUDGET_GB, reckon

    plan = reckon(build_configs("512", 16)[0], 1, "bf16")
    assert plan["total_checkpointed_gb"] < plan["total_gb"] < BUDGET_GB


def test_flops_are_those_of_the_published_sizes(monkeypatch):
    """991 GFLOP to sample an image with guidance, 215 to encode, 394 to decode, 896 to train on one."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import build_configs, tokenizer_flops, transformer_flops

    net, tokenizer = build_configs("256", 16)
    encode, decode = tokenizer_flops(tokenizer)
    assert encode / 1e9 == pytest.approx(215, rel=0.02)
    assert decode / 1e9 == pytest.approx(394, rel=0.02)
    assert (transformer_flops(net, branches=2) + decode) / 1e9 == pytest.approx(991, rel=0.02)
    assert 3 * transformer_flops(net, branches=1) / 1e9 == pytest.approx(896, rel=0.02)
