"""How much a model's predictions react to every layer's output: squared gradients on a few unlabelled images.

The predictions are made to matter as a detector is judged: class scores as probabilities, everything else of an anchor
(box, mask, keypoints, angle) as far as some class is likely there. Their squared gradient with random signs is an
unbiased estimate of the diagonal of the Gauss-Newton matrix (Martens, arXiv 1412.1193; the random signs are those of
Bekas, Kokiopoulou, Saad, Applied Numerical Mathematics 57, 2007): it says where in the image, and in which channels, an
error of a layer costs something.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ultralytics.utils import TQDM

from ..graph.layers import LAYERS, channels_first
from ..graph.prompts import VISUAL
from ..graph.raw import run_raw
from ..graph.trace import as_dict_of_fields

BOX_WEIGHT = 0.1  # weight of what is not a class probability


@dataclass
class Sensitivity:
    """What one layer's output does to the predictions.

    Attributes:
        where: (N, positions) mean squared gradient over channels, at each position of each image; of a layer that
            runs several times the positions of all its calls, one behind the other.
        channels: (C,) squared gradient an image, summed over positions.
        removal: (C,) squared gradient times activation, summed: what zeroing a channel costs.
    """

    where: torch.Tensor
    channels: torch.Tensor
    removal: torch.Tensor


def sensitivities(model: nn.Module, images: torch.Tensor, batch: int = 4) -> dict[str, Sensitivity]:
    """Return the sensitivity of every convolution and linear layer that the predictions depend on, by name.

    Those whose outputs do not count images in their first dimension, or that do not run alike for all, are left out.

    Args:
        model: The model, float32; not modified.
        images: (N, C, H, W) in 0..1.
        batch: Images run at once.
    """
    net, outputs, found = copy.deepcopy(model).eval().requires_grad_(True), defaultdict(list), defaultdict(list)
    for name, m in net.named_modules():
        if hasattr(m, "inplace"):
            m.inplace = False  # an activation in place would overwrite the output whose gradient is asked for
        if isinstance(m, LAYERS):
            m.register_forward_hook(lambda _, __, out, name=name: outputs[name].append(out))
    modules, random = dict(net.named_modules()), torch.Generator().manual_seed(0)
    for part in TQDM(images.split(batch), desc="prune: where the predictions are sensitive"):
        outputs.clear()
        with torch.enable_grad():
            total = judged(run_raw(net, part), random)
            asked = [out for outs in outputs.values() for out in outs if out.requires_grad]
            grads = torch.autograd.grad(total, asked, allow_unused=True)
        known = {id(out): grad for out, grad in zip(asked, grads) if grad is not None}
        for name, outs in outputs.items():
            # positions first, as in a transformer by sequences, are left out, and so is what nothing depends on
            if all(len(out) == len(part) for out in outs) and any(id(out) in known for out in outs):
                pairs = [(known.get(id(out), torch.zeros_like(out)), out.detach()) for out in outs]
                found[name].append(_gather(modules[name], *zip(*pairs)))
    return {n: _joined(parts, len(images)) for n, parts in found.items() if _covers(parts, len(images))}


def _gather(m: nn.Module, grads: Sequence[torch.Tensor], outs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return one batch's figures of what a layer puts out, in all of its calls."""
    grad, out = (torch.cat([_flat(m, t) for t in calls], 2) for calls in (grads, outs))
    square = grad.square()
    return square.mean(1), square.sum((0, 2)), (grad * out).square().sum((0, 2))


def _flat(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = channels_first(m, x)
    return x.reshape(*x.shape[:2], -1)


def _covers(parts: list, n: int) -> bool:
    """Return whether batches hold all of `n` images, with as many positions each."""
    return sum(len(where) for where, *_ in parts) == n and len({where.shape[1] for where, *_ in parts}) == 1


def _joined(parts: list, n: int) -> Sensitivity:
    where, channels, removal = zip(*parts)
    return Sensitivity(torch.cat(where), sum(channels) / n, sum(removal) / n)


def judged(output: Any, random: torch.Generator) -> torch.Tensor:
    """Return a scalar whose squared gradient is, on average over the signs, that of the predictions as judged."""
    return sum(_signed(values, random) for values in weighed(output, output))


def weighed(output: Any, likely: Any) -> list[torch.Tensor]:
    """Return the predictions as they are judged: tensors whose squared differences count alike.

    Args:
        output: Raw predictions.
        likely: Raw predictions of the same form that say how much each value counts; those of the original.
    """
    output, likely = as_dict_of_fields(output), as_dict_of_fields(likely)
    if isinstance(output, dict) and "scores" in output:
        return _anchors(output, likely)
    if isinstance(output, dict):
        return [t for k, v in output.items() if k != "feats" for t in weighed(v, likely[k])]
    if isinstance(output, (tuple, list)):
        return [t for v, at in zip(output, likely) for t in weighed(v, at)]
    if output.dim() in (2, 4) and output.shape[1] > 1:  # classes: logits (N, nc) or (N, nc, H, W)
        return [output.softmax(1)]
    return [output / likely.detach().square().mean().sqrt().clamp_min(1e-6)]


def _anchors(preds: dict, by: dict) -> list[torch.Tensor]:
    """Weigh the predictions of a detection head: `scores` (N, nc, A), others (N, k, A) and mask prototypes."""
    likely = by["scores"].detach().sigmoid().amax(1, keepdim=True)  # (N, 1, A)
    values = [preds["scores"].sigmoid()]
    for name, value in preds.items():
        if name in {"scores", "feats"}:
            continue
        if name == VISUAL:  # unit vectors: one that is lost costs what it would have found
            values.append(value * likely.square().sum(2, keepdim=True).sqrt())
            continue
        if isinstance(value, torch.Tensor) and value.dim() == 3 and value.shape[2] == likely.shape[2]:
            values.append(BOX_WEIGHT * value * likely)
            continue
        for t in value if isinstance(value, (tuple, list)) else (value,):  # prototypes: as much as one anchor channel
            share = (likely.sum() * t.shape[1] / t.numel()) ** 0.5
            values.append(BOX_WEIGHT * share * t)
    return values


def _signed(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    signs = torch.randint(0, 2, x.shape, generator=random, dtype=x.dtype) * 2 - 1
    return (x * signs).sum()


def pick_positions(where: torch.Tensor, wanted: int, random: torch.Generator) -> torch.Tensor:
    """Return `wanted` different flat positions of `where` (any shape), the sensitive ones more likely.

    Drawn in proportion to the gradient's size plus a tenth of its mean, so that background is seen too (without
    replacement, by exponential keys: Efraimidis, Spirakis 2006).
    """
    chance = where.flatten().sqrt()
    chance = chance / chance.mean().clamp_min(1e-30) + 0.1
    keys = -torch.log(torch.rand(chance.shape, generator=random).clamp_min(1e-12)) / chance
    return keys.topk(min(wanted, len(keys)), largest=False).indices
