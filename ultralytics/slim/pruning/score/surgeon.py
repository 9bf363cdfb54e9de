"""What it costs the predictions when a channel goes and the rest of each layer makes up for it as well as it can.

Optimal Brain Surgeon for channels (Hassibi, Stork, NIPS 1992; for whole structures of a layer: Kurtic, Frantar,
Alistarh, ZipLM, arXiv 2302.04089, section 3.1). For a reader with weights W and inputs of covariance S, P = S⁻¹,
removing the inputs J and re-fitting the others by least squares adds `tr(W_J P_JJ⁻¹ W_Jᵀ)` to the squared error of its
output; W and P then follow in closed form, so that channels are taken out in turn, each time those that cost least.
Rows of W are weighted with how the predictions react to that output channel, and S is sampled where they react
(`sensitivity`), so costs are errors of the predictions and compare between layers. A kernel's taps are treated alike: S
is that of single positions, and only WᵀW is kept, summed over the taps.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.utils import TQDM

from ..graph.channels import ChannelGraph
from ..graph.layers import channels_first, input_of
from ..graph.raw import raw
from ..select.pools import Pool
from .sensitivity import Sensitivity, pick_positions

SAMPLES = 32768  # positions sampled a reader
RIDGE = 1e-3  # of the mean variance
STEPS = 64  # removals a pool, at least: wide ones lose several channels at a time


@dataclass
class Reader:
    """What one layer knows of its inputs: labels (C,), WᵀW and S⁻¹, shapes (C, C)."""

    labels: np.ndarray
    power: np.ndarray
    inverse: np.ndarray


class Part:
    """The inputs of a reader that belong to one pool; they are removed here without the rest taking notice."""

    def __init__(self, reader: Reader, inputs: np.ndarray, units: np.ndarray):
        self.power, self.inverse = (t[np.ix_(inputs, inputs)] for t in (reader.power, reader.inverse))
        self.units = units  # (inputs,): the unit that each belongs to

    def costs(self, n: int) -> np.ndarray:
        """Return what removing each of `n` units alone would add to the squared error."""
        cost = np.diagonal(self.power) / np.maximum(np.diagonal(self.inverse), 1e-30)
        return np.bincount(self.units, weights=np.maximum(cost, 0), minlength=n)

    def remove(self, gone: np.ndarray) -> None:
        """Take the inputs of units out (`gone`: (n,) of bool) and let the others make up for them."""
        out = gone[self.units]
        if not out.any():
            return
        p, m = self.inverse, self.power
        a = np.linalg.solve(p[np.ix_(out, out)], p[np.ix_(out, ~out)])  # how the rest stands in for what goes
        cross = m[np.ix_(~out, out)] @ a
        self.power = m[np.ix_(~out, ~out)] - cross - cross.T + a.T @ m[np.ix_(out, out)] @ a
        self.inverse = p[np.ix_(~out, ~out)] - p[np.ix_(~out, out)] @ a
        self.units = self.units[~out]


class Covariance:
    """A covariance (C, C) that is gathered from one part of the samples after the other."""

    def __init__(self, channels: int):
        self.count, self.total = 0, torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, samples: torch.Tensor) -> None:
        """Take in samples (C, M), float64."""
        self.count += samples.shape[1]
        self.total += samples.sum(1)
        self.products += samples @ samples.T

    def result(self) -> np.ndarray:
        """Return it; 0 of a single sample, which is all that a classifier's last layer has of an image."""
        spread = self.products - torch.outer(self.total, self.total) / self.count
        return (spread / max(self.count - 1, 1)).numpy()


