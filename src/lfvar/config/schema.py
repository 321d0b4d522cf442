"""The root of every composed config: a misspelt root key fails while Hydra composes.

A schema goes FIRST in the defaults list of its command (`- base_train` in `conf/train.yaml`), so that everything
merged later, experiment files included, is checked against it. What is inside a group is checked by
`lfvar.config.signatures` against the classes that the group configures.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

Group = dict[str, Any] | None  # None or empty: the group is switched off (`~logger` on the command line)


@dataclass
class PathsConfig:
    """Where things are written and read; relative paths count from the folder the user is in."""

    runs: str = MISSING
    prepared: str = MISSING


@dataclass
class DataGroup:
    """A dataset: its values are read by the commands, its parts by their `_target_`."""

    name: str = MISSING
    root: str | None = None  # the folder as downloaded
    folder: str = MISSING  # the folder of what `lfvar.prepare` made
    source: Group = field(default_factory=dict)
    prepare: Group = field(default_factory=dict)
    split: Group = field(default_factory=dict)
    loader: Group = field(default_factory=dict)


@dataclass
class MeasureGroup:
    """How prepared images are measured."""

    settings: Group = field(default_factory=dict)
    cache: str = MISSING  # the file that keeps measurements
    workers: int = 0  # 0: one process per core
    shard: str | None = None  # "3/8": only that part of the images
    merge: list[str] = field(default_factory=list)  # caches to take in first


@dataclass
class CommandRoot:
    """What every command has."""

    stage: str = MISSING  # what is made: first folder of the run, e.g. "vqvae"
    name: str = "default"  # the run's name: second folder
    seed: int = 0
    image_size: int = MISSING
    check: bool = False  # validate, print the run card, stop
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class TrainRoot(CommandRoot):
    """`python -m lfvar.train`: the tokenizer (stage 1) and the transformer (stage 2)."""

    resume: str | None = None  # a run folder (go on in it) or a checkpoint file (new folder)
    tokenizer: str | None = None  # stage 2: whose tokens are learned, a .ckpt of ours or a published .pth
    tokens: str = "auto"  # stage 2: its token cache if there is one (auto), none (off), or the one in this folder
    compile: bool = False  # torch.compile what takes the time; the first steps are slow
    data: DataGroup = field(default_factory=DataGroup)
    model: Group = field(default_factory=dict)
    loss: Group = field(default_factory=dict)
    optim: Group = field(default_factory=dict)
    condition: Group = field(default_factory=dict)
    perceptual: Group = field(default_factory=dict)
    adversary: Group = field(default_factory=dict)
    codebook: Group = field(default_factory=dict)
    trainer: Group = field(default_factory=dict)
    callbacks: Group = field(default_factory=dict)
    logger: Group = field(default_factory=dict)


@dataclass
class PrepareRoot(CommandRoot):
    """`python -m lfvar.prepare`: from a dataset folder to manifest, square images and measurements (stage 0).

    With `stage=tokens` it stores the token ids of all prepared images instead; what follows `ckpt` is for that alone.
    """

    stage: str = "prepare"  # prepare | tokens
    data: DataGroup = field(default_factory=DataGroup)
    measure: MeasureGroup | None = None  # None: images only (`~measure`)
    figures: bool = False  # draw what a paper shows of a dataset
    ckpt: str | None = None  # the tokenizer: a .ckpt file of ours, or published weights (.pth)
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    patch_nums: list[int] | None = None  # schedule of published weights; None: the published one of image_size
    tokens: str | None = None  # where to; None: below data.folder, a folder per tokenizer
    batch_size: int = 64  # views (flips and rotations of images) encoded at once
    device: str = "auto"  # auto | cpu | cuda | cuda:1 …


@dataclass
class EvaluateRoot(CommandRoot):
    """`python -m lfvar.evaluate`: numbers on what was trained, with their floors (stage 4)."""

    stage: str = "evaluate"
    target: str | None = None  # what is evaluated: tokenizer
    ckpt: str | None = None  # a .ckpt file of ours, or published weights (.pth)
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    patch_nums: list[int] | None = None  # schedule of published weights; None: the published one of image_size
    split: str = "test"  # train | val | test
    limit: int = 0  # that many images, evenly over the split; 0: all
    num_splits: int = 10  # random halves that floors are averaged over
    distances: list[str] | None = None  # perceptual ones: structure, perceptual_lite0; None: all that are installed
    extractors: list[str] | None = None  # of set distances: measurements, lite0; None: all that are installed
    num_pictures: int = 8  # rows of the picture; 0: none
    device: str = "auto"  # auto | cpu | cuda | cuda:1 …
    data: DataGroup = field(default_factory=DataGroup)
    measure: MeasureGroup | None = None  # None: no measurements (`~measure`)


def register_schema(name: str, schema: type[CommandRoot]) -> None:
    """Make `schema` known to Hydra as `name`, to be put first in a defaults list.

    The name must differ from the command's YAML file: Hydra would match equal names by itself, the deprecated way.
    """
    ConfigStore.instance().store(name=name, node=schema, provider="lfvar")


def register_schemas() -> None:
    """Register the schemas of our commands; calling it again changes nothing."""
    register_schema("base_train", TrainRoot)
    register_schema("base_prepare", PrepareRoot)
    register_schema("base_evaluate", EvaluateRoot)
