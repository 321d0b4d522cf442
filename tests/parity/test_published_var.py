"""The transformer computes what the published ones compute: logits, greedy samples and a masked edit."""

import json
import math
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lfvar.errors import ArtefactError
from lfvar.interop.published import infer_config, translate_vqvae
from lfvar.interop.published_var import infer_var_config, load_published_var, translate_var, warm_start
from lfvar.nn.conditioning import Condition
from lfvar.nn.scale_inputs import teacher_inputs
from lfvar.nn.var import VAR, VARConfig
from lfvar.nn.vqvae import VQVAE
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Branch, Guidance, guidance_branches
from lfvar.sampling.masking import Kept, keep_as_published
from lfvar.sampling.sampler import sample

FIXTURES = Path(__file__).parent / "fixtures"
TOLERANCE = 2e-4  # max abs difference that holds across library versions; tokens are identical
GREEDY = Filters(top_k=1)


def formula_tensor(name, shape):
    """The fixtures ship no weights: each tensor follows from its name (see the fixtures' README)."""
    if name.endswith(("zero_k_bias", "ema_vocab_hit_SV", "attn_bias_for_masking")):
        return torch.zeros(shape)
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("scale_mul_1H11"):
        return math.log(4) + 0.1 * r
    if "norm" in name.lower() and name.endswith("weight") and len(shape) == 1:
        return 1 + 0.05 * r
    if name.endswith("embedding.weight"):
        return r
    if name.endswith("weight") and len(shape) >= 2:
        return r * r[0].numel() ** -0.5
    return 0.05 * r


def published_state(spec):
    state = {name: formula_tensor(name, shape) for name, shape in spec["keys"]["var"].items()}
    lengths = torch.tensor([side * side for side in spec["config"]["patch_nums"]])
    state["lvl_1L"] = torch.arange(len(lengths)).repeat_interleave(lengths)[None]
    return state


@cache
def load_case(name):
    spec = json.loads((FIXTURES / f"{name}.json").read_text())
    weights = {name: formula_tensor(name, shape) for name, shape in spec["keys"]["vqvae"].items()}
    tokenizer_state = translate_vqvae(weights)
    tokenizer = VQVAE(infer_config(tokenizer_state, tuple(spec["config"]["patch_nums"]))).eval()
    tokenizer.load_state_dict(tokenizer_state)
    state = published_state(spec)
    net = VAR(infer_var_config(state)).eval()
    net.load_state_dict(translate_var(state))
    expected = {key: torch.from_numpy(value) for key, value in np.load(FIXTURES / f"{name}.npz").items()}
    return spec, state, net, tokenizer, expected


@pytest.fixture(params=["lfvar_small", "var_small_shared_aln"])
def case(request):
    return load_case(request.param)


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def condition_of(net, expected):
    return net.conditioning.usable(Condition(expected["label"], expected["measurements"]))


def test_sizes_are_read_off_the_tensors(case):
    spec, _, net, _, _ = case
    theirs, ours = spec["config"], net.config
    assert (ours.depth, ours.width, ours.num_heads) == (theirs["depth"], theirs["embed_dim"], theirs["num_heads"])
    assert list(ours.patch_nums) == theirs["patch_nums"]
    assert (ours.num_classes, ours.num_measurements) == (theirs["num_classes"], theirs["measurements"])
    assert (ours.shared_adaln, ours.attn_l2_norm) == (theirs["shared_aln"], theirs["attn_l2_norm"])
    assert (ours.vocab_size, ours.latent_channels) == (theirs["vocab_size"], theirs["z_channels"])


def test_teacher_forced_logits(case):
    _, _, net, tokenizer, expected = case
    ids = list(expected["tokens"].split(tokenizer.schedule.lengths, dim=1))
    inputs = teacher_inputs(tokenizer.quantiser.decode_partials(ids), net.schedule)
    assert_near(inputs, expected["var_input"])
    with torch.no_grad():
        assert_near(net(expected["var_input"], condition_of(net, expected)), expected["logits"])


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_greedy_samples(case, strength):
    _, _, net, tokenizer, expected = case
    ids = sample(
        net,
        tokenizer.quantiser,
        condition_of(net, expected),
        guidance=Guidance(class_strength=strength),
        filters=GREEDY,
        seeds=[0, 1],
    )
    assert_near((tokenizer.decode_ids(ids) + 1) / 2, expected[f"sample_cfg{strength}"])


def test_masked_edit():
    _, _, net, tokenizer, expected = load_case("lfvar_small")
    mask = expected["lesion_mask"]
    kept = Kept(tokenizer.encode_ids(expected["image"][:1]), keep_as_published(mask, net.schedule))
    ids = sample(
        net,
        tokenizer.quantiser,
        Condition(torch.tensor([4]), expected["measurements"][:1]),
        guidance=Guidance(class_strength=3.0),
        filters=GREEDY,
        seeds=[0],
        keep=kept,
    )
    assert any(not keep_Bl.all() for keep_Bl in kept.keep)
    assert_near((tokenizer.decode_ids(ids) + 1) / 2, expected["edit"])


def test_measurements_stay_in_the_unconditional_branch_of_lfvar():
    net = load_case("lfvar_small")[2]
    branches = guidance_branches(Guidance(class_strength=1.5), net.conditioning)
    assert branches == [Branch(False, False, 1.5), Branch(True, False, -1.5)]


def test_file_on_disk(case, tmp_path):
    _, state, net, _, expected = case
    torch.save({"trainer": {"var_wo_ddp": {f"_orig_mod.{name}": t for name, t in state.items()}}}, tmp_path / "a.pth")
    loaded = load_published_var(tmp_path / "a.pth")
    assert loaded.config == net.config
    with torch.no_grad():
        condition = condition_of(net, expected)
        assert torch.equal(loaded(expected["var_input"], condition), net(expected["var_input"], condition))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no checkpoint at"):
        load_published_var(tmp_path / "absent.pth")
    (tmp_path / "noise.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ArtefactError, match="cannot be read as tensors"):
        load_published_var(tmp_path / "noise.pth")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ArtefactError, match="not a published transformer"):
        load_published_var(tmp_path / "other.pth")


def test_warm_start_computes_what_the_source_computes():
    _, _, net, _, expected = load_case("var_small_shared_aln")
    sizes = {name: getattr(net.config, name) for name in ("depth", "width", "num_heads", "vocab_size", "shared_adaln")}
    sizes |= {"latent_channels": net.config.latent_channels, "patch_nums": net.config.patch_nums}
    ours = VAR(VARConfig(**sizes, num_classes=3, num_measurements=5, mask_aware=True)).eval()
    own = warm_start(ours, net)
    assert own
    assert all(name.startswith("conditioning.") for name in own)
    mine = Condition(
        torch.tensor([2, 3]), torch.randn(2, 5), region_BL=torch.ones(2, net.schedule.num_tokens, dtype=torch.int64)
    )
    with torch.no_grad():
        theirs = net(expected["var_input"], Condition(torch.full((2,), net.conditioning.null_class)))
        torch.testing.assert_close(ours(expected["var_input"], mine), theirs, atol=1e-6, rtol=0)
    with pytest.raises(ArtefactError, match="another size"):
        warm_start(VAR(VARConfig(**(sizes | {"depth": 1, "vocab_size": 9}))), net)
