import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lfvar.data.phantom import FACTOR_RANGES, PROFILES, PhantomFactors, render, rephotograph, sample_factors
from lfvar.data.records import HAM10000_CLASSES, PairError, Record, Source
from lfvar.data.sources.phantom import Phantom
from lfvar.errors import ConfigError

PLAIN = PhantomFactors(diameter=0.5, network=0.0, globules=0.0, hairs=0.0, vignette=0.0, shading=0.0, skin_texture=0.3)
"""A lesion without structures on even skin: whatever a test adds is all that changes."""


def to_lab(image):
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def rank_correlation(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


def fold_error(mask):
    """Part of the area that does not overlap after folding along each principal axis."""
    y, x = np.nonzero(mask)
    _, axes = np.linalg.eigh(np.cov(x, y))
    turn = cv2.getRotationMatrix2D((x.mean(), y.mean()), np.degrees(np.arctan2(axes[1, 1], axes[0, 1])), 1.0)
    centre = mask.shape[0] // 2
    turn[:, 2] += centre - np.array([x.mean(), y.mean()])
    upright = cv2.warpAffine(mask.astype(np.uint8) * 255, turn, (2 * centre + 1, 2 * centre + 1)) > 127
    return np.mean([(upright ^ upright[::-1]).sum(), (upright ^ upright[:, ::-1]).sum()]) / upright.sum()


def compactness(mask):
    outline = max(cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    return cv2.arcLength(outline, True) ** 2 / mask.sum()


def axis_ratio(mask):
    y, x = np.nonzero(mask)
    short, long = np.linalg.eigvalsh(np.cov(x, y))
    return np.sqrt(long / short)


def digest(source, indices):
    records = source.records()
    pairs = [source.load(records[index]) for index in indices]
    return [hashlib.sha256(pair.image_HWC.tobytes() + pair.mask_HW.tobytes()).hexdigest() for pair in pairs]


@pytest.fixture(scope="module")
def gallery():
    """140 phantoms at 128 px with measurements taken from pixels and mask alone."""
    source = Phantom(num_images=140, size=128, seed=11)
    table = []
    for record in source.records():
        pair = source.load(record)
        mask, lab = pair.mask_HW, to_lab(pair.image_HWC)
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))).astype(bool) & ~mask
        contrast = lab[mask].mean(axis=0) - np.median(lab[ring], axis=0)
        y, x = np.nonzero(mask)
        table.append(
            {
                **pair.factors,
                "measured_area": mask.mean(),
                "measured_x": (x.mean() + 0.5) / 128,
                "measured_y": (y.mean() + 0.5) / 128,
                "measured_contrast": contrast,
                "measured_compactness": compactness(mask),
                "measured_fold_error": fold_error(mask),
                "measured_axis_ratio": axis_ratio(mask),
                "measured_skin": np.median(lab[~mask], axis=0),
            }
        )
    return {name: np.array([row[name] for row in table]) for name in table[0]}


# Determinism.


def test_image_depends_on_seed_and_index_alone():
    source = Phantom(num_images=40, size=48, seed=3)
    indices = [0, 1, 17, 39]
    expected = digest(source, indices)
    assert digest(source, indices[::-1]) == expected[::-1]
    assert digest(Phantom(num_images=1000, size=48, seed=3), indices) == expected
    assert digest(pickle.loads(pickle.dumps(source)), indices) == expected
    assert len(set(expected)) == len(expected)
    assert not set(digest(Phantom(num_images=40, size=48, seed=4), indices)) & set(expected)


