"""Fold what removed channels put out on average into the layers that read them; no data needed.

A channel whose scale γ is 0 still puts out act(β), and one with a small γ varies little around that: its readers miss a
constant when it is cut. Behind its BatchNorm a channel is distributed about like N(β, γ²) (that is what the statistics
are for), so its readers' mean input can be had without images: the model is run once with the quantiles of that
distribution, shuffled over the positions, in place of every removed channel, and what arrives at each reader, through
activations, concatenations, sums, pools and channelwise convolutions, is averaged away from the borders. Zero padding
of the readers is not modelled: next to the image border the constant is off.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import nn

from ..graph.channels import ChannelGraph, input_size
from ..graph.layers import channels_first, input_of, is_plain
from ..graph.raw import run_raw

GRID = 12  # input size in multiples of the largest stride; the middle half is averaged


@torch.no_grad()
def fold_constants(model: nn.Module, pruned: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> int:
    """Add the mean contribution of the removed channels to the readers in `pruned`; return how many layers changed.

    Args:
        model: The model before pruning, evaluation mode.
        pruned: The sliced model; biases and BatchNorm means change in place.
        graph: Channels of `model`.
        keep: (labels + 1,) which labels were kept.
    """
    means = reader_means(model, graph, keep)
    old, new = dict(model.named_modules()), dict(pruned.named_modules())
    outs = {s.names[0]: keep[s.labels] for s in graph.slots if s.role == "out"}
    normed = np.zeros(len(keep), bool)  # channels with a BatchNorm: of the others (a fused model's) nothing is known
    for slot in graph.slots:
        if slot.role == "norm" and slot.names[0].endswith("weight"):
            normed[slot.labels] = True
    changed = 0
    for slot in graph.slots:
        name = slot.names[0].rpartition(".")[0]
        gone = ~keep[slot.labels] & normed[slot.labels]
        if slot.role != "in" or name not in means or not gone.any():
            continue
        gone = torch.from_numpy(gone)
        constant = torch.where(gone, means[name], torch.zeros_like(means[name]))
        delta = _response(old[name], constant, slot.dim)
        kept = outs.get(slot.names[0])
        norm = new.get(graph.norms.get(name))
        changed += _add(new[name], norm, delta if kept is None else delta[torch.from_numpy(kept)])
    return changed


def _response(m: nn.Module, constant: torch.Tensor, dim: int) -> torch.Tensor:
    """Return what a layer puts out, bias aside, where its input channels are constant, away from the borders."""
    weight = m.weight.movedim(dim, 1)  # (out, in, *kernel)
    taps = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
    if isinstance(m, nn.ConvTranspose2d):
        taps = taps / (m.stride[0] * m.stride[1])  # each output sees one of so many sets of taps; the mean over them
    return taps @ constant


def _add(m: nn.Module, norm: nn.Module | None, delta: torch.Tensor) -> bool:
    """Add a constant behind a layer: to its bias, or to the BatchNorm that follows it; return whether there is one."""
    if m.bias is not None:
        m.bias += delta
    elif norm is not None:
        norm.running_mean -= delta
    return m.bias is not None or norm is not None


@torch.no_grad()
def reader_means(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the mean input (C,) of every layer that reads channels, by name, right for the channels that go."""
    net, means = copy.deepcopy(model).eval(), defaultdict(list)
    modules = dict(net.named_modules())
    random = torch.Generator().manual_seed(0)
    for slot in graph.slots:
        name, _, key = slot.names[0].rpartition(".")
        gone = np.flatnonzero(~keep[slot.labels])
        if slot.role == "norm" and key == "weight" and len(gone):
            modules[name].register_forward_hook(_stand_in(torch.from_numpy(gone), random))
        elif slot.role == "in" and key == "weight" and is_plain(modules[name]):
            modules[name].register_forward_pre_hook(_note(means, name), with_kwargs=True)
    run_raw(net, torch.zeros(input_size(net, GRID, GRID), dtype=next(net.parameters()).dtype))
    return {name: torch.stack(calls).mean(0) for name, calls in means.items() if calls[0] is not None}


def _note(means: dict, name: str):
    """Return a pre-hook that keeps the mean of what a layer reads, of each of its calls."""

    def before(m: nn.Module, args: Any, kwargs: Any):
        means[name].append(_middle(channels_first(m, input_of(args, kwargs))))

    return before


def _stand_in(gone: torch.Tensor, random: torch.Generator):
    """Return a hook that replaces the removed channels of a BatchNorm's output by their distribution, N(β, γ²)."""

    def hook(m: nn.Module, _: nn.Module, out: torch.Tensor):
        n = out[0, 0].numel()
        levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        normal = torch.special.ndtri(levels).to(out.dtype)
        order = torch.stack([torch.randperm(n, generator=random) for _ in range(len(gone))])
        values = m.bias[gone, None] + m.weight[gone, None] * normal[order]
        out[:, gone] = values.reshape(1, len(gone), *out.shape[2:])
        return out

    return hook


def _middle(x: torch.Tensor) -> torch.Tensor | None:
    """Return the mean over the middle half of a feature map (1, C, H, W), or of a vector (1, C); returns None else."""
    if x.dim() == 2:
        return x[0]
    if x.dim() != 4:
        return None
    h, w = x.shape[2] // 4, x.shape[3] // 4
    return x[0, :, h : x.shape[2] - h, w : x.shape[3] - w].mean((1, 2))
