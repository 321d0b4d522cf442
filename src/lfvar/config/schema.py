"""The root of every composed config: a misspelt root key fails while Hydra composes.

A schema goes FIRST in the defaults list of its command (`- base_train` in `conf/train.yaml`), so that everything
merged later, experiment files included, is checked against it. What is inside a group is checked by
`lfvar.config.signatures` against the classes that the group configures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
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
    """`python -m lfvar.train`: the tokenizer (stage 1), the transformer (stage 2), and classifiers to judge by."""

    resume: str | None = None  # a run folder (go on in it) or a checkpoint file (new folder)
    tokenizer: str | None = None  # stage 2: whose tokens are learned, a .ckpt of ours or a published .pth
    tokens: str = "auto"  # stage 2: its token cache if there is one (auto), none (off), or the one in this folder
    synthetic: str | None = None  # classifier: a generated folder
    train_on: str = "real"  # classifier: real | synthetic | both | filled (generated images where a type has few)
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
    target: str | None = None  # what is evaluated: tokenizer | transformer | generated
    ckpt: str | None = None  # a .ckpt file of ours, or published weights (.pth)
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    patch_nums: list[int] | None = None  # schedule of published weights; None: the published one of image_size
    split: str = "test"  # train | val | test
    limit: int = 0  # that many images, evenly over the split; 0: all
    num_splits: int = 10  # random halves that floors are averaged over
    distances: list[str] | None = None  # perceptual ones: structure, perceptual_lite0; None: all that are installed
    extractors: list[str] | None = None  # measurements, lite0; generated: also inception, files; None: all there are
    num_pictures: int = 8  # rows of the picture; 0: none
    tokenizer: str | None = None  # transformer: its tokenizer, if moved; generated: gives the ceiling of control
    classifier: str | None = None  # judges types: a .ckpt of experiment=classifier
    segmenter: str | None = None  # finds lesions in whole images: a .ckpt of experiment=segmenter
    tasks: list[str] | None = None  # transformer: edit, transplant, placed, whole; None: all that can be judged
    processes: int = 1  # transformer: of this command, to make images in; GPUs get one each in turn
    samples: int = 0  # transformer: images per setting; 0: one per image of the split
    guidance: list[Any] = field(default_factory=lambda: [[0, 0]])  # pairs: strengths for type, measurements
    filters: Group = field(default_factory=dict)  # transformer: temperature, top-k, top-p
    editing: Group = field(default_factory=dict)  # transformer: how edits and transplants keep the skin
    generated: str | None = None  # generated: the folder of the images, written by lfvar.generate or lfvar.prepare
    generated_split: str | None = None  # generated: only its images of this split; None: all
    real: str | None = None  # generated: a folder to compare with; None: the prepared data
    inception_weights: str | None = None  # generated: the published file; None: downloaded where inception is named
    cache: str | None = None  # generated: folder for features; None: beside the images they are of
    num_bootstrap: int = 100  # generated: replicates behind each interval; 0: none
    neighbours: int = 5  # generated: k of precision, recall, density and coverage
    num_pairs: int = 400  # generated: pairs of images that variety is measured on
    matrix: str = "kid"  # generated: what source type × generated type shows: kid | fd
    force: bool = False  # generated: FID at 2048 features for counts at which it means nothing
    device: str = "auto"  # auto | cpu | cuda | cuda:1 …
    data: DataGroup = field(default_factory=DataGroup)
    measure: MeasureGroup | None = None  # None: no measurements (`~measure`)


@dataclass
class PipelineRoot(CommandRoot):
    """`python -m lfvar.pipeline`: all stages in a row, each with overrides of its own command."""

    stage: str = "pipeline"
    folder: str = MISSING  # where results go
    until: str = "evaluate"  # the last step: prepare | tokenizer | tokens | transformer | generate | evaluate
    data: DataGroup = field(default_factory=DataGroup)
    measure: MeasureGroup | None = None
    tokenizer: list[str] = field(default_factory=list)  # overrides of lfvar.train
    transformer: list[str] = field(default_factory=list)  # overrides of lfvar.train
    generate: dict[str, list[str]] = field(default_factory=dict)  # name of a set: overrides of lfvar.generate
    evaluate: dict[str, list[str]] = field(default_factory=dict)  # tokenizer, transformer, a set: of lfvar.evaluate


@dataclass
class GenerateRoot(CommandRoot):
    """`python -m lfvar.generate`: images of the types and measurements that were asked for (stage 3)."""

    stage: str = "generate"
    mode: str | None = None  # intra | inter | matrix | sweep | balance | whole | prompt
    prompt: Any = None  # prompt: a sentence, or a list of them
    edits: bool | None = None  # paint on source images; None: in all modes but whole and prompt
    ckpt: str | None = None  # the transformer: a run folder or a .ckpt file of experiment=var
    tokenizer: str | None = None  # its tokenizer, where it is no longer where training found it
    profiles: str | None = None  # what types measure: a prepared folder; None: of the transformer's training data
    segmenter: str | None = None  # finds the lesion of whole images: a .ckpt of experiment=segmenter
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    output: str | None = None  # where to; None: the run folder. The same command goes on where it stopped
    raw: bool = False  # also keep what the decoder made, before compositing
    full: bool = False  # also paste edits into the original photographs (needs data.root)
    precision: str = "32"  # 32: the same bytes whatever the batch; bf16: faster
    device: str = "auto"  # auto | cpu | cuda | cuda:1 …
    batch_size: int = 16
    processes: int = 1  # of this command; GPUs get one each in turn
    shard: str | None = None  # "3/8": only that part of the plan, for eight commands with one output folder
    data: DataGroup = field(default_factory=DataGroup)
    sources: Group = field(default_factory=dict)
    ask: Group = field(default_factory=dict)
    mask: Group = field(default_factory=dict)
    sweep: Group = field(default_factory=dict)
    balance: Group = field(default_factory=dict)
    guidance: Group = field(default_factory=dict)
    filters: Group = field(default_factory=dict)
    editing: Group = field(default_factory=dict)


@dataclass
class ExportRoot(CommandRoot):
    """`python -m lfvar.export`: a trained model as a folder of safetensors, JSON and a model card."""

    stage: str = "export"
    ckpt: str | None = None  # a run folder or a .ckpt file of experiment=vqvae or experiment=var
    output: str | None = None  # where to
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    tokenizer: str | None = None  # of a transformer, where it is no longer where training found it
    profiles: str | None = None  # what types measure: a prepared folder; None: of the transformer's training data
    license: str | None = None  # of the weights, as the Hub names it; None: what the training data ask for
    repo: str | None = None  # OWNER/NAME on the Hugging Face Hub: upload as well
    private: bool = True  # a repository that is made now is seen by its owner alone


@dataclass
class StudioRoot(CommandRoot):
    """`python -m lfvar.studio`: a page in the browser to edit, explore and judge."""

    stage: str = "studio"
    ckpt: str | None = None  # the transformer: a run folder or a .ckpt file; None: the demo model, trained if need be
    demo: str = "demo"  # where `make demo` left that one
    tokenizer: str | None = None  # its tokenizer, where it is no longer where training found it
    profiles: str | None = None  # what types measure: a prepared folder; None: of the transformer's training data
    generated: str | None = None  # judge these images: a folder of lfvar.generate; None: made when they are needed
    weights: str = "ema"  # ema | last: the average over training, or the last step's
    output: str | None = None  # where blind tests are kept; None: the run folder
    precision: str = "32"  # 32 | bf16
    device: str = "auto"  # auto | cpu | cuda | cuda:1 …
    batch_size: int = 4  # images made at once
    host: str = "127.0.0.1"  # other machines reach it only at another address, and only with the token
    port: int = 8765  # 0: any free one
    token: str | None = None  # None: none at the loopback address, else a new one, printed with the address
    open: bool = True  # show the page in a browser, where there is a screen
    data: DataGroup = field(default_factory=DataGroup)
    guidance: Group = field(default_factory=dict)
    filters: Group = field(default_factory=dict)
    editing: Group = field(default_factory=dict)
    limits: Group = field(default_factory=dict)


def register_schema(name: str, schema: type[CommandRoot]) -> None:
    """Make `schema` known to Hydra as `name`, to be put first in a defaults list.

    The name must differ from the command's YAML file: Hydra would match equal names by itself, the deprecated way.
    """
    ConfigStore.instance().store(name=name, node=schema, provider="lfvar")


SCHEMAS: Mapping[str, type[CommandRoot]] = MappingProxyType(
    {
        "base_train": TrainRoot,
        "base_prepare": PrepareRoot,
        "base_evaluate": EvaluateRoot,
        "base_generate": GenerateRoot,
        "base_pipeline": PipelineRoot,
        "base_export": ExportRoot,
        "base_studio": StudioRoot,
    }
)
"""Of our commands, by the name that their YAML files call them."""


def register_schemas() -> None:
    """Register the schemas of our commands; calling it again changes nothing, and takes no time."""
    there = ConfigStore.instance().repo
    for name, schema in SCHEMAS.items():
        if f"{name}.yaml" not in there:
            register_schema(name, schema)
