import numpy as np
import pytest

from lfvar.evaluation.steering import Lesions, Setting, choose_donors, plan_jobs, steer
from lfvar.measure.extract import MeasureSettings
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.control import type_spreads
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK
from lfvar.sampling.editing import Result
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance

SIDE = 24
LIGHTNESS = "clinical_colour_lightness"
AREA = "clinical_relative_area"


def draw(level, radius, rng):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask_HW = (rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < radius**2
    image_HWC = np.full((SIDE, SIDE, 3), 200.0) + rng.normal(0, 3, (SIDE, SIDE, 3))
    image_HWC[mask_HW] = level + rng.normal(0, 6, (int(mask_HW.sum()), 3))
    return image_HWC.clip(0, 255).astype(np.uint8), mask_HW


@pytest.fixture(scope="module")
def lesions():
    from lfvar.measure.extract import measure

    rng = np.random.default_rng(0)
    drawn = [draw(40 + 8 * i, 4 + (i * 7) % 5, rng) for i in range(12)]
    values = [measure(image, mask, MeasureSettings()).values for image, mask in drawn]
    return Lesions(
        image_NHWC=np.stack([image for image, _ in drawn]),
        mask_NHW=np.stack([mask for _, mask in drawn]),
        label_N=tuple("nv" if i % 2 else "mel" for i in range(12)),
        lesion_N=tuple(f"lesion{i // 2}" for i in range(12)),
        values_NM=np.stack(values),
    )


class Obedient:
    """Paints a disc of the lightness that it is asked for; without a request, always the same."""

    def __call__(self, jobs, *, guidance, filters, editing, batch_size):
        rng = np.random.default_rng(1)
        for job in jobs:
            level = 2.55 * job.measurements.get(LIGHTNESS, 50.0)
            if job.image_HWC is None:
                area = job.measurements.get(AREA, 0.1)
                image_HWC, _ = draw(level, SIDE * np.sqrt(area / np.pi), rng)
            else:
                image_HWC = job.image_HWC.copy()
                noise = rng.normal(0, 6, (int(job.mask_HW.sum()), 3))
                image_HWC[job.mask_HW] = np.clip(level + noise, 0, 255).astype(np.uint8)
            yield Result(image_HWC, image_HWC, job.mask_HW, np.zeros(1, np.int64))


def run(lesions, setting, **settings):
    import pandas as pd

    table = pd.DataFrame(lesions.values_NM, columns=list(FEATURE_NAMES))
    return steer(
        Obedient(),
        lesions,
        choose_donors(lesions.lesion_N, 12, 0),
        setting,
        classes=("mel", "nv"),
        spreads=type_spreads(lesions.values_NM, lesions.label_N),
        standardiser=Standardiser.fit(table),
        measure=MeasureSettings(),
        filters=Filters(),
        **settings,
    )


def spearman(steered, feature):
    return steered.control.set_index("feature")["spearman"][feature]


def test_donors_are_other_lesions_and_take_turns():
    lesion_N = [f"lesion{i // 3}" for i in range(30)]
    pairs = choose_donors(lesion_N, 60, 3)
    assert len(pairs) == 60
    assert all(lesion_N[i] != lesion_N[j] for i, j in pairs)
    for place in (0, 1):
        counts = np.bincount([pair[place] for pair in pairs], minlength=30)
        assert counts.max() - counts.min() <= 1
    assert pairs == choose_donors(lesion_N, 60, 3)
    assert pairs != choose_donors(lesion_N, 60, 4)


def test_fewer_pairs_than_images_are_drawn_from_all_of_them():
    """Manifests are in the order of names, and names may begin with the type."""
    images = [i for i, _ in choose_donors([f"lesion{i}" for i in range(300)], 60, 0)]
    assert len(set(images)) == 60
    assert images == sorted(images)
    assert np.histogram(images, 3, (0, 300))[0].min() > 10


def test_one_lesion_has_no_donor():
    with pytest.raises(ValueError, match="only one"):
        choose_donors(["a", "a"], 2, 0)


def test_jobs_ask_for_the_donor_in_the_place_of_the_image(lesions):
    jobs = plan_jobs(lesions, [(0, 5), (3, 2)], Setting("edit", "all", Guidance()))
    assert [job.seed for job in jobs] == [0, 1]
    assert jobs[0].label == lesions.label_N[5]
    assert jobs[0].image_HWC is lesions.image_NHWC[0] or (jobs[0].image_HWC == lesions.image_NHWC[0]).all()
    assert jobs[0].measurements[LIGHTNESS] == lesions.values_NM[5, FEATURE_NAMES.index(LIGHTNESS)]
    assert not set(jobs[0].measurements) & {FEATURE_NAMES[i] for i in np.flatnonzero(FOLLOWS_FROM_MASK)}
    whole = plan_jobs(lesions, [(0, 5)], Setting("whole", "all", Guidance()))[0]
    assert whole.image_HWC is None
    assert whole.mask_HW is None
    assert AREA in whole.measurements
    moved = plan_jobs(lesions, [(0, 5)], Setting("transplant", "all", Guidance()))[0]
    assert (moved.image_HWC == lesions.image_NHWC[0]).all()
    assert (moved.mask_HW == lesions.mask_NHW[5]).all()
    assert (moved.erase_HW == lesions.mask_NHW[0]).all()
    assert AREA in moved.measurements
    placed = plan_jobs(lesions, [(0, 5)], Setting("placed", "all", Guidance()))[0]
    assert placed.image_HWC is None
    assert (placed.mask_HW == lesions.mask_NHW[5]).all()
    relative = plan_jobs(lesions, [(0, 5)], Setting("edit", "relative", Guidance()))[0].measurements
    assert "clinical_contrast_lightness" in relative
    assert not set(relative) & {LIGHTNESS, "histogram_mean", AREA}
    assert set(relative) < set(jobs[0].measurements)
    assert plan_jobs(lesions, [(0, 5)], Setting("edit", "type", Guidance()))[0].measurements == {}
    assert plan_jobs(lesions, [(0, 5)], Setting("edit", "nothing", Guidance()))[0].label is None


def test_obedience_is_seen_and_silence_is_the_floor(lesions):
    asked = run(lesions, Setting("edit", "all", Guidance(1.0)))
    silent = run(lesions, Setting("edit", "type", Guidance()))
    assert spearman(asked, LIGHTNESS) > 0.95
    assert abs(spearman(silent, LIGHTNESS)) < 0.7
    assert asked.control.set_index("feature")["outcome"][AREA] == "not asked"
    assert asked.frechet < silent.frechet
    assert asked.summary()["measurement_strength"] == 1.0
    assert asked.agreement is None


def test_whole_images_are_segmented_and_their_size_counts(lesions):
    def segment(image_NHWC):
        found = image_NHWC.mean(axis=3) < 180
        found[0] = False  # nothing found
        return found

    steered = run(lesions, Setting("whole", "all", Guidance()), segment=segment)
    assert spearman(steered, AREA) > 0.9
    assert steered.summary()["without_lesion"] == 1
    assert steered.control.set_index("feature")["lost"][AREA] == 1
    with pytest.raises(ValueError, match="segmenter"):
        run(lesions, Setting("whole", "all", Guidance()))


def test_type_agreement_counts_every_type_the_same(lesions):
    always_first = run(lesions, Setting("edit", "all", Guidance()), classify=lambda images: np.zeros(len(images), int))
    assert always_first.agreement == pytest.approx(0.5)
