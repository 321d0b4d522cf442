"""Plans of every mode: what is asked of which source, and that it is the same every time."""

from collections import Counter

import numpy as np
import pytest
from tests.generation_examples import NAMES, make_planner, plan_of

from lfvar.errors import ConfigError, DataError
from lfvar.generation.masks import render_mask, size_and_place
from lfvar.generation.plan import hash_plan
from lfvar.generation.pool import share_out
from lfvar.generation.prompts import read_prompts
from lfvar.generation.settings import AskConfig, BalanceConfig, MaskConfig, SourceConfig, SweepConfig, Wish
from lfvar.measure.mask_only import measure_mask
from lfvar.measure.schema import FROM_MASK

LIGHT = "clinical_colour_lightness"


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("intra", {}),
        ("inter", {}),
        ("matrix", {}),
        ("sweep", {"sweep": SweepConfig(LIGHT, steps=3)}),
        ("balance", {"balance": BalanceConfig(target=12)}),
        ("whole", {}),
    ],
)
def test_plans_are_the_same_every_time_and_ask_what_the_net_takes(pool, mode, settings):
    plan = plan_of(pool, mode, **settings)
    assert hash_plan(plan) == hash_plan(plan_of(pool, mode, **settings))
    assert hash_plan(plan) != hash_plan(plan_of(pool, mode, seed=5, **settings))
    assert len({sample.image_id for sample in plan}) == len(plan)
    for sample in plan:
        assert set(sample.asked) <= set(NAMES) - set(FROM_MASK)
        assert (sample.source_id is None) == (mode == "whole")
        split = "train" if mode == "balance" else "test"
        assert sample.source_id is None or pool.rows[sample.source_id].split == split


def test_intra_asks_for_the_source_itself(pool):
    plan = plan_of(pool, "intra", sources=SourceConfig(count=3), ask=AskConfig(num_samples=2))
    assert Counter(sample.source_id for sample in plan).most_common(1)[0][1] == 2
    for sample in plan:
        row, measured = pool.rows[sample.source_id], pool.measured[sample.source_id]
        assert sample.label == row.label
        assert sample.mask.is_source
        assert sample.asked == {name: measured[name] for name in NAMES if name not in FROM_MASK}
    assert {sample.seed for sample in plan} == {0, 1}


def test_inter_takes_the_profile_of_the_target(pool):
    plan = plan_of(pool, "inter", sources=SourceConfig(count=2), ask=AskConfig(types=("mel", "nv")))
    means = make_planner(pool, "inter").vectors.profiles
    assert [sample.label for sample in plan] == ["mel", "nv"] * 2
    for sample in plan:
        assert sample.asked[LIGHT] == means.mean(sample.label)[LIGHT]
    every = plan_of(pool, "inter", sources=SourceConfig(count=1))
    assert {sample.label for sample in every} == set(pool.classes) - {pool.rows[every[0].source_id].label}


def test_sampled_vectors_go_with_the_mask(pool):
    """The same seed on two masks draws what lesions of that shape have, so the draws differ."""
    config = {"ask": AskConfig(types=("mel",), measurements="sampled"), "sources": SourceConfig(count=4)}
    plan = plan_of(pool, "inter", **config)
    assert len({sample.asked["histogram_entropy"] for sample in plan}) > 1
    planner = make_planner(pool, "inter", **config)
    for sample in plan:
        given = {name: v for name, v in pool.measured[sample.source_id].items() if name in FROM_MASK}
        drawn = planner.vectors.profiles.sample("mel", [sample.seed], given).iloc[0]
        assert sample.asked[LIGHT] == drawn[LIGHT]


def test_the_matrix_has_every_type_on_every_type(pool):
    plan = plan_of(pool, "matrix")
    pairs = {(pool.rows[sample.source_id].label, sample.label) for sample in plan}
    there = {row.label for row in pool.manifest.select("test") if row.lesion_fraction}
    assert pairs == {(a, b) for a in there for b in pool.classes}
    assert {sample.sheet for sample in plan} == {"matrix"}


