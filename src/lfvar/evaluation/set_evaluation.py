"""Everything that is said about a set of generated images, from features that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import lfvar
from lfvar.data.generated import ASKED
from lfvar.evaluation.set_features import SetFeatures
from lfvar.evaluation.set_memory import memorise, memory_space, usable
from lfvar.evaluation.set_report import ALL, GENERATED, REAL, Background, SetReport, SpaceScores, TypeAgreement
from lfvar.evaluation.sets import ImageSet
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.control import control_table, summarise_control, type_spreads
from lfvar.metrics.diversity import Alikeness, alikeness, draw_pairs, inception_score
from lfvar.metrics.extractors import MEASUREMENTS, measurement_features, standardiser_hash
from lfvar.metrics.frechet import MIN_SAMPLES, Spread, feature_distance
from lfvar.metrics.inception import MIN_COUNT_2048
from lfvar.metrics.kernel_distance import kernel_distance
from lfvar.metrics.memorisation import Memorisation
from lfvar.metrics.set_extractors import metric_title
from lfvar.metrics.set_scores import FEW, ScoreSettings, score_sets
from lfvar.progress import ProgressBar

Array = NDArray[np.float64]

MATRIX_METRICS = ("kid", "fd")


@dataclass(frozen=True)
class SetEvaluationConfig:
    """How a set of generated images is evaluated."""

    scores: ScoreSettings = field(default_factory=ScoreSettings)
    """Draws, replicates, neighbours."""
    num_pairs: int = 400
    """Pairs of images that diversity is measured on, per set."""
    force: bool = False
    """Compute FID at 2048 features for counts at which it means nothing."""
    matrix: str = "kid"
    """What the cells of source type × generated type hold: kid, which does not depend on counts, or fd."""
    batch_size: int = 64
    """Images at once."""

    def __post_init__(self) -> None:
        for name, low in (("num_pairs", 0), ("batch_size", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.matrix not in MATRIX_METRICS:
            raise ValueError(f"matrix must be one of {', '.join(MATRIX_METRICS)}, got '{self.matrix}'")


@dataclass(frozen=True)
class Extras:
    """What not every evaluation has."""

    train: SetFeatures | None = None
    """The images that the generator learned from."""
    standardiser: Standardiser | None = None
    """Of the real training measurements; None leaves out distances over measurements."""
    details: pd.DataFrame | None = None
    """`lfvar.data.generated.read_generated`; None for images that are no generated ones."""
    ceiling: pd.DataFrame | None = None
    """`preservation_table` of the tokenizer on the real images."""
    type_agreement: TypeAgreement | None = None
    background: Background | None = None


def evaluate_sets(
    generated: SetFeatures,
    real: SetFeatures,
    config: SetEvaluationConfig | None = None,
    extras: Extras | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> SetReport:
    """Compare generated images with real ones; the same call gives the same numbers.

    Args:
        generated: Features of generated images.
        real: Features of real images that the generator has not seen, in the same spaces.
        config: How; None: as it is by default.
        extras: What else there is; None: nothing.
        about: What made the images; goes into the report as it is.
        notes: Sentences that the report shall hold besides its own.
    """
    config, extras = config or SetEvaluationConfig(), extras or Extras()
    add_measurement_space([generated, real, *([extras.train] if extras.train else [])], extras.standardiser)
    control, summary = _control(generated, real, extras)
    memorisation = memorise(generated, real, extras.train, config.batch_size)
    matrix, matrix_title = _matrix(generated, real, extras.details, config)
    return SetReport(
        about={"lfvar_version": lfvar.__version__, **(about or {})},
        settings=_describe(config),
        counts=_count(generated.images, real.images, extras.train),
        spaces=_score_spaces(generated, real, config),
        alikeness=_alikeness(generated.images, real.images, config),
        inception_score=_inception_scores(generated, real, config),
        control=control,
        control_summary=summary,
        type_agreement=extras.type_agreement,
        background=extras.background,
        memorisation=memorisation,
        matrix=matrix,
        matrix_title=matrix_title,
        images=_image_rows(generated.images, extras.train, memorisation),
        notes=[*notes, *_notes(generated.images, real.images, extras), *_matrix_note(extras.details, matrix)],
    )


def add_measurement_space(sets: Sequence[SetFeatures], standardiser: Standardiser | None) -> None:
    """Add standardised measurements as a feature space of each set; images without any are left out of it as NaN."""
    if standardiser is None:
        return
    for features in sets:
        if features.measured_NM is not None:
            vectors_ND = measurement_features(features.measured_NM, standardiser)
            vectors_ND[~np.isfinite(features.measured_NM).any(axis=1)] = np.nan
            features.spaces[MEASUREMENTS] = vectors_ND
            features.hashes[MEASUREMENTS] = standardiser_hash(standardiser)


def _score_spaces(generated: SetFeatures, real: SetFeatures, config: SetEvaluationConfig) -> list[SpaceScores]:
    types = [
        label
        for label in real.images.manifest.header.classes
        if label in {*generated.images.labels, *real.images.labels}
    ]
    names = [name for name in generated.spaces if name in real.spaces]
    entries = []
    with ProgressBar(len(names) * (len(types) + 1), "distances") as bar:
        for name in names:
            groups = {}
            for group in (ALL, *types):
                label = None if group == ALL else group
                made_ND, seen_ND = (usable(s.spaces[name][s.images.of_type(label)]) for s in (generated, real))
                refused = _refuse(name, min(len(made_ND), len(seen_ND)), config.force)
                groups[group] = score_sets(made_ND, seen_ND, config.scores, refused=refused)
                bar.advance()
            width = generated.spaces[name].shape[1]
            entries.append(SpaceScores(name, generated.hashes[name], width, groups))
    return entries


def _refuse(space: str, smallest: int, force: bool) -> str:
    if force or space != "inception-2048" or smallest >= MIN_COUNT_2048:
        return ""
    return f"refused: {smallest} images for 2048 dimensions; force=true computes it"


def _alikeness(generated: ImageSet, real: ImageSet, config: SetEvaluationConfig) -> dict[str, Alikeness]:
    found = {}
    for name, images in ((GENERATED, generated), (REAL, real)):
        pairs = draw_pairs(images.labels, config.num_pairs, config.scores.seed)
        found[name] = alikeness(
            images.images, pairs, num_bootstrap=config.scores.num_bootstrap, seed=config.scores.seed
        )
    return found


def _inception_scores(generated: SetFeatures, real: SetFeatures, config: SetEvaluationConfig) -> dict[str, Spread]:
    return {
        name: inception_score(features.logits, seed=config.scores.seed)
        for name, features in ((GENERATED, generated), (REAL, real))
        if features.logits is not None
    }


def _control(
    generated: SetFeatures, real: SetFeatures, extras: Extras
) -> tuple[pd.DataFrame | None, dict[str, dict[str, Any]]]:
    if extras.details is None or generated.measured_NM is None or real.measured_NM is None:
        return None, {}
    asked = extras.details.set_index("image_id").loc[[row.image_id for row in generated.images.rows]]
    asked_NM = asked[[f"{ASKED}{name}" for name in FEATURE_NAMES]].to_numpy(np.float64)
    if not np.isfinite(asked_NM).any():
        return None, {}
    spreads = type_spreads(real.measured_NM, real.images.labels)
    keep = np.array([label in spreads for label in generated.images.labels])
    labels = [label for label in generated.images.labels if label in spreads]
    table = control_table(asked_NM[keep], generated.measured_NM[keep], labels, spreads)
    if extras.ceiling is not None:
        columns = extras.ceiling.set_index("feature")[["spearman", "error"]].add_prefix("ceiling_")
        table = table.join(columns, on="feature")
    return table, summarise_control(table)


def _matrix(
    generated: SetFeatures, real: SetFeatures, details: pd.DataFrame | None, config: SetEvaluationConfig
) -> tuple[pd.DataFrame | None, str]:
    if details is None or not generated.spaces or details["source_label"].isna().all():
        return None, ""
    space = memory_space(generated, real) or next(iter(generated.spaces))
    rows = details.set_index("image_id").loc[[row.image_id for row in generated.images.rows]]
    sources, targets = rows["source_label"].to_numpy(), np.array(generated.images.labels)
    classes = [label for label in real.images.manifest.header.classes if label in {*sources, *targets}]
    table = pd.DataFrame(np.nan, index=pd.Index(classes, name="source"), columns=classes)
    distance = kernel_distance if config.matrix == "kid" else feature_distance
    for target in classes:
        real_MD = usable(real.spaces[space][real.images.of_type(target)])
        for source in classes:
            cell_ND = usable(generated.spaces[space][(sources == source) & (targets == target)])
            if min(len(cell_ND), len(real_MD)) >= MIN_SAMPLES:
                table.loc[source, target] = distance(cell_ND, real_MD)
    if table.isna().all(axis=None):
        return None, ""
    return table, f"{metric_title(config.matrix, space)} to real images of the generated type"


def _matrix_note(details: pd.DataFrame | None, matrix: pd.DataFrame | None) -> list[str]:
    if matrix is not None or details is None or details["source_label"].isna().all():
        return []
    return ["no pair of source type and generated type has two images: their matrix is left out"]


def _image_rows(images: ImageSet, train: SetFeatures | None, memorisation: Sequence[Memorisation]) -> pd.DataFrame:
    table = pd.DataFrame({"image_id": [row.image_id for row in images.rows], "label": images.labels})
    for found in memorisation:
        assert train is not None
        ids = np.array([row.image_id for row in train.images.rows])
        table[f"nearest by {found.space}"] = ids[found.generated.index_N]
        table[f"distance by {found.space}"] = found.generated.distance_N
        table[f"near copy by {found.space}"] = found.generated.distance_N < found.threshold
    return table


def _count(generated: ImageSet, real: ImageSet, train: SetFeatures | None) -> dict[str, Any]:
    sets = {GENERATED: generated, REAL: real} | ({"training": train.images} if train else {})
    return {
        name: {"images": len(images), "left_out": len(images.left_out), "types": images.count_types()}
        for name, images in sets.items()
    }


def _describe(config: SetEvaluationConfig) -> dict[str, Any]:
    return {
        "num_splits": config.scores.num_splits,
        "num_bootstrap": config.scores.num_bootstrap,
        "neighbours": config.scores.neighbours,
        "seed": config.scores.seed,
        "num_pairs": config.num_pairs,
        "matrix": config.matrix,
        "force": config.force,
        "precision": "float32",
    }


def _notes(generated: ImageSet, real: ImageSet, extras: Extras) -> list[str]:
    notes = []
    for images in (generated, real, *([extras.train.images] if extras.train else [])):
        if images.left_out:
            notes.append(f"{len(images.left_out)} {images.name} images are left out, for instance {images.left_out[0]}")
    there, here = generated.count_types(), real.count_types()
    for label in real.manifest.header.classes:
        few = min(there.get(label, 0), here[label])
        if (there.get(label, 0) == 0) != (here[label] == 0):
            where = GENERATED if there.get(label, 0) == 0 else REAL
            notes.append(f"there are no {where} images of type {label}: numbers over all types compare other mixtures")
        elif 0 < few < FEW:
            notes.append(f"type {label}: {few} images on one side; hold its numbers against the floor, not against 0")
    shares = [there.get(label, 0) / len(generated) - here[label] / len(real) for label in here]
    if max(map(abs, shares)) > 0.05:
        notes.append(
            "generated and real images are mixed of types in other shares: numbers over all types see that too, those "
            "per type do not"
        )
    if extras.details is not None and extras.train is not None and (extras.details["source_split"] == "train").any():
        notes.append(
            "some images are edits of training images and show their skin: by features of the whole image they are "
            "near their source by construction; pixels inside the mask tell whether the lesion is copied"
        )
    if extras.train is None:
        notes.append("no training images: memorisation is left out")
    if extras.standardiser is None:
        notes.append("nothing was measured: distances over measurements, and control, are left out")
    return notes
