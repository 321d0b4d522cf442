"""The segmenter through the real command, and its file through the loader."""

import pytest
from tiny_settings import TINY, run_module

from lfvar.data.manifest import Manifest
from lfvar.interop.segmenters import load_segmenter

DATA = [a for a in TINY if a.startswith(("image_size", "data.source", "data.split"))]


@pytest.mark.slow
def test_train_then_load(prepared_root, tmp_path):
    options = ["trainer.max_steps=6", "trainer.val_check_interval=3", "data.loader.num_workers=0", "trainer=cpu"]
    arguments = ["experiment=segmenter", *DATA, *options, "model.channels=8", f"paths.prepared={prepared_root}"]
    done = run_module("lfvar.train", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (best,) = tmp_path.rglob("best.ckpt")
    loaded = load_segmenter(best)
    assert loaded.image_size == 16
    assert loaded.about["step"] in (3, 6)
    (folder,) = (path.parent for path in prepared_root.rglob("manifest.parquet"))
    assert loaded.about["trained_on_manifest"] == Manifest.read(folder).hash