def test_balance_fills_up_what_lacks(pool):
    counts = Counter(row.label for row in pool.manifest.select("train"))
    plan = plan_of(pool, "balance", balance=BalanceConfig(target=max(counts.values()) + 2))
    made = Counter(sample.label for sample in plan)
    assert all(counts[label] + made[label] == max(counts.values()) + 2 for label in pool.classes)
    assert all(pool.rows[sample.source_id].label == sample.label for sample in plan)
    per_source = Counter((sample.label, sample.source_id) for sample in plan)
    for label in pool.classes:
        turns = [count for (there, _), count in per_source.items() if there == label]
        assert max(turns) - min(turns) <= 1
    assert len({sample.seed for sample in plan}) == len(plan)
    few = plan_of(pool, "balance", balance=BalanceConfig(target=50, max_factor=1.0, sources="any"))
    assert Counter(sample.label for sample in few) == counts
    assert any(pool.rows[sample.source_id].label != sample.label for sample in few)


@pytest.mark.parametrize("others", ["fixed", "follow", "free"])
def test_a_sweep_moves_one_value_from_low_to_high(pool, others):
    plan = plan_of(
        pool, "sweep", sources=SourceConfig(count=2), sweep=SweepConfig(LIGHT, steps=5, others=others), seed=7
    )
    for source in {sample.source_id for sample in plan}:
        strip = [sample for sample in plan if sample.source_id == source]
        values = [sample.asked[LIGHT] for sample in strip]
        assert values == sorted(values)
        assert values[0] < values[-1]
        assert {sample.seed for sample in strip} == {7}
        brightness = [sample.asked.get("histogram_mean") for sample in strip]
        if others == "fixed":
            assert len(set(brightness)) == 1
        elif others == "follow":
            assert brightness == sorted(brightness)  # mean grey level goes with L*
            assert brightness[0] < brightness[-1]
        else:
            assert set(strip[0].asked) == {LIGHT}


@pytest.mark.parametrize("others", ["fixed", "follow", "free"])
def test_what_is_stated_stays_as_stated_in_a_sweep(pool, others):
    ask = AskConfig(set={"histogram_mean": 100.0})
    sweep = SweepConfig(LIGHT, steps=3, others=others)
    plan = plan_of(pool, "sweep", sources=SourceConfig(count=2), sweep=sweep, ask=ask)
    assert {sample.asked["histogram_mean"] for sample in plan} == {100.0}
    assert len({sample.asked[LIGHT] for sample in plan}) > 2


@pytest.mark.parametrize(
    "name",
    ["clinical_relative_area", "clinical_centroid_x", "clinical_asymmetry_shape_max", "clinical_border_compactness"],
)
def test_a_sweep_of_a_shape_moves_the_mask(pool, name):
    # wider than a lesion type is at 16 pixels
    values = {"clinical_relative_area": (0.1, 0.2, 0.3), "clinical_centroid_x": (0.4, 0.5, 0.6)}
    values |= {"clinical_asymmetry_shape_max": (0.02, 0.1, 0.2), "clinical_border_compactness": (1.0, 1.1, 1.25)}
    sweep = SweepConfig(name, values=values[name])
    plan = plan_of(pool, "sweep", sources=SourceConfig(count=1), sweep=sweep)
    got = [measure_mask(render_mask(sample.mask, pool))[name] for sample in plan]
    assert got == sorted(got)
    assert got[0] < got[-1]
    assert [sample.wanted[name] for sample in plan] == list(values[name])
    assert name not in plan[0].asked
    kinds = {sample.mask.kind for sample in plan}
    assert kinds == ({"source"} if name in ("clinical_relative_area", "clinical_centroid_x") else {"drawn"})


@pytest.mark.parametrize("others", ["fixed", "follow", "free"])
def test_a_sweep_of_the_mask_says_what_becomes_of_the_others(pool, others):
    """Entropy is tied to size among the lesions of a type; asked for the source's own it would contradict the mask."""
    sweep = SweepConfig("clinical_relative_area", values=(0.05, 0.15, 0.4), others=others)
    ask = AskConfig(set={"clinical_colour_redness": 12.0})
    plan = plan_of(pool, "sweep", sources=SourceConfig(count=1), sweep=sweep, ask=ask)
    own = pool.measured[plan[0].source_id]
    assert {sample.asked["clinical_colour_redness"] for sample in plan} == {12.0}
    entropy = [sample.asked.get("histogram_entropy") for sample in plan]
    if others == "fixed":
        assert entropy == [own["histogram_entropy"]] * 3
    elif others == "follow":
        assert entropy in (sorted(entropy), sorted(entropy, reverse=True))
        assert len(set(entropy)) > 1
    else:
        assert all(set(sample.asked) == {"clinical_colour_redness"} for sample in plan)
    unmoved = SweepConfig("clinical_relative_area", values=(own["clinical_relative_area"], 0.5), others=others)
    first = plan_of(pool, "sweep", sources=SourceConfig(count=1), sweep=unmoved)[0]
    assert others == "free" or first.asked["histogram_entropy"] == pytest.approx(own["histogram_entropy"])


