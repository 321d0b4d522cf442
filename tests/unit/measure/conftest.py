"""A small prepared dataset."""

import pytest


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """24 phantoms at 64 px."""
    from lfvar.data.manifest import Manifest
    from lfvar.data.prepare import prepare
    from lfvar.data.prepare_config import PrepareConfig
    from lfvar.data.sources.phantom import Phantom
    from lfvar.data.splits import SplitConfig

    folder = tmp_path_factory.mktemp("measured")
    config = PrepareConfig(image_size=64, workers=1)
    prepare(Phantom(num_images=24, size=64), "phantom", config, SplitConfig(val_fraction=0.3), folder)
    return folder, Manifest.read(folder)