def test_another_process_renders_the_same_bytes():
    code = (
        "import cv2, hashlib; cv2.setNumThreads(1)\n"
        "from lfvar.data.sources.phantom import Phantom\n"
        "source = Phantom(num_images=9, size=64, seed=5)\n"
        "for record in source.records()[::-4]:\n"
        "    pair = source.load(record)\n"
        "    print(hashlib.sha256(pair.image_HWC.tobytes() + pair.mask_HW.tobytes()).hexdigest())\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed == digest(Phantom(num_images=9, size=64, seed=5), [8, 4, 0])


@pytest.mark.parametrize("name", ["hairs", "network", "vessels", "variegation", "skin_texture", "globules"])
def test_one_factor_leaves_all_other_random_choices_alone(name):
    """The outline stays put, and so does the skin when a lesion factor moves."""
    low, high = (render(replace(PLAIN, **{name: value}), 64, 9) for value in (0.0, 1.0))
    assert np.array_equal(low.mask_HW, high.mask_HW)
    assert not np.array_equal(low.image_HWC, high.image_HWC)
    if name not in ("hairs", "skin_texture"):
        assert np.array_equal(low.image_HWC[~low.mask_HW], high.image_HWC[~low.mask_HW])


# The same lesion at every size.


@pytest.mark.parametrize("size", [32, 50, 64, 100, 128, 512])
def test_size_changes_resolution_and_nothing_else(size):
    for index in range(4 if size == 512 else 14):
        factors = sample_factors(HAM10000_CLASSES[index % 7], np.random.default_rng(index))
        pair, fine = render(factors, size, (0, index)), render(factors, 256, (0, index))
        assert pair.image_HWC.shape == (size, size, 3)
        side = min(size, 256)
        images = [cv2.resize(p.image_HWC, (side, side), interpolation=cv2.INTER_AREA) for p in (pair, fine)]
        masks = [
            cv2.resize(p.mask_HW.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) >= 0.5
            for p in (pair, fine)
        ]
        # A pixel of difference along the outline weighs more the smaller the lesion is.
        assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > (0.9 if size >= 64 else 0.85)
        # Blurred to one scale, because a larger image rightly shows finer furrows; another seed differs by 4 to 16.
        blurred = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), side / 48) for image in images]
        assert np.abs(blurred[0] - blurred[1]).mean() < 1.6
        assert pair.factors == fine.factors


@pytest.mark.parametrize("size", [96, 128])
def test_fine_structures_stay_where_they_are(size):
    """Furrows, network and globules of the large image, averaged down, are those of the small one."""
    factors = replace(PLAIN, network=0.8, globules=0.8, skin_texture=1.0, hairs=0.2)
    for seed in range(5):
        small, large = render(factors, size, seed), render(factors, 256, seed)
        fine = [
            image - cv2.GaussianBlur(image, (0, 0), 3)
            for image in (
                small.image_HWC.astype(np.float32),
                cv2.resize(large.image_HWC.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA),
            )
        ]
        for part in (small.mask_HW, ~small.mask_HW):
            assert np.corrcoef(fine[0][part].ravel(), fine[1][part].ravel())[0, 1] > 0.9


# Masks.


def test_masks_are_one_piece_inside_the_frame():
    source = Phantom(num_images=200, size=64, seed=1)
    for record in source.records():
        check_mask(source.load(record).mask_HW)


def test_masks_are_one_piece_for_extreme_factors():
    rng = np.random.default_rng(0)
    for index in range(60):
        x, y, elongation, diameter = rng.random(4)
        factors = PhantomFactors(
            diameter=0.12 + 0.73 * diameter,
            centre_x=x,
            centre_y=y,
            elongation=1 + 1.5 * elongation,
            orientation=float(rng.uniform(-3, 3)),
            asymmetry=1.0,
            irregularity=1.0,
        )
        check_mask(render(factors, 32, index).mask_HW)


def check_mask(mask):
    assert mask.dtype == np.bool_
    assert 8 <= mask.sum() < 0.75 * mask.size
    assert np.array_equal(mask, np.pad(mask[1:-1, 1:-1], 1))
    assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2


