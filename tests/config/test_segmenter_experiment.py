"""The shipped segmenter experiment: it composes at any fitting size, and builds."""

from dataclasses import replace

import pytest

from lfvar.config import compose
from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError
from lfvar.stages import build_stage

SMALL = ["experiment=segmenter", "image_size=16", "model.channels=8", "trainer=cpu"]


@pytest.mark.parametrize("image_size", [64, 256])
@pytest.mark.parametrize("data", ["phantom", "ham10000"])
def test_composes_as_shipped(data, image_size):
    overrides = ["experiment=segmenter", f"data={data}", "data.root=/data", f"image_size={image_size}", "trainer=cpu"]
    cfg = compose("train", overrides)
    assert (cfg.stage, cfg.model.image_size, cfg.name) == ("segmenter", image_size, data)


def test_a_size_that_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="no multiple of the stride 8"):
        compose("train", ["experiment=segmenter", "image_size=60", "trainer=cpu"])


def test_stage_is_built_from_the_shipped_files(phantom_folder):
    cfg = compose("train", [*SMALL, f"data.folder={phantom_folder}"])
    module, data = build_stage(cfg, Manifest.read(phantom_folder))
    assert module.net.config.channels == 8
    assert module.loss.blur == cfg.loss.blur
    assert len(data.train_dataset) > 0


def test_data_without_masks_are_refused(phantom_folder):
    manifest = Manifest.read(phantom_folder)
    bare = replace(manifest, rows=tuple(replace(row, lesion_fraction=0.0) for row in manifest.rows))
    with pytest.raises(ConfigError, match="has no masks"):
        build_stage(compose("train", SMALL), bare)