@pytest.mark.parametrize("name", [LIGHT, "clinical_centroid_x", "clinical_border_compactness"])
def test_a_stated_size_stays_in_a_sweep(pool, name):
    values = {"clinical_centroid_x": (0.4, 0.6), "clinical_border_compactness": (1.05, 1.2)}.get(name)
    for settings in (
        {"ask": AskConfig(set={"clinical_relative_area": 0.1})},
        {"mask": MaskConfig(area=0.1)},
        {"mask": MaskConfig(kind="bank", area=0.1)},
    ):
        sweep = SweepConfig(name, values=values, steps=2)
        for sample in plan_of(pool, "sweep", sources=SourceConfig(count=1), sweep=sweep, **settings):
            assert render_mask(sample.mask, pool).sum() == round(0.1 * 256)


def test_a_lesion_is_moved_along_one_axis(pool):
    ask = AskConfig(set={"clinical_centroid_x": 0.5}, num_samples=1)
    sample = plan_of(pool, "intra", sources=SourceConfig(count=1), ask=ask)[0]
    own = size_and_place(pool.read_mask(sample.source_id))
    moved = size_and_place(render_mask(sample.mask, pool))
    assert moved["clinical_centroid_y"] == own["clinical_centroid_y"]
    assert moved["clinical_centroid_x"] == pytest.approx(0.5, abs=0.5 / 16)


def test_a_sweep_through_the_bank_keeps_size_and_place(pool):
    name = "clinical_asymmetry_shape_max"
    plan = plan_of(
        pool,
        "sweep",
        sources=SourceConfig(count=1),
        sweep=SweepConfig(name, values=(0.02, 0.3)),
        mask=MaskConfig(kind="bank"),
    )
    own = pool.read_mask(plan[0].source_id)
    for sample in plan:
        mask = render_mask(sample.mask, pool)
        assert pool.rows[sample.mask.image_id].split == "train"
        assert mask.sum() == own.sum()


def test_prompts_become_masks_and_vectors(pool):
    planner = make_planner(pool, "whole")
    known = planner.known
    texts = ("three images of a large, dark melanoma in the upper left", "a pale nevus")
    prompts = read_prompts(texts, pool.classes, planner.vectors.profiles, known)
    plan = plan_of(pool, "prompt", prompts=prompts)
    assert [sample.label for sample in plan] == ["mel"] * 3 + ["nv"] * 4
    first, last = plan[0], plan[-1]
    assert first.prompt == texts[0]
    profiles = planner.vectors.profiles
    assert first.asked[LIGHT] == profiles.quantile("mel", 0.15)[LIGHT]
    assert last.asked[LIGHT] > profiles.quantile("nv", 0.5)[LIGHT]
    mask = render_mask(first.mask, pool)
    area = profiles.quantile("mel", 0.85)["clinical_relative_area"]
    assert mask.mean() == pytest.approx(area, abs=0.5 / mask.size)
    y, x = np.nonzero(mask)
    assert (x.mean() + 0.5) / 16 < 0.47
    assert (y.mean() + 0.5) / 16 < 0.47
    edits = plan_of(pool, "prompt", prompts=prompts, edits=True)
    assert len({pool.rows[sample.source_id].label for sample in edits}) == 4  # skins as different as there are images
    with pytest.raises(ConfigError, match="some would never be used"):
        plan_of(pool, "prompt", prompts=prompts, edits=True, sources=SourceConfig(count=5))


def test_stated_values_are_asked_and_words_are_quantiles(pool):
    ask = AskConfig(set={LIGHT: "very high", "clinical_colour_redness": 12.5}, num_samples=1)
    sample = plan_of(pool, "intra", sources=SourceConfig(count=1), ask=ask)[0]
    profiles = make_planner(pool, "intra").vectors.profiles
    assert sample.asked[LIGHT] == profiles.quantile(sample.label, 0.95)[LIGHT]
    assert sample.asked["clinical_colour_redness"] == 12.5
    ask = AskConfig(set={"clinical_relative_area": 0.2}, num_samples=1)
    drawn = plan_of(pool, "intra", sources=SourceConfig(count=2), ask=ask, mask=MaskConfig(kind="drawn"))
    assert render_mask(drawn[0].mask, pool).sum() == round(0.2 * 256)


