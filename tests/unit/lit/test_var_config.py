from dataclasses import asdict, replace

import pytest

from lfvar.errors import ConfigError
from lfvar.interop.checkpoints import ConditionMeaning
from lfvar.lit.var_config import ConditionConfig, VARModel, fit_model
from lfvar.nn.var import VARConfig
from lfvar.nn.vqvae import VQVAEConfig
from var_examples import MEANING, SIZES

TOKENIZER = VQVAEConfig(
    channels=16, channel_multipliers=(1, 2), latent_channels=4, vocab_size=32, patch_nums=(1, 2, 4), stem_stride=2
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (ConditionConfig(), (3, 4, False)),
        (ConditionConfig(label=False), (0, 4, False)),
        (ConditionConfig(measurements=False, mask=True), (3, 0, True)),
        (ConditionConfig(label=False, measurements=False), (0, 0, False)),
    ],
)
def test_condition_and_data_decide_the_inputs(condition, expected):
    model = VARModel(**asdict(replace(SIZES, num_classes=7, num_measurements=120)))
    fitted = fit_model(model, condition, MEANING, TOKENIZER)
    assert type(fitted) is VARConfig  # checkpoints store sizes, not where weights came from
    assert (fitted.num_classes, fitted.num_measurements, fitted.mask_aware) == expected
    unchanged = {"num_classes": 7, "num_measurements": 120, "mask_aware": False}
    assert replace(fitted, **unchanged) == model.sizes


def test_every_difference_to_the_tokenizer_is_named():
    with pytest.raises(ConfigError) as caught:
        fit_model(replace(SIZES, vocab_size=64, patch_nums=(1, 2, 3)), ConditionConfig(), MEANING, TOKENIZER)
    assert "vocab_size is 32 there and 64 here" in caught.value.message
    assert "model.patch_nums=[1,2,4]" in caught.value.cure
    assert "model.vocab_size=32" in caught.value.cure


@pytest.mark.parametrize(
    ("model", "condition", "meaning", "cure"),
    [
        (SIZES, ConditionConfig(), ConditionMeaning(("a",)), "data.loader.measurements=true"),
        (replace(SIZES, num_measurements=0), ConditionConfig(), MEANING, "condition.measurements=false"),
        (replace(SIZES, num_classes=0), ConditionConfig(), MEANING, "condition.label=false"),
        (replace(SIZES, mask_aware=True), ConditionConfig(), MEANING, "condition.mask=true"),
        (replace(SIZES, skin_aware=True), ConditionConfig(mask=True), MEANING, "condition=skin"),
    ],
)
def test_contradictions_are_refused(model, condition, meaning, cure):
    with pytest.raises(ConfigError) as caught:
        fit_model(model, condition, meaning, TOKENIZER)
    assert cure in caught.value.cure


def test_where_weights_come_from_is_checked():
    with pytest.raises(ConfigError, match="weights names none"):
        VARModel(init="published")
    with pytest.raises(ConfigError, match="would not be read"):
        VARModel(weights="var_d16.pth")
    with pytest.raises(ValueError, match="init is one of"):
        VARModel(init="random")
    with pytest.raises(ValueError, match="num_heads must divide width"):
        VARModel(num_heads=7)


@pytest.mark.parametrize(
    "change", [{"own_mask": 1.2}, {"own_mask": 0.8, "other_mask": 0.3}, {"mask": True, "skin": True, "own_skin": 0.8}]
)
def test_shares_of_masks_are_checked(change):
    with pytest.raises(ValueError, match="own_mask"):
        ConditionConfig(**change)


def test_skin_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="mask=false tells none"):
        ConditionConfig(skin=True)
