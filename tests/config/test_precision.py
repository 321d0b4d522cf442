import pytest
import torch

from lfvar.config import compose
from lfvar.config.precision import fastest_precision


@pytest.mark.parametrize(("units", "precision"), [(["AVX512-BF16"], "bf16-mixed"), ([], "32-true")])
def test_cpu_follows_its_units(monkeypatch, units, precision):
    monkeypatch.setattr("lfvar.config.precision.cpu_bf16_units", lambda: units)
    assert fastest_precision("cpu") == precision


@pytest.mark.parametrize(("hardware", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_gpu_follows_its_hardware_and_never_emulates(monkeypatch, hardware, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: hardware or including_emulation)
    assert fastest_precision("gpu") == precision
    assert fastest_precision("auto") == precision


def test_the_run_records_what_was_chosen():
    assert compose("train", ["experiment=vqvae", "trainer=cpu"]).trainer.precision in ("bf16-mixed", "32-true")
