"""The benchmarks of transformer and sampler, at sizes that only show that they run and compare what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_benchmark(name, folder, *arguments):
    report = folder / "report.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--size", "tiny", "--depth", "2", "--json", str(report), *arguments],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text())


def test_sampling(tmp_path):
    shown, report = run_benchmark("sample.py", tmp_path, "--batches", "1", "3", "--turns", "2")
    assert report["about"]["same_ids_fp32"] == {"1": 1.0, "3": 1.0}  # the naive twin draws what the sampler draws
    names = [row["what"] for row in report["rows"] if row["batch"] == 3]
    assert names[:5] == [
        "straightforward, fp32",
        "ours, fp32",
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
