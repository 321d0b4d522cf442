"""Weights split over two processes: the same run as in one, and the same checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from tiny_settings import TINY

from lfvar.config import compose
from lfvar.errors import ConfigError

SPLIT = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
SHORT = ["trainer.max_steps=4", "trainer.val_check_interval=4", "callbacks.last.every_n_train_steps=2"]
TOKENIZER = [
    *TINY,
    *SHORT,
    "codebook.init_step=1",
    "codebook.restart_below=0",
    "optim.accumulate=2",
    "optim.clip_norm=0.5",
    "adversary=patchgan",
    "adversary.discriminator.channels=8",
    "adversary.discriminator.num_layers=1",
    "adversary.discriminator.stem_stride=1",
    "adversary.start_fraction=0",
]
TRANSFORMER = [
    "experiment=var",
    *[a for a in TINY if not a.startswith(("experiment", "codebook", "model"))],
    *SHORT,
    "model.depth=2",
    "model.width=32",
    "model.num_heads=2",
    "model.patch_nums=[1,2]",
    "model.vocab_size=32",
    "model.latent_channels=4",
    "model.measurement_width=4",
    "model.checkpointing=true",
    "optim.clip_norm=0.5",
    "condition=mask",
    "tokens=off",
    "callbacks.grid.num_samples=1",
]


@pytest.fixture(scope="module")
def runs(forked, prepared_root, once):
    """Each stage in one process and split over two; the transformers also gone on from each other's checkpoint."""
    made = once("fsdp", lambda root: train_all(forked, prepared_root, root))
    return {name: Path(folder) for name, folder in made.items()}


def train_all(forked, prepared_root, root):
    jobs, folders = [], {}

    def job(name, ranks, *overrides):
        more = ["logger=csv", f"paths.prepared={prepared_root}", f"paths.runs={root}"]
        arguments = [*overrides, *more, *(SPLIT if ranks > 1 else [])]
        jobs.append({"ranks": ranks, "arguments": arguments, "environment": {"LFVAR_RUN_STAMP": name}})
        folders[name] = root / name.split("-")[0] / "phantom" / name
        return folders[name] / "checkpoints" / "last.ckpt"

    one = job("vqvae-one", 1, *TOKENIZER)
    job("vqvae-two", 2, *TOKENIZER)
    tokenizer = f"tokenizer={one}"
    one = job("var-one", 1, *TRANSFORMER, tokenizer)
    two = job("var-two", 2, *TRANSFORMER, tokenizer)
    job("var-two-then-one", 1, *TRANSFORMER, tokenizer, f"resume={two}", "trainer.max_steps=6")
    job("var-one-then-two", 2, *TRANSFORMER, tokenizer, f"resume={one}", "trainer.max_steps=6")
    event = [f"+callbacks.event.{word}" for word in ("_target_=events.Event", "what=SIGTERM", "step=4", "rank=1")]
    job("var-ended", 2, *TRANSFORMER, tokenizer, *event)
    job("var-ended", 2, *TRANSFORMER, tokenizer)
    codes, done = forked(jobs, root)
    assert codes[-2] == [143, 0], done.stderr
    assert not any(code for ranks in [*codes[:-2], codes[-1]] for code in ranks), done.stderr
    return {name: str(folder) for name, folder in folders.items()}


def checkpoint(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def metrics(folder):
    return json.loads((folder / "run_card.json").read_text())["result"]["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "first", "second"),
    [("vqvae", "one", "two"), ("var", "one", "two"), ("var", "two-then-one", "one-then-two")],
)
def test_split_weights_train_the_same(runs, stage, first, second):
    a, b = runs[f"{stage}-{first}"], runs[f"{stage}-{second}"]
    for name, value in metrics(a).items():
        if name.startswith(("val/", "codebook/", "best/")):
            # the same samples and gradients; only the order of float32 sums differs
            assert metrics(b)[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
    a, b = checkpoint(a), checkpoint(b)
    assert a["global_step"] == b["global_step"] == (4 if first == "one" else 6)
    assert a["state_dict"].keys() == b["state_dict"].keys()
    moments = [c["optimizer_states"][0]["state"] for c in (a, b)]
    assert moments[0].keys() == moments[1].keys()
    for index, state in moments[0].items():
        torch.testing.assert_close(moments[1][index]["exp_avg"], state["exp_avg"], rtol=1e-2, atol=1e-5)
    # AdamW makes full steps of gradients that are all rounding, such as that of a bias before a norm: nearly all agree.
    for weights in ("state_dict", "ema"):
        ours, theirs = (c["ema"]["weights"] if weights == "ema" else c["state_dict"] for c in (a, b))
        apart = torch.cat([(ours[name] - theirs[name]).abs().flatten() for name in ours])
        assert (apart > 1e-4).float().mean() < 0.01


@pytest.mark.parametrize(
    ("overrides", "found", "cure"),
    [
        (["trainer.precision=16-mixed"], "16-mixed", "bf16-mixed"),
        (["compile=true"], "compile=true", "trainer=ddp"),
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp", "trainer=fsdp"),
        (["experiment=classifier", "trainer=fsdp"], "stage=classifier", "trainer=ddp"),
    ],
)
def test_what_cannot_be_split_is_refused(overrides, found, cure):
    with pytest.raises(ConfigError) as caught:
        compose("train", ["experiment=vqvae", *SPLIT, *overrides])
    assert found in caught.value.message
    assert cure in caught.value.cure


@pytest.mark.slow
def test_a_run_that_was_ended_after_its_last_step_is_finished(runs):
    ended, whole = runs["var-ended"], runs["var-two"]
    card = json.loads((ended / "run_card.1.json").read_text())
    assert (card["result"]["status"], card["result"]["metrics"]) == ("interrupted", {})
    assert metrics(ended) == metrics(whole)
    a, b = (torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["ema"] for folder in (ended, whole))
    assert all(torch.equal(a["weights"][name], b["weights"][name]) for name in a["weights"])
