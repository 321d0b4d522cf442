"""From a config to a workbench."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lfvar.config import build, run_folder
from lfvar.config.run import CARD_FILE
from lfvar.config.schema import DataGroup
from lfvar.data.generated import read_generated
from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError
from lfvar.evaluation.common import with_image_size
from lfvar.generation import session as parts
from lfvar.generation.pool import Pool
from lfvar.interop.pairs import find_checkpoint
from lfvar.prepare import find_prepared
from lfvar.studio.demo import require_demo
from lfvar.studio.workbench import Workbench


def open_workbench(cfg: DictConfig) -> Workbench:
    """Load what a config of `conf/studio.yaml` names.

    Raises:
        ConfigError: When settings do not fit each other.
        ArtefactError: When a checkpoint is missing, damaged or does not belong.
    """
    cfg = cfg.copy()
    is_demo = cfg.ckpt is None
    if is_demo:
        cfg.ckpt = str(require_demo(Path(cfg.demo)))
    parts.require_choices(cfg)
    checkpoint = find_checkpoint(cfg.ckpt)
    _take_data_of_run(cfg, checkpoint)
    synthesizer = parts.load_synthesizer(cfg)
    cfg = with_image_size(cfg, synthesizer.image_size)
    pool = parts.open_pool(cfg, find_prepared(cfg), synthesizer)
    generated = None if cfg.generated is None else _open_generated(Path(cfg.generated), synthesizer.image_size)
    about = {
        "model": f"demo, trained on phantom images ({checkpoint})" if is_demo else str(checkpoint),
        "images": f"{len(pool.manifest.rows)} of {pool.manifest.header.name}"
        if pool.manifest.rows
        else "none prepared",
        "size": f"{synthesizer.image_size} × {synthesizer.image_size} pixels",
        "device": parts.device_kind(synthesizer),
    }
    return Workbench(
        synthesizer=synthesizer,
        pool=pool,
        profiles=parts.find_profiles(synthesizer, pool),
        limits=build(cfg.limits),
        output=Path(cfg.output) if cfg.output else run_folder(cfg),
        guidance=build(cfg.guidance),
        filters=build(cfg.filters),
        editing=build(cfg.editing),
        batch_size=cfg.batch_size,
        generated=generated,
        painted_on={} if generated is None else _sources_of(generated.folder),
        training_pictures=tuple(sorted(checkpoint.parent.parent.glob("pictures/step_*.png"))),
        about=about,
        command=_command(cfg),
    )


def _take_data_of_run(cfg: DictConfig, checkpoint: Path) -> None:
    """Show the images that the transformer was trained on, unless others are named; its run card knows them."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    if any(word.lstrip("+~").startswith(("data", "paths.prepared")) for word in given):
        return
    try:
        card = json.loads((checkpoint.parent.parent / CARD_FILE).read_text())
        data = DataGroup(**card["config"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # a checkpoint by itself
    if Path(data.folder).is_dir():
        cfg.data = OmegaConf.structured(data)  # as a whole: nothing of the default dataset stays


def _open_generated(folder: Path, size: int) -> Pool:
    manifest = Manifest.read(folder, command="python -m lfvar.generate")
    if manifest.header.image_size != size:
        raise ConfigError(
            f"the images in generated={folder} have {manifest.header.image_size} pixels, the real ones {size}:"
            " a rater would tell them by their size",
            cure="generate them at the size of the model",
        )
    return Pool(folder, manifest, {})


def _sources_of(folder: Path) -> dict[str, str]:
    table = read_generated(folder)
    known = table["source_id"].notna()
    return dict(zip(table["image_id"][known].astype(str), table["source_id"][known].astype(str), strict=True))


def _command(cfg: DictConfig) -> str:
    words = [f"ckpt={cfg.ckpt}"]
    if HydraConfig.initialized():
        private = ("token", "host", "port", "open", "output")
        words = [w for w in HydraConfig.get().overrides.task if w.partition("=")[0].lstrip("+~") not in private]
    return shlex.join(["python", "-m", "lfvar.studio", *words])


def warm_up(workbench: Workbench) -> None:
    """Make one image and measure it, so that the first click does not wait for libraries to load."""
    import numpy as np

    from lfvar.measure.extract import measure
    from lfvar.sampling.editing import Job
    from lfvar.sampling.lesion_shapes import LesionShape, draw_shape

    mask_HW = draw_shape(LesionShape(0.2), workbench.size, seed=0)
    grey_HWC = np.full((workbench.size, workbench.size, 3), 180, np.uint8)
    (result,) = workbench.synthesizer.run([Job(0, image_HWC=grey_HWC, mask_HW=mask_HW)], guidance=workbench.guidance)
    measure(result.image_HWC, mask_HW)