@torch.no_grad()
def covariances(model: nn.Module, sensitive: dict[str, Sensitivity], images: torch.Tensor, batch: int = 8) -> dict:
    """Return the covariance (C, C), float64, of what each layer reads at sampled positions, by layer name."""
    random, found, handles, first = torch.Generator().manual_seed(0), {}, [], [0]
    done: dict[str, int] = defaultdict(int)  # positions of a layer's earlier calls
    share = max(SAMPLES // len(images), 16)

    def sampler(name: str):
        def after(m: nn.Module, args: Any, kwargs: Any, out: torch.Tensor):
            x, start = channels_first(m, input_of(args, kwargs)), done[name]
            done[name] += channels_first(m, out)[0, 0].numel()
            where = _at_input(sensitive[name].where[first[0] : first[0] + len(x), start : done[name]], m, x)
            x = x.reshape(*x.shape[:2], -1)
            if name not in found:
                found[name] = Covariance(x.shape[1])
            for one, there in zip(x, where):
                found[name].add(one[:, pick_positions(there, share, random)].double())

        return after

    for name, m in model.named_modules():
        reads = "weight" in m._parameters and (isinstance(m, nn.Linear) or getattr(m, "groups", None) == 1)
        if name in sensitive and reads:  # of whatever class, and with whatever hooks: what it needs counts
            handles.append(m.register_forward_hook(sampler(name), with_kwargs=True))
    try:
        with raw(model):  # nothing decoded or cached
            for part in TQDM(images.split(batch), desc="prune: what each layer reads"):
                done.clear()
                model(part)
                first[0] += len(part)
    finally:
        for handle in handles:
            handle.remove()
    return {name: seen.result() for name, seen in found.items()}


def _at_input(where: torch.Tensor, m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return sensitivities (n, output positions) at the layer's input positions (n, positions of x)."""
    if x.dim() != 4 or where.shape[1] == x.shape[2] * x.shape[3]:
        return where
    ratio = (x.shape[2] * x.shape[3] / where.shape[1]) ** 0.5
    height = round(x.shape[2] / ratio)
    grid = where.reshape(len(x), 1, height, where.shape[1] // height)
    return F.interpolate(grid, size=x.shape[2:], mode="nearest").flatten(1)


def surgeon_scores(
    model: nn.Module, graph: ChannelGraph, pools: list[Pool], roots: np.ndarray, sensitive: dict, stats: dict
) -> None:
    """Replace the scores of every pool by what its units' removal costs, rising in the order in which they should go.

    Pools are looked at one by one, as if the others stayed whole. Units that no layer with weights reads (query and key
    of an attention) cost what zeroing them does to the predictions, to first order.
    """
    readers = _readers(model, graph, sensitive, stats)
    plain = np.zeros(len(roots))
    for name, labels in graph.layers.items():
        if name in sensitive:
            np.add.at(plain, roots[labels], sensitive[name].removal.double().numpy())
    for pool in TQDM(pools, desc="prune: what each channel is worth"):
        at = np.full(len(roots), -1)
        at[pool.units] = np.arange(len(pool.units))
        parts = []
        for reader in readers:
            units = at[roots[reader.labels]]
            if (units >= 0).any():
                parts.append(Part(reader, np.flatnonzero(units >= 0), units[units >= 0]))
        pool.scores = _eliminate(parts, len(pool.units)) if parts else plain[pool.units]


def _readers(model: nn.Module, graph: ChannelGraph, sensitive: dict, stats: dict) -> list[Reader]:
    """Return a reader for every layer that reads channels and that the predictions depend on."""
    modules, out = dict(model.named_modules()), []
    for slot in graph.slots:
        name = slot.names[0].rpartition(".")[0]
        if slot.role != "in" or name not in stats or len(stats[name]) != len(slot.labels):
            continue
        weight = modules[name].weight.detach().double().movedim(slot.dim, -1)  # (out, *kernel, in)
        gain = sensitive[name].channels.double().sqrt()
        rows = (weight * gain.reshape(-1, *[1] * (weight.dim() - 1))).flatten(0, -2).numpy()
        cov = stats[name]
        cov = cov + (RIDGE * np.diagonal(cov).mean() + 1e-12) * np.eye(len(cov))
        out.append(Reader(slot.labels, rows.T @ rows, np.linalg.inv(cov)))
    return out


def _eliminate(parts: list[Part], n: int) -> np.ndarray:
    """Remove `n` units, the cheapest first, a 64th of them at a time; return each one's cost, rising in that order."""
    scores, left, so_far = np.zeros(n), np.ones(n, bool), 0.0
    while left.any():
        cost, still = sum(part.costs(n) for part in parts), np.flatnonzero(left)
        gone = np.zeros(n, bool)
        for unit in still[np.argsort(cost[still], kind="stable")][: max(n // STEPS, 1)]:  # also where weights are NaN
            so_far = max(so_far * (1 + 1e-9) + 1e-15, float(cost[unit]))
            scores[unit], gone[unit] = so_far, True
        left &= ~gone
        for part in parts:
            part.remove(gone)
    return scores
