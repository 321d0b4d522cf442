"""What a transformer starts from: random numbers, published weights, or a checkpoint of ours.

Conditions that the file does not know start without effect, so the first step computes what the source computed.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import ConditionMeaning, load_var
from lfvar.interop.published_var import load_published_var, warm_start
from lfvar.lit.var_config import VARModel
from lfvar.nn.var import VAR, VARConfig

_TABLE = "conditioning.classes.weight"
_MEASUREMENTS = "conditioning.measurements."


def start_var(model: VARConfig, sizes: VARConfig, meaning: ConditionMeaning, *, read_weights: bool = True) -> VAR:
    """The transformer that training starts with, in training mode.

    Args:
        model: Where weights come from, when it is a `VARModel`.
        sizes: From `fit_model`.
        meaning: Types and measurements of the data. What a checkpoint learned of the same ones is kept.
        read_weights: False for a run that resumes: its checkpoint brings all weights, and the file that the run once
            started from may be gone.

    Raises:
        ArtefactError: When the file is missing, damaged, of another kind, or of other sizes.
    """
    net = VAR(sizes)
    if not isinstance(model, VARModel) or model.init == "scratch" or not read_weights:
        return net
    assert model.weights is not None
    if model.init == "published":
        source = load_published_var(model.weights)
    else:
        loaded = load_var(model.weights)
        same_types = loaded.meaning.classes == meaning.classes
        same_features = (
            loaded.meaning.feature_names == meaning.feature_names
            and loaded.meaning.standardiser == meaning.standardiser
            and loaded.net.config.measurement_kind == sizes.measurement_kind
        )
        source = forget(loaded.net, types=not same_types, measurements=not same_features)
    _require_same_schedule(source, sizes, model.weights)
    warm_start(net, source)
    return net


@torch.no_grad()
def forget(net: VAR, *, types: bool = False, measurements: bool = False) -> VAR:
    """The same net without what it knows of types, of measurements, or of both.

    Types go to "any type", and the measurement path to nothing: what a net is for data that mean other things by them.
    """
    if not (types or measurements):
        return net
    config = net.config
    config = replace(config, num_classes=0) if types else config
    blank = VAR(replace(config, num_measurements=0) if measurements else config)
    state = net.state_dict()
    if types:
        state[_TABLE] = state[_TABLE][-1:]
    if measurements:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_MEASUREMENTS)}
    blank.load_state_dict(state)
    return blank.train(net.training)


def _require_same_schedule(source: VAR, sizes: VARConfig, path: str) -> None:
    """Schedules of equal length share all shapes, and heads and attention kind change no shape at all."""
    names = ("patch_nums", "num_heads", "attn_l2_norm")
    different = [(name, getattr(source.config, name), getattr(sizes, name)) for name in names]
    found = [f"{name} is {theirs} there and {ours} here" for name, theirs, ours in different if theirs != ours]
    if found:
        raise ArtefactError(
            f"the weights in {path} belong to another net: {'; '.join(found)}",
            cure="give the model the sizes of the file, or start with model.init=scratch",
        )
