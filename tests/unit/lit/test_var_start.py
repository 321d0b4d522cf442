"""What a transformer starts from."""

from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import ConditionMeaning, describe_checkpoint
from lfvar.interop.published_var import load_published_var
from lfvar.lit.var_config import ConditionConfig, VARModel
from lfvar.nn.conditioning import Condition
from lfvar.nn.scale_inputs import teacher_inputs
from lfvar.nn.var import VAR
from var_examples import FULL, MEANING, SIZES, image_batch, published_var_state, tiny_module

SOURCE = replace(SIZES, num_classes=5, num_measurements=0)


def lively(sizes):
    torch.manual_seed(5)
    net = VAR(sizes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.fixture
def published(tmp_path):
    torch.save(published_var_state(lively(SOURCE)), tmp_path / "var.pth")
    return str(tmp_path / "var.pth")


@pytest.fixture
def checkpoint(tmp_path):
    def write(sizes=SIZES, meaning=MEANING):
        net = lively(sizes)
        content = {
            "lfvar": describe_checkpoint("var", sizes) | meaning.to_dict() | {"tokenizer": {"hash": "0"}},
            "state_dict": {f"net.{name}": torch.zeros_like(tensor) for name, tensor in net.state_dict().items()},
            "ema": {"weights": dict(net.named_parameters()), "num_updates": 1, "decay": 0.9},
        }
        torch.save(content, tmp_path / "best.ckpt")
        return net, str(tmp_path / "best.ckpt")

    return write


def model(path, kind, sizes=SIZES):
    return VARModel(**asdict(sizes), init=kind, weights=path)


@pytest.mark.parametrize("more", [{}, {"mask": True}, {"mask": True, "skin": True}])
def test_the_first_step_is_the_source(published, more):
    module = tiny_module(model(published, "published"), ConditionConfig(**more))
    source = load_published_var(published)
    assert source.config.num_classes == 5
    batch = image_batch()
    ids_BL, condition = module.token_ids(batch), module.full_condition(batch)
    inputs = teacher_inputs(
        module.tokenizer.quantiser.decode_partials(ids_BL.split((1, 4, 16), dim=1)), source.schedule
    )
    with torch.no_grad():
        ours = module.eval()(ids_BL, condition)
        theirs = source(inputs, Condition(torch.full((8,), source.conditioning.null_class)))
        loss = module.loss(ours, ids_BL).loss
    assert theirs.std() > 0.3
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(loss, F.cross_entropy(theirs.flatten(0, 1), ids_BL.flatten()), atol=1e-5, rtol=0)


def test_a_resumed_run_reads_no_file(published):
    module = tiny_module(model("gone.pth", "published"), read_weights=False)
    assert module.net.config == SIZES


def test_a_checkpoint_gives_its_average_and_keeps_what_means_the_same(checkpoint):
    net, path = checkpoint()
    module = tiny_module(model(path, "checkpoint"))
    for name, tensor in module.net.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name]), name


def test_other_meanings_are_forgotten(checkpoint):
    net, path = checkpoint()
    meaning = ConditionMeaning(("nv", "mel", "df"), ("shape_a", "clinical_d"), {"features": []})
    module = tiny_module(model(path, "checkpoint"), FULL, meaning=meaning)
    table = module.net.conditioning.classes.weight
    assert torch.equal(table, net.conditioning.classes.weight[-1:].expand_as(table))
    condition = Condition(torch.tensor([0, 1]), torch.randn(2, 2))
    anything = net.conditioning.classes.weight[-1:].expand(2, -1)
    torch.testing.assert_close(module.net.conditioning(condition), anything)
    assert torch.equal(module.net.position_1LD, net.position_1LD)


def test_measurements_on_another_scale_are_forgotten(checkpoint):
    net, path = checkpoint()
    meaning = replace(MEANING, standardiser={"features": ["other"]})
    module = tiny_module(model(path, "checkpoint"), FULL, meaning=meaning)
    assert torch.equal(module.net.conditioning.classes.weight, net.conditioning.classes.weight)
    assert not module.net.conditioning.measurements.out.weight.any()


def test_files_of_other_nets_are_refused(published, checkpoint):
    with pytest.raises(ArtefactError, match="another size"):
        tiny_module(model(published, "published", replace(SIZES, depth=3)))
    with pytest.raises(ArtefactError, match="num_heads is 2 there and 4 here"):
        tiny_module(model(published, "published", replace(SIZES, num_heads=4)))
    with pytest.raises(ArtefactError, match="no checkpoint at"):
        tiny_module(model("absent.pth", "published"))
    torch.save({"lfvar": describe_checkpoint("vqvae", SIZES), "state_dict": {}}, published)
    with pytest.raises(ArtefactError, match="holds a vqvae, not a transformer"):
        tiny_module(model(published, "checkpoint"))
