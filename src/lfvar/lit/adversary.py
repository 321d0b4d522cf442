"""The opponent of the tokenizer: discriminators with their own optimizer, outside Lightning's bookkeeping.

Lightning counts a step for each optimizer it knows, and scales, wraps and averages whatever belongs to the module. An
`Adversary` needs none of it: it runs in float32 or bfloat16 only, averages its gradients itself, and takes no gradient
outside its own step, so `global_step` counts tokenizer steps and the tokenizer's wrappers have nothing to do with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lfvar.lit.adversary_config import AdversaryConfig
from lfvar.lit.adversary_view import View, trusted_precision
from lfvar.lit.collective import average_in_place, broadcast_in_place, mean_over_processes, place_among_processes
from lfvar.lit.optim import build_optimizer, lr_factor
from lfvar.losses.adversarial import adaptive_weight, hinge_discriminator, hinge_generator
from lfvar.losses.diffaug import augment, draw, translate
from lfvar.losses.focus import focus_weight

__all__ = ["Adversary", "AdversaryConfig"]

_GENERATOR, _REAL, _FAKE = range(3)  # who draws an augmentation
_HALF_SCALE = 2.0**12  # float16 gradients of means over 10⁵ to 10⁷ values, lifted out of the subnormal range


class Adversary(nn.Module):
    """Discriminators, their optimizer and their counts.

    Its parameters take no gradient except inside `discriminator_step`. Weights, power iterations and LeCam anchors are
    in `state_dict`, the optimizer's state in `optimizer_state`. Random draws follow from seed and step, and each
    process takes its part of the whole batch's, so a resumed run and several processes compute what one would.

    Args:
        config: How hard, and when.
        image_size: Side of the images, in pixels.
        seed: Decides the initial weights and the augmentations.

    Raises:
        ValueError: When the images are too small for the discriminators.
    """

    def __init__(self, config: AdversaryConfig, image_size: int, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        view = partial(
            View, config.discriminator, image_size, margin=config.lesion_margin, lecam_decay=config.lecam_decay
        )
        self.views = nn.ModuleDict({"image": view(crop_fraction=None, weight=1.0, seed=seed)})
        if config.lesion_weight:
            self.views["lesion"] = view(
                crop_fraction=config.lesion_size_fraction, weight=config.lesion_weight, seed=seed + 1
            )
        self.optimizer = build_optimizer(self, config.optim)
        self.requires_grad_(False)
        self._micro_batches = 0  # since the last step, and the mean logits of those
        self._means_V2: Tensor | None = None

    def generator_term(
        self,
        recon_BCHW: Tensor,
        mask_B1HW: Tensor,
        rec_loss: Tensor,
        last_layer: Tensor,
        step: int,
        total_steps: int,
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """What the tokenizer pays for looking unreal.

        The gradient with respect to the reconstruction is found here, once; what is returned carries it on. The
        adaptive weight and the tokenizer's backward pass share it, and no later pass enters the discriminators.

        Args:
            recon_BCHW: Reconstruction with its graph, not clamped.
            mask_B1HW: {0, 1}, 1 = lesion.
            rec_loss: Sum of the pixel and perceptual terms, not scaled; its graph is kept.
            last_layer: The decoder's last weight.
            step: Of the tokenizer, from 0.
            total_steps: Of the whole run.

        Returns:
            The weighted term, ready to be added to the loss, and scalars to log: `g_loss` (before weighing) and
            `weight`. None before the start.
        """
        ramp = self.config.ramp(step, total_steps)
        if not ramp:
            return None
        fake_BCHW = recon_BCHW.detach().float().requires_grad_()
        with trusted_precision(recon_BCHW.device) as precision:
            losses = [
                view.weight * self._generator_loss(view, number, fake_BCHW, mask_B1HW, step, precision)
                for number, view in enumerate(self._views())
            ]
            g_loss = torch.stack(losses).sum()
            (pull_BCHW,) = torch.autograd.grad(g_loss, fake_BCHW)
            carrier = (recon_BCHW.float() * pull_BCHW).sum()  # its gradient with respect to recon is the pull
            weight = adaptive_weight(
                rec_loss,
                carrier,
                last_layer,
                cap=self.config.cap,
                scale=_HALF_SCALE if recon_BCHW.dtype == torch.float16 else 1.0,
                reduce=mean_over_processes,
            )
            weight = weight * (self.config.weight * ramp)
            term = weight * (carrier + (g_loss - carrier).detach())
        return term, {"g_loss": g_loss.detach(), "weight": weight}

    def discriminator_step(
        self,
        recon_BCHW: Tensor,
        image_BCHW: Tensor,
        mask_B1HW: Tensor,
        step: int,
        total_steps: int,
        *,
        last_micro_batch: bool = True,
        scale: float = 1.0,
    ) -> dict[str, Tensor]:
        """Learn to tell these reconstructions from these images; to be called by all processes alike.

        Args:
            recon_BCHW: Reconstruction; its graph is not entered.
            image_BCHW: Original in [-1, 1].
            mask_B1HW: {0, 1}, 1 = lesion.
            step: Of the tokenizer, from 0.
            total_steps: Of the whole run.
            last_micro_batch: False: only gather gradients.
            scale: Multiplies the loss; 1 / number of micro-batches.

        Returns:
            Scalars of this process to log: `d_loss`, `d_real` and `d_fake` (mean logits), the latter two again for the
            lesion view, and `d_grad_norm` where the weights moved. Empty before the start and between steps.
        """
        start = self.config.start_step(total_steps)
        since = step - start
        if since < 0 or since % self.config.every:
            return {}
        # Every micro-batch of a step must meet the same weights: one power iteration each step.
        self.train(self._micro_batches == 0)
        self.requires_grad_(True)
        try:
            with trusted_precision(image_BCHW.device) as precision:
                loss, means_V2 = self._discriminator_loss(recon_BCHW.detach(), image_BCHW, mask_B1HW, step, precision)
                (loss * scale).backward()
        finally:
            self.requires_grad_(False)
        self._means_V2 = scale * means_V2 + (0 if self._means_V2 is None else self._means_V2)
        self._micro_batches += 1
        logs = {"d_loss": loss.detach()}
        for name, means_2 in zip(self.views, means_V2, strict=True):
            suffix = "" if name == "image" else f"_{name}"
            logs |= {f"d_real{suffix}": means_2[0], f"d_fake{suffix}": means_2[1]}
        if last_micro_batch:
            lr = self.config.optim.lr * lr_factor(self.config.optim, total_steps - start)(since)
            logs["d_grad_norm"] = self._move(lr, may_overflow=recon_BCHW.dtype == torch.float16)
        return logs

    def _views(self) -> Iterator[View]:
        for view in self.views.values():
            assert isinstance(view, View)
            yield view

    def _generator_loss(
        self, view: View, number: int, fake_BCHW: Tensor, mask_B1HW: Tensor, step: int, precision: torch.autocast
    ) -> Tensor:
        seen_BCss = view.look(fake_BCHW, mask_B1HW)
        uniform_BU = self._draw(seen_BCss, step, number, _GENERATOR)
        weight_B1ss = None
        if self.config.focus:
            weight_B1ss = focus_weight(view.look(mask_B1HW, mask_B1HW), self.config.focus)
            weight_B1ss = translate(weight_B1ss, self.config.diffaug, uniform_BU)
        view.discriminator.eval()
        with precision:
            fake_B1hw = view.discriminator(augment(seen_BCss, self.config.diffaug, uniform_BU))
        return hinge_generator(fake_B1hw, weight_B1ss)

    def _discriminator_loss(
        self, recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor, step: int, precision: torch.autocast
    ) -> tuple[Tensor, Tensor]:
        """Hinge and LeCam terms of all views, and the mean logits (V, 2) of images and reconstructions."""
        losses, means = [], []
        for number, view in enumerate(self._views()):
            seen = []
            for kind, picture_BCHW in ((_REAL, image_BCHW), (_FAKE, recon_BCHW)):
                seen_BCss = view.look(picture_BCHW, mask_B1HW)
                seen.append(augment(seen_BCss, self.config.diffaug, self._draw(seen_BCss, step, number, kind)))
            with precision:
                real_B1hw, fake_B1hw = view.discriminator(torch.cat(seen)).float().chunk(2)
            loss = hinge_discriminator(real_B1hw, fake_B1hw)
            if self.config.lecam_weight:
                loss = loss + self.config.lecam_weight * view.lecam(real_B1hw, fake_B1hw)
            losses.append(view.weight * loss)
            means.append(torch.stack([real_B1hw.mean(), fake_B1hw.mean()]).detach())
        return torch.stack(losses).sum(), torch.stack(means)

    def _draw(self, image_BCHW: Tensor, *key: int) -> Tensor:
        """This process's part of the draws for the whole batch, which `SampleStream` lays out rank by rank."""
        rank, world_size = place_among_processes()
        count = image_BCHW.shape[0]
        generator = torch.Generator().manual_seed(hash((self.seed, self._micro_batches, *key)) % 2**63)
        uniform_BU = draw(count * world_size, generator)[rank * count : (rank + 1) * count]
        return uniform_BU.to(image_BCHW.device, non_blocking=True)

    def _move(self, lr: float, *, may_overflow: bool) -> Tensor:
        """One step of the optimizer and of the anchors; returns the norm of the gradient before clipping."""
        assert self._means_V2 is not None
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        average_in_place([*gradients, self._means_V2])
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.config.optim.clip_norm or math.inf)
        # In float16 the tokenizer overflows now and then, and its scaler skips that step; so does this one. In other
        # precisions a gradient that is not finite is divergence, which must show, and asking would stall the device.
        if not may_overflow or torch.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            for view, (real_mean, fake_mean) in zip(self._views(), self._means_V2, strict=True):
                view.lecam.update(real_mean, fake_mean)
        self.optimizer.zero_grad()
        self._micro_batches, self._means_V2 = 0, None
        return norm

    def optimizer_state(self) -> dict[str, Any]:
        """What a checkpoint needs beside `state_dict`: plain tensors and numbers."""
        return self.optimizer.state_dict()

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `optimizer_state`."""
        self.optimizer.load_state_dict(dict(state))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Adversary:
        """Take the optimizer's state along to another device: Lightning loads checkpoints before it moves modules."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for state in self.optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.ndim:  # AdamW wants its step counts on the CPU
                    state[name] = fn(value)
        return self

    def broadcast(self) -> None:
        """Make weights and buffers on all processes those of the first."""
        broadcast_in_place([tensor.detach() for tensor in (*self.parameters(), *self.buffers())])

    def names_to_ignore(self, prefix: str) -> list[str]:
        """Full names of all that DistributedDataParallel must leave alone.

        Args:
            prefix: The adversary's name in the wrapped module, e.g. `adversary`.
        """
        named = (*self.named_parameters(prefix=prefix), *self.named_buffers(prefix=prefix))
        return [name for name, _ in named]
