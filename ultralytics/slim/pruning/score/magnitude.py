"""How important each channel is: one number a label, comparable within a layer and, where said, between layers.

- `gamma`: |γ| of the BatchNorm behind the channel (Liu et al., Network Slimming, arXiv 1708.06519, section 3); means
  something only after sparse training.
- `l1`, `l2`: norm of the channel's filter with the BatchNorm folded in (Li et al., arXiv 1608.08710, section 3.1).
- `lamp`: squared filter norm over the sum of all at least as large in its layer (Lee et al., arXiv 2010.07611, eq. 4).
- `fpgm`: summed distance of the filter to the others of its layer (He et al., arXiv 1811.00250, eq. 4).
- `random`: uniform, from a seed; the yardstick.

All but `gamma` are divided by their layer's mean, so that a layer with large weights does not shield all its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ...sparsity.gammas import NEAR_ZERO, absolute_gammas
from ..graph.channels import ChannelGraph

SPARSE_SHARE = 0.05  # gammas look sparse-trained where 5 % of them are near zero


def score_labels(model: nn.Module, graph: ChannelGraph, method: str, seed: int = 0) -> np.ndarray:
    """Return one score a label, shape (labels + 1,); NaN where the method says nothing about a channel.

    Raises:
        InputError: `method` is none of `score_names`.
    """
    if method not in score_names():
        raise InputError(f"score should be 'auto' or one of {', '.join(score_names())}, got {method!r}")
    scores = np.full(len(graph.book) + 1, np.nan)
    if method == "random":
        scores[1:] = np.random.default_rng(seed).random(len(graph.book))
        return scores
    if method == "gamma":
        for labels, gamma in gammas_of_labels(model, graph):
            scores[labels] = np.where(np.isnan(scores[labels]), gamma, np.minimum(scores[labels], gamma))
        return scores
    folded = {n: g / s for n, (g, s) in _norm_of_labels(model, graph).items()}
    for labels, filters in _filters(model, graph):
        scale = np.array([folded.get(label, 1.0) for label in labels.tolist()])
        value = FILTER_SCORES[method](filters * scale[:, None])
        scores[labels] = value / max(value.mean(), 1e-12)
    return scores


def score_names() -> tuple[str, ...]:
    """Return the names of all scores that weights alone give."""
    return "gamma", *FILTER_SCORES, "random"


def pick_score(model: nn.Module) -> str:
    """Return what 'auto' stands for: 'gamma' where the gammas look sparse-trained, else 'l1'."""
    gamma = absolute_gammas(model, trainable_only=False).numpy()
    return "gamma" if gamma.size and (gamma < NEAR_ZERO).mean() >= SPARSE_SHARE else "l1"


def gammas_of_labels(model: nn.Module, graph: ChannelGraph) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (labels, |γ|) of every BatchNorm that holds channels."""
    modules = dict(model.named_modules())
    for slot in graph.slots:
        owner, _, key = slot.names[0].rpartition(".")
        if slot.role == "norm" and key == "weight":
            weight = modules[owner].weight.detach().double().abs().cpu().numpy()
            yield slot.labels[slot.labels > 0], weight[slot.labels > 0]


def _norm_of_labels(model: nn.Module, graph: ChannelGraph) -> dict[int, tuple[float, float]]:
    """Return {label: (|γ|, σ)} of the first BatchNorm that each channel meets."""
    modules, out = dict(model.named_modules()), {}
    for slot in graph.slots:
        owner, _, key = slot.names[0].rpartition(".")
        if slot.role != "norm" or key != "weight":
            continue
        bn = modules[owner]
        gamma = bn.weight.detach().double().abs().cpu().numpy()
        sigma = (bn.running_var.double() + bn.eps).sqrt().cpu().numpy()
        for label, g, s in zip(slot.labels.tolist(), gamma, sigma):
            out.setdefault(label, (g, s))
    return out


def _filters(model: nn.Module, graph: ChannelGraph):
    """Yield (labels, filters (n, weights a filter)) of every layer that makes channels."""
    tensors = dict(model.named_parameters())
    made = {int(label) for labels in graph.layers.values() for label in labels}
    for slot in graph.slots:
        weight = tensors.get(slot.names[0])
        if slot.role != "out" or weight is None or weight.dim() < 2 or int(slot.labels[0]) not in made:
            continue
        if next((k for k, v in graph.layers.items() if f"{k}.weight" in slot.names), None) is None:
            continue
        w = weight.detach().double().cpu().movedim(slot.dim, 0).flatten(1).numpy()
        yield slot.labels, w


def _lamp(filters: np.ndarray) -> np.ndarray:
    square = (filters**2).sum(1)
    order = np.argsort(-square, kind="stable")
    out = np.empty_like(square)
    out[order] = square[order] / np.maximum(np.cumsum(square[order]), 1e-30)
    return out


def _fpgm(filters: np.ndarray) -> np.ndarray:
    points = torch.from_numpy(filters)
    return torch.cdist(points, points).sum(1).numpy()


# name -> (n, weights of a filter) -> (n,): filters of one layer, each folded with its BatchNorm. A new one is a line.
FILTER_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda filters: np.abs(filters).sum(1),
    "l2": lambda filters: np.sqrt((filters**2).sum(1)),
    "lamp": _lamp,
    "fpgm": _fpgm,
}
