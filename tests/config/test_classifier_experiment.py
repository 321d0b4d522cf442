"""The shipped classifier experiment and sweep: they compose at any fitting size, and build."""

import pytest

from lfvar.config import compose
from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError
from lfvar.stages import build_stage

SMALL = ["experiment=classifier", "image_size=16", "model.channels=8", "model.channel_multipliers=[1,2]", "trainer=cpu"]


@pytest.mark.parametrize("image_size", [64, 256])
@pytest.mark.parametrize("model", ["classifier_small", "classifier_library"])
def test_composes_as_shipped(model, image_size):
    overrides = [f"model={model}", "data=ham10000", "data.root=/data", f"image_size={image_size}", "trainer=cpu"]
    cfg = compose("train", ["experiment=classifier", "sweep=usefulness", *overrides])
    assert (cfg.stage, cfg.model.image_size, cfg.train_on) == ("classifier", image_size, "real")
    assert cfg.data.loader.balanced


def test_a_size_that_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="does not divide by"):
        compose("train", ["experiment=classifier", "image_size=60", "trainer=cpu"])


def test_stage_is_built_from_the_shipped_files(phantom_folder):
    cfg = compose("train", [*SMALL, f"data.folder={phantom_folder}"])
    module, data = build_stage(cfg, Manifest.read(phantom_folder))
    assert module.net.config.channels == 8
    assert module.net.config.num_classes == len(data.classes)
    assert module.loss.label_smoothing == cfg.loss.label_smoothing


def test_another_choice_of_images_is_refused(phantom_folder):
    cfg = compose("train", [*SMALL, f"data.folder={phantom_folder}", "train_on=fake"])
    with pytest.raises(ConfigError, match="train_on=fake"):
        build_stage(cfg, Manifest.read(phantom_folder))