def test_lesion_that_would_leave_the_frame_is_moved_and_says_so():
    pair = render(replace(PLAIN, centre_x=0.0, centre_y=1.0), 128, 0)
    y, x = np.nonzero(pair.mask_HW)
    assert pair.factors["centre_x"] == pytest.approx((x.mean() + 0.5) / 128, abs=0.005)
    assert pair.factors["centre_y"] == pytest.approx((y.mean() + 0.5) / 128, abs=0.005)
    assert pair.factors["diameter"] == 0.5
    large = render(replace(PLAIN, diameter=0.85, elongation=2.5), 128, 0)
    assert large.factors["diameter"] < 0.8
    assert np.sqrt(4 * large.mask_HW.mean() / np.pi) == pytest.approx(large.factors["diameter"], abs=0.005)


@pytest.mark.parametrize("size", [64, 160])
def test_outside_the_mask_is_bare_skin_to_the_last_bit(size):
    for index in range(6):
        factors = sample_factors(HAM10000_CLASSES[index], np.random.default_rng(index))
        ill, healthy = render(factors, size, index), render(factors, size, index, lesion=False)
        assert np.array_equal(ill.mask_HW, healthy.mask_HW)
        differs = (ill.image_HWC != healthy.image_HWC).any(axis=2)
        assert not differs[~ill.mask_HW].any()
        assert differs[ill.mask_HW].mean() > 0.8


# Factors are true.


def test_geometry_is_exact(gallery):
    assert np.abs(np.sqrt(4 * gallery["measured_area"] / np.pi) - gallery["diameter"]).max() < 0.006
    assert np.abs(gallery["measured_x"] - gallery["centre_x"]).max() < 0.006
    assert np.abs(gallery["measured_y"] - gallery["centre_y"]).max() < 0.006
    assert rank_correlation(gallery["elongation"], gallery["measured_axis_ratio"]) > 0.95
    assert rank_correlation(gallery["asymmetry"], gallery["measured_fold_error"]) > 0.9
    assert rank_correlation(gallery["irregularity"], gallery["measured_compactness"]) > 0.75


def test_orientation_turns_the_long_axis_clockwise():
    factors = replace(PLAIN, elongation=2.2, asymmetry=0.0, irregularity=0.0, orientation=0.5)
    y, x = np.nonzero(render(factors, 128, 0).mask_HW)
    _, axes = np.linalg.eigh(np.cov(x, y))
    assert np.arctan(axes[1, 1] / axes[0, 1]) == pytest.approx(0.5, abs=0.02)


def test_everything_inside_turns_with_the_lesion():
    rich = replace(PLAIN, variegation=0.8, veil=0.6, network=0.7, globules=0.5, vessels=0.5)
    for seed in range(3):
        upright, turned = (
            (to_lab(render(factors, 128, seed).image_HWC) - to_lab(render(factors, 128, seed, lesion=False).image_HWC))
            for factors in (rich, replace(rich, orientation=np.pi / 2))
        )
        assert np.corrcoef(np.rot90(upright, -1).ravel(), turned.ravel())[0, 1] > 0.95
        assert np.corrcoef(upright.ravel(), turned.ravel())[0, 1] < 0.9


def test_mean_colour_is_exact(gallery):
    for channel, truth in enumerate([-gallery["darkness"], gallery["redness"], gallery["warmth"]]):
        measured = gallery["measured_contrast"][:, channel]
        assert rank_correlation(truth, measured) > 0.95
        assert np.median(np.abs(truth - measured)) < 1.5  # hairs, vignette and skin texture get between
    for channel, (name, sign) in enumerate({"skin_tone": -1, "skin_redness": 1, "skin_warmth": 1}.items()):
        assert sign * rank_correlation(gallery[name], gallery["measured_skin"][:, channel]) > 0.9


