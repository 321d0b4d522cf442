"""The installed wheel: conf/ is inside, and the commands work from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what `pip install lfvar` would put there (dependencies come from this environment)."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        # The wheel is built from the source distribution, which so is known to be whole.
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(out.glob("*.tar.gz"))
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def run(installed, cwd, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LFVAR_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_is_complete(installed):
    assert (installed / "lfvar" / "py.typed").is_file()
    shipped = {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml")}
    inside = {str(path.relative_to(installed / "lfvar" / "conf")) for path in (installed / "lfvar").rglob("*.yaml")}
    assert inside == shipped
    assert (installed / "lfvar" / "interop" / "model_card.md").is_file()
    (programs,) = installed.glob("lfvar-*.dist-info/entry_points.txt")
    assert "lfvar-train = lfvar.train:main" in programs.read_text()


@pytest.mark.slow
def test_prepare_and_train_from_an_empty_folder(installed, tmp_path):
    where = run(installed, tmp_path, "lfvar.doctor", "--json")
    assert str(installed) in where.stdout
    small = ["image_size=16", "data.source.num_images=70", "data.source.size=32", "data.split.val_fraction=0.3"]
    done = run(installed, tmp_path, "lfvar.prepare", *small)
    assert done.returncode == 0, done.stderr
    tiny = ["model.patch_nums=[1,2]", "model.channels=16", "model.vocab_size=32", "data.loader.batch_size=8"]
    done = run(installed, tmp_path, "lfvar.train", "experiment=vqvae", *small, *tiny, "trainer.max_steps=2")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/vqvae/phantom/*/checkpoints/last.ckpt"))


def test_help_is_quick_and_fits_a_screen(installed, tmp_path):
    import time

    start = time.monotonic()
    done = run(installed, tmp_path, "lfvar.train", "--help")
    assert done.returncode == 0
    assert time.monotonic() - start < 5  # about a second alone on a machine; other tests run beside this one
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert "experiment: " in done.stdout


def test_import_is_free():
    code = "import sys, lfvar; print([m for m in ('torch', 'lightning', 'hydra', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
