"""A transformer and a quantiser with lively random weights, for tests of sampling."""

import torch

from lfvar.nn.conditioning import Condition
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.var import VAR, VARConfig
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 3, 4))
CONFIG = VARConfig(
    depth=2, width=24, num_heads=2, patch_nums=SCHEDULE.patch_nums, vocab_size=50, latent_channels=4, num_classes=3,
    num_measurements=5, measurement_width=4,
)  # fmt: skip
SETTINGS = {"guidance": Guidance(1.0, 2.0), "filters": Filters(top_k=40, top_p=0.95)}


def lively_net(config=CONFIG):
    torch.manual_seed(0)
    net = VAR(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def lively_quantiser():
    torch.manual_seed(1)
    quantiser = MultiScaleQuantiser(SCHEDULE, 50, 4)
    torch.nn.init.normal_(quantiser.codebook.weight)
    return quantiser


def conditions(size):
    generator = torch.Generator().manual_seed(3)
    return Condition(torch.arange(size) % 3, torch.randn(size, 5, generator=generator))