@pytest.mark.parametrize("label", HAM10000_CLASSES)
def test_mean_colour_change_equals_the_factors_on_even_light(label):
    for seed in range(4):
        factors = sample_factors(label, np.random.default_rng(seed))
        factors = replace(factors, hairs=0.0, vignette=0.0, darkness=12.0, redness=6.0, warmth=3.0)
        ill, healthy = render(factors, 96, seed), render(factors, 96, seed, lesion=False)
        change = (to_lab(ill.image_HWC) - to_lab(healthy.image_HWC))[ill.mask_HW].mean(axis=0)
        assert change == pytest.approx([-12.0, 6.0, 3.0], abs=1.0)


def core(mask):
    """The lesion without its fading edge."""
    return cv2.erode(mask.astype(np.uint8), np.ones((15, 15))).astype(bool)


def shades(lab, mask):
    return cv2.GaussianBlur(lab, (0, 0), 4)[core(mask)].std(axis=0).sum()


def fine_detail(lab, mask):
    return (lab - cv2.GaussianBlur(lab, (0, 0), 3))[mask].std(axis=0).sum()


def fine_lightness(lab, mask, quantile):
    return np.quantile((lab - cv2.GaussianBlur(lab, (0, 0), 5))[..., 0][mask], quantile)


def central_lightness(lab, mask):
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return lab[..., 0][depth > 0.7 * depth.max()].mean() - lab[..., 0][mask & (depth < 0.5 * depth.max())].mean()


def edge_slope(lab, mask):
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return lab[..., 0][mask & (depth < 3)].mean() - lab[..., 0][mask & (depth > 0.5 * depth.max())].mean()


MEASURES = {
    "variegation": shades,
    "veil": lambda lab, mask: -np.quantile(cv2.GaussianBlur(lab, (0, 0), 2)[..., 2][core(mask)], 0.1),
    "pallor": central_lightness,
    "network": fine_detail,
    "globules": lambda lab, mask: -fine_lightness(lab, mask, 0.03),
    "milia": lambda lab, mask: fine_lightness(lab, mask, 0.97),
    "follicles": lambda lab, mask: (lab[..., 2] - lab[..., 1])[mask].std(),
    "lacunae": lambda lab, mask: lab[..., 0][mask].std(),
    "scale": lambda lab, mask: fine_lightness(lab, mask, 0.99),
    "vessels": lambda lab, mask: np.quantile((lab - cv2.GaussianBlur(lab, (0, 0), 5))[..., 1][mask], 0.97),
    "edge_softness": edge_slope,
    "hairs": lambda lab, mask: -np.quantile(lab[..., 0][~mask], 0.03),
    "skin_texture": lambda lab, mask: (lab - cv2.GaussianBlur(lab, (0, 0), 3))[..., 0][~mask].std(),
    "shading": lambda lab, mask: cv2.GaussianBlur(lab, (0, 0), 12)[..., 0][~mask].std(),
    "vignette": lambda lab, mask: -lab[..., 0][:12, :12].mean(),
}


@pytest.mark.parametrize(("name", "measure"), MEASURES.items())
def test_strength_moves_its_measure(name, measure):
    """Each step up is seen, for each of several lesions, all else equal."""
    low = FACTOR_RANGES[name].low
    steps = {"edge_softness": (0.05, 0.3, 0.7)}.get(name, (low, 0.4, 1.0))
    for seed in range(5):
        seen = []
        for value in steps:
            pair = render(replace(PLAIN, **{name: value}), 128, seed)
            seen.append(measure(to_lab(pair.image_HWC), pair.mask_HW))
        assert seen[0] < seen[1] < seen[2], (seed, seen)


def test_every_factor_is_tested():
    geometry = {"diameter", "centre_x", "centre_y", "elongation", "orientation", "asymmetry", "irregularity"}
    colour = {"darkness", "redness", "warmth", "skin_tone", "skin_redness", "skin_warmth"}
    assert geometry | colour | set(MEASURES) == set(FACTOR_RANGES)


# Types.


