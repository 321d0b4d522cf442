"""What a training step of the tokenizer costs.

    python benchmarks/tokenizer_step.py                          # 64 px: seconds on a CPU
    python benchmarks/tokenizer_step.py --size 256 --batch 8 --device cuda

A step is everything between a batch and new weights: encoder, quantiser, decoder, losses, backward, clipping, AdamW.
The first row is the step as it is trained in float32; "fused" is what torch's fused AdamW would add, which training
does not use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from harness import (
    DTYPES,
    Row,
    add_common,
    build_pair,
    computes_bf16,
    measure_in_turns,
    product_rate,
    rows_of,
    show_rows,
    tokenizer_flops,
)

from lfvar.lit.optim import OptimConfig, build_optimizer
from lfvar.losses.tokenizer import TokenizerLoss, TokenizerLossConfig
from lfvar.nn.vqvae import VQVAE

PLAIN, FUSED, BF16 = "as trained, fp32", "fused AdamW, fp32", "as trained, bf16"


class Step:
    """One training step on one batch, again and again."""

    def __init__(self, net: VQVAE, batch_size: int) -> None:
        self.net = net.train()
        size, draw = net.config.image_size, torch.Generator().manual_seed(0)
        device = net.quantiser.codebook.weight.device
        self.image_BCHW = (torch.rand(batch_size, 3, size, size, generator=draw) * 2 - 1).to(device)
        self.mask_B1HW = (torch.rand(batch_size, 1, size, size, generator=draw) < 0.3).float().to(device)
        self.loss = TokenizerLoss(TokenizerLossConfig())
        config = OptimConfig(lr=1e-5)
        self.clip_norm = config.clip_norm
        self.optimizers = {
            "plain": build_optimizer(net, config),
            "fused": torch.optim.AdamW(net.parameters(), lr=config.lr, fused=True),
        }

    def __call__(self, optimizer: str, *, mixed: bool = False) -> None:
        """From the batch to new weights."""
        with torch.autocast(self.image_BCHW.device.type, torch.bfloat16, enabled=mixed):
            recon_BCHW, f_BChw, quantised = self.net(self.image_BCHW)
            terms = self.loss(recon_BCHW.float(), self.image_BCHW, self.mask_B1HW, f_BChw.float(), quantised)
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        self.optimizers[optimizer].step()
        self.net.zero_grad(set_to_none=True)


def measure(args: argparse.Namespace) -> list[Row]:
    """Rows of the table."""
    device = torch.device(args.device)
    net = build_pair(args.size, 1, device)[1]
    step, small, clock = Step(net, args.batch), args.size == "tiny", {"cpu_time": args.cpu_time}
    variants: dict[str, Callable[[], object]] = {PLAIN: lambda: step("plain"), FUSED: lambda: step("fused")}
    flops = 3 * sum(tokenizer_flops(net.config))  # backward costs two products for each of forward
    floors = [flops / product_rate(device, torch.float32, small=small, **clock)] * 2
    if computes_bf16(device, args.size):
        variants[BF16] = lambda: step("plain", mixed=True)
        floors.append(flops / product_rate(device, DTYPES["bf16"], small=small, **clock))
    measured = measure_in_turns(variants, args.turns, device, **clock)
    return rows_of("tokenizer step", measured, args.batch, floors, "FLOPs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    show_rows(measure(args), f"tokenizer step, {args.size} px, batch {args.batch}")


if __name__ == "__main__":
    main()