def test_masks_of_whole_images(pool):
    assert {sample.mask.kind for sample in plan_of(pool, "whole")} == {"bank"}
    free = plan_of(pool, "whole", mask=MaskConfig(kind="none"))
    assert {sample.mask.kind for sample in free} == {"none"}
    assert "clinical_relative_area" in free[0].asked  # no mask decides it, so it is asked of the net
    by_size = plan_of(pool, "whole", mask=MaskConfig(kind="bank", area=0.3, position=(0.5, 0.5)))
    assert all(render_mask(sample.mask, pool).sum() == round(0.3 * 256) for sample in by_size)


def test_sources_are_shared_out():
    assert share_out(5, [10, 1, 10]) == [2, 1, 2]
    assert share_out(100, [2, 3]) == [2, 3]
    assert share_out(0, [2]) == [0]


@pytest.mark.parametrize(
    ("mode", "settings", "words"),
    [
        ("inter", {"ask": AskConfig(types=("melanom",))}, "did you mean mel"),
        ("intra", {"sources": SourceConfig(ids=("phantom_00001",))}, "did you mean phantom_0"),
        ("intra", {"sources": SourceConfig(types=("moles",))}, "sources.types"),
        ("intra", {"ask": AskConfig(set={"clinical_colour_lightnes": 1})}, f"did you mean {LIGHT}"),
        ("intra", {"ask": AskConfig(set={"texture_glcm_contrast": 1})}, "not trained with"),
        ("intra", {"ask": AskConfig(set={"clinical_asymmetry_shape_max": 0.2})}, "mask.kind=drawn"),
        (
            "sweep",
            {"sweep": SweepConfig("clinical_border_compactness"), "mask": MaskConfig(kind="source")},
            "one shape",
        ),
        ("intra", {"ask": AskConfig(set={"clinical_relative_area": 40})}, "no lesion measures that"),
        ("intra", {"ask": AskConfig(set={"clinical_centroid_x": 50})}, "from 0 to 1"),
        (
            "whole",
            {"ask": AskConfig(set={"shape_elongation": 2.0}), "mask": MaskConfig(kind="drawn")},
            "no lesion measures that",
        ),
        ("sweep", {"sweep": SweepConfig("clinical_relative_area", values=(10, 20))}, "a part of the image"),
        ("inter", {"mask": MaskConfig(elongation=2)}, "no effect on mask.kind=source"),
        ("sweep", {"sweep": SweepConfig(LIGHT), "mask": MaskConfig(irregularity=1)}, "no effect on mask.kind=source"),
        ("whole", {"mask": MaskConfig(kind="none", area=0.2)}, "no effect on mask.kind=none"),
        (
            "intra",
            {"ask": AskConfig(set={"clinical_relative_area": 0.3}), "mask": MaskConfig(area=0.1)},
            "mask.area=0.1, and clinical_relative_area=0.3",
        ),
    ],
)
def test_nonsense_is_named(pool, mode, settings, words):
    with pytest.raises(ConfigError) as caught:
        plan_of(pool, mode, **settings)
    assert words in str(caught.value)


def test_nothing_to_do_is_an_error(pool):
    with pytest.raises(DataError, match="nothing to make"):
        plan_of(pool, "balance", balance=BalanceConfig(target=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Wish(mode="inta"),
        lambda: Wish(mode="prompt"),
        lambda: Wish(mode="intra", prompts=("a nevus",)),
        lambda: Wish(mode="sweep"),
        lambda: Wish(mode="whole", edits=True),
        lambda: Wish(mode="intra", edits=False),
        lambda: Wish(mode="whole", mask=MaskConfig(kind="source")),
        lambda: Wish(mode="inter", mask=MaskConfig(kind="none")),
        lambda: Wish(mode="whole", ask=AskConfig(measurements="source")).base,
        lambda: Wish(mode="balance", ask=AskConfig(num_samples=3)),
        lambda: Wish(mode="prompt", prompts=("a nevus",), ask=AskConfig(types=("mel",))),
        lambda: Wish(mode="sweep", sweep=SweepConfig(LIGHT), ask=AskConfig(set={LIGHT: 40})),
        lambda: MaskConfig(kind="file"),
        lambda: MaskConfig(area=1.5),
        lambda: MaskConfig(position=(0.1,)),
        lambda: SweepConfig(low=0.9, high=0.1),
        lambda: AskConfig(set={LIGHT: "bright"}),
        lambda: SourceConfig(split="valid"),
    ],
)
def test_settings_check_themselves(make):
    with pytest.raises(ConfigError):
        make()