def test_types_differ_but_overlap():
    """A linear classifier on true factors tells most types apart, but not all of any two neighbours."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 200)
    table = np.array([list(sample_factors(HAM10000_CLASSES[k], rng).as_dict().values()) for k in labels])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    train = np.arange(labels.size) % 2 == 0
    means = np.array([table[train & (labels == k)].mean(axis=0) for k in range(7)])
    within = np.mean([np.cov(table[train & (labels == k)].T) for k in range(7)], axis=0) + 0.05 * np.eye(table.shape[1])
    whitened = np.linalg.solve(within, means.T)
    scores = table @ whitened - 0.5 * (means * whitened.T).sum(axis=1)
    right = (scores.argmax(axis=1) == labels)[~train]
    recall = [right[labels[~train] == k].mean() for k in range(7)]
    assert min(recall) > 0.5
    assert 0.7 < np.mean(recall) < 0.96
    # No factor alone separates the two types that matter most.
    for values in table.T:
        nv, mel = values[labels == 5], values[labels == 4]
        melanoma_is_higher = (nv[:, None] < mel).mean() + 0.5 * (nv[:, None] == mel).mean()
        assert 0.03 < melanoma_is_higher < 0.97


def test_melanoma_is_larger_darker_less_regular_than_naevus():
    rng = np.random.default_rng(1)
    mel, nv = (
        {name: np.mean(values) for name, values in zip(FACTOR_RANGES, np.array(rows).T, strict=True)}
        for rows in (
            [list(sample_factors(label, rng).as_dict().values()) for _ in range(200)] for label in ("mel", "nv")
        )
    )
    for name in ("diameter", "asymmetry", "irregularity", "variegation", "darkness", "veil"):
        assert mel[name] > nv[name], name


def test_profiles_cover_the_classes_and_name_real_factors():
    assert tuple(sorted(PROFILES)) == tuple(sorted(HAM10000_CLASSES))
    for profile in PROFILES.values():
        assert set(profile) <= set(FACTOR_RANGES)


# The source.


def test_source_keeps_the_contract():
    source = Phantom(num_images=30, size=40)
    assert isinstance(source, Source)
    assert tuple(source.classes) == HAM10000_CLASSES
    records = source.records()
    assert records[12].image_id == "phantom_000012"
    assert records[12].image_path is None
    assert len({record.image_id for record in records}) == 30
    pair = source.load(records[3])
    assert pair.image_HWC.shape == (40, 40, 3)
    assert pair.image_HWC.dtype == np.uint8
    assert set(pair.factors) == set(FACTOR_RANGES)
    assert all(type(value) is float for value in pair.factors.values())


@pytest.mark.parametrize(
    "other", [{"num_images": 31}, {"size": 48}, {"seed": 1}, {"class_weights": {"nv": 1}}, {"repeat_fraction": 0.0}]
)
def test_description_tells_settings_apart(other):
    settings = {"num_images": 30, "size": 40}
    assert Phantom(**settings).describe() == Phantom(**settings).describe()
    assert Phantom(**{**settings, **other}).describe() != Phantom(**settings).describe()


def test_types_come_in_turn():
    labels = [record.label for record in Phantom(num_images=280).records()]
    assert [labels.count(name) for name in HAM10000_CLASSES] == [40] * 7


def test_class_weights_decide_frequencies():
    labels = [record.label for record in Phantom(num_images=600, class_weights={"nv": 3, "mel": 1}).records()]
    assert set(labels) == {"nv", "mel"}
    assert labels.count("nv") / 600 == pytest.approx(0.75, abs=0.07)


def test_a_quarter_of_the_images_shows_a_lesion_again():
    source = Phantom(num_images=400, size=64)
    records = source.records()
    assert len({record.lesion_id for record in records}) == 300
    again = [i for i in range(1, 400) if records[i].lesion_id == records[i - 1].lesion_id]
    assert len(again) == 100
    for index in again[:5]:
        assert records[index].label == records[index - 1].label
        first, second = source.load(records[index - 1]), source.load(records[index])
        photo = {"centre_x", "centre_y", "orientation", "hairs", "shading", "vignette", "diameter"}
        assert all(first.factors[name] == second.factors[name] for name in set(FACTOR_RANGES) - photo)
        assert first.factors["orientation"] != second.factors["orientation"]
        assert compactness(first.mask_HW) == pytest.approx(compactness(second.mask_HW), rel=0.12)
        # Turned back, the second outline covers the first; a stranger's does not.
        assert overlap_when_turned_back(first, second) > 0.85
        skin = ~(first.mask_HW | second.mask_HW)
        furrows = [
            (pair.image_HWC - cv2.GaussianBlur(pair.image_HWC.astype(np.float32), (0, 0), 2))[skin]
            for pair in (first, second)
        ]
        assert abs(np.corrcoef(furrows[0].ravel(), furrows[1].ravel())[0, 1]) < 0.3
    assert len({record.lesion_id for record in Phantom(num_images=50, repeat_fraction=0.0).records()}) == 50


def overlap_when_turned_back(first, second):
    side = first.mask_HW.shape[0]
    angle = np.degrees(second.factors["orientation"] - first.factors["orientation"])
    centre = [second.factors[name] * side - 0.5 for name in ("centre_x", "centre_y")]
    turn = cv2.getRotationMatrix2D(centre, angle, first.factors["diameter"] / second.factors["diameter"])
    turn[:, 2] += [
        first.factors[name] * side - 0.5 - at for name, at in zip(("centre_x", "centre_y"), centre, strict=True)
    ]
    back = cv2.warpAffine(second.mask_HW.astype(np.uint8) * 255, turn, (side, side)) > 127
    return (back & first.mask_HW).sum() / (back | first.mask_HW).sum()


def test_another_photo_shows_other_skin():
    factors = sample_factors("nv", np.random.default_rng(0))
    first, second = render(factors, 64, 7), render(factors, 64, 7, photo=1)
    assert np.array_equal(first.mask_HW, second.mask_HW)
    outside = ~first.mask_HW
    assert (first.image_HWC[outside] != second.image_HWC[outside]).any(axis=1).mean() > 0.9
    assert rephotograph(factors, np.random.default_rng(1)).asymmetry == factors.asymmetry


# Wrong settings.


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_images": 0}, "num_images"),
        ({"size": 31}, "size"),
        ({"size": 513}, "size"),
        ({"seed": -1}, "seed"),
        ({"repeat_fraction": 0.6}, "repeat_fraction"),
        ({"repeat_fraction": float("nan")}, "repeat_fraction"),
        ({"class_weights": {"naevus": 1}}, "naevus"),
        ({"class_weights": {"nv": 0}}, "class_weights"),
        ({"class_weights": {"nv": -1, "mel": 2}}, "class_weights"),
        ({"class_weights": {}}, "class_weights"),
    ],
)
def test_wrong_settings_are_named(settings, named):
    with pytest.raises(ConfigError, match=named) as caught:
        Phantom(**settings)
    assert caught.value.cure


def test_wrong_factors_are_named():
    with pytest.raises(ConfigError, match="diameter"):
        PhantomFactors(diameter=0.05)
    with pytest.raises(ConfigError, match="network"):
        PhantomFactors(network=float("nan"))
    with pytest.raises(ConfigError, match="naevus"):
        sample_factors("naevus", np.random.default_rng(0))
    with pytest.raises(ConfigError, match="size"):
        render(PLAIN, 16, 0)
    with pytest.raises(ConfigError, match="negative"):
        render(PLAIN, 64, (0, -1))


@pytest.mark.parametrize("image_id", ["ISIC_0024306", "phantom_000010", "phantom_x"])
def test_foreign_record_cannot_be_loaded(image_id):
    with pytest.raises(PairError, match="none of phantom_000000 to phantom_000009"):
        Phantom(num_images=10).load(Record(image_id=image_id, label="nv"))
