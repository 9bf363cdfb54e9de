"""In which order pools are narrowed, and how far: the candidates, and those that a share of the channels takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..graph.channels import ChannelGraph
from .pools import Pool


@dataclass
class Step:
    """One narrowing of one pool: from `before` units to `after`."""

    key: float  # steps are taken in rising order of it, those below the floor last
    pool: int
    before: int
    after: int


def plan(
    pools: list[Pool], scope: str, round_to: int, costs: list[float] | None = None, floor: float = 0.0
) -> list[Step]:
    """Return every possible narrowing, in the order in which they should be made.

    Args:
        pools (list[Pool]): The pools.
        scope (str): 'layer' narrows all pools evenly: a step's key is the share of channels at which the rounded width
            changes, counted from the first of several prunings. 'global' takes what hurts least for what it saves: the
            key is the score lost over the cost saved.
        round_to (int): Widths are multiples of this.
        costs (list[float], optional): What one unit of each pool costs, for 'global'; its channels if not given.
        floor (float): Share of each pool's units, before the first of several prunings, that 'global' goes below only
            where nothing else is left to take.
    """
    if scope not in {"layer", "global"}:
        raise ValueError(f"scope should be 'auto', 'layer' or 'global', got {scope!r}")
    steps = []
    for index, pool in enumerate(pools):
        widths, n, key = pool.widths(round_to), len(pool.units), 0.0
        loss = np.concatenate([[0], np.cumsum(np.sort(pool.scores))])
        price = costs[index] if costs else pool.size
        for before, after in pairwise(widths):
            if scope == "layer":
                key = 1 - (before + after) / 2 / pool.whole
            else:  # never cheaper than the pool's step before it
                key = max(key, (loss[n - after] - loss[n - before]) / max(price * (before - after), 1e-12))
            steps.append(Step(key, index, before, after))
    deep = {i: floor * pool.whole if scope == "global" else 0 for i, pool in enumerate(pools)}
    return sorted(steps, key=lambda s: (s.after < deep[s.pool], s.key, s.pool, -s.after))


def take_share(pools: list[Pool], steps: list[Step], scope: str, factor: float) -> list[Step]:
    """Return the first steps that remove `factor` of the channels: of every pool ('layer') or of all together.

    What earlier ones of several prunings removed counts.
    """
    if scope == "layer":
        return [s for s in steps if s.key < factor]
    goal, taken = sum((factor * p.whole - (p.whole - len(p.units))) * p.size for p in pools), []
    for step in steps:
        size = (step.before - step.after) * pools[step.pool].size
        if goal <= size / 2:
            break
        goal -= size
        taken.append(step)
    return taken


def removed(pools: list[Pool], steps: list[Step]) -> np.ndarray:
    """Return the units that go when these steps are taken."""
    keep = {i: len(p.units) for i, p in enumerate(pools)}
    for step in steps:
        keep[step.pool] = min(keep[step.pool], step.after)
    return np.concatenate([np.zeros(0, int), *(pools[i].weakest(k) for i, k in keep.items())])


def kept(roots: np.ndarray, pools: list[Pool], steps: list[Step]) -> np.ndarray:
    """Return which labels, by their roots (labels + 1,), stay when these steps are taken."""
    return ~np.isin(roots, removed(pools, steps))


def unit_costs(
    graph: ChannelGraph, pools: list[Pool], roots: np.ndarray, sizes: dict[str, tuple], what: str
) -> list[float]:
    """Return what one unit of each pool costs in the uncut model: parameters, or multiplications on the traced input.

    Args:
        graph (ChannelGraph): The channel graph.
        pools (list[Pool]): The pools.
        roots (np.ndarray): Representative of each label.
        sizes (dict): Shape of each tensor, by name.
        what (str): 'params' or 'flops'.
    """
    share = np.zeros(len(roots))
    for slot in graph.slots:
        name, shape = slot.names[0], sizes[slot.names[0]]
        if slot.role == "var" or (what == "flops" and name not in graph.positions):
            continue
        each = float(np.prod(shape)) / shape[slot.dim] * (graph.positions[name] if what == "flops" else 1)
        np.add.at(share, roots[slot.labels], each)
    return [float(share[p.units].mean()) for p in pools]
