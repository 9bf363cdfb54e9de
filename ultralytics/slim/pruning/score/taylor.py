"""What zeroing a channel does to the loss, to first order, on a few labelled images.

Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771, section 3 (eq. 8, with the gate
behind the BatchNorm): a channel is thought to pass a gate z = 1, and zeroing it changes the loss by about -dL/dz, which
is γ·dL/dγ + β·dL/dβ of its BatchNorm, or the same sum over weights and bias of a layer without one. Gates that close
together add up before the square. A score is the root of the mean square over batches: in units of the loss, so that
scores compare between layers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..graph.channels import ChannelGraph
from ..select.pools import Pool
from .labelled import LabelledImages, with_loss


def gate_gradients(model: nn.Module, graph: ChannelGraph, labelled: LabelledImages) -> np.ndarray:
    """Return dL/dz of every label's gate in each batch, shape (batches, labels + 1); `model` is not modified."""
    net = with_loss(model)
    tensors, gates = dict(net.named_parameters()), _gates(graph)
    wanted = [tensors[names] for names, _, _ in gates]
    rows = []
    for loss in labelled.losses(net):
        row = np.zeros(len(graph.book) + 1)
        for (_, dim, labels), weight, grad in zip(gates, wanted, torch.autograd.grad(loss, wanted, allow_unused=True)):
            if grad is not None:
                each = (weight.detach() * grad).double().movedim(dim, 0)
                np.add.at(row, labels, each.reshape(len(labels), -1).sum(1).numpy())
        row[0] = 0
        rows.append(row)
    return np.array(rows)


def _gates(graph: ChannelGraph) -> list[tuple[str, int, np.ndarray]]:
    """Return (parameter, dimension, labels) of all that scales a channel: BatchNorms, and layers without one."""
    normed = np.zeros(len(graph.book) + 1, bool)
    norms = [s for s in graph.slots if s.role == "norm" and s.names[0].endswith((".weight", ".bias"))]
    for slot in norms:
        normed[slot.labels] = True
    bare = [s for s in graph.slots if s.role == "out" and not normed[s.labels].any()]
    return [(s.names[0], s.dim, s.labels) for s in norms + bare]


def label_scores(gates: np.ndarray) -> np.ndarray:
    """Return a score for each label alone, shape (labels + 1,), from `gate_gradients`."""
    return np.sqrt((gates**2).mean(0))


def taylor_scores(pools: list[Pool], roots: np.ndarray, gates: np.ndarray) -> None:
    """Replace the scores of every pool by those of its units, whose gates close together."""
    joint = np.array([np.bincount(roots, weights=row, minlength=len(roots)) for row in gates])
    scores = label_scores(joint)
    for pool in pools:
        pool.scores = scores[pool.units]
