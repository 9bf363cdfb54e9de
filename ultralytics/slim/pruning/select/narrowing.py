"""In which order pools are narrowed, and how far: the candidates, and those that a share of the channels takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from ...errors import InputError
from ..graph.channels import ChannelGraph
from .pools import Pool


@dataclass(frozen=True)
class Narrowing:
    """One narrowing of one pool.

    Attributes:
        key: Narrowings are made in rising order of it, those below the floor last.
        pool: Index of the pool.
        before, after: Its units.
        saves: What it saves of the cost that counts.
    """

    key: float
    pool: int
    before: int
    after: int
    saves: float = 0.0


Saved = Callable[[int, int, int], float]  # number of a pool, its units before and after -> what that saves


def order_narrowings(
    pools: list[Pool],
    scope: str,
    round_to: int,
    costs: list[float] | None = None,
    floor: float = 0.0,
    saved: Saved | None = None,
) -> list[Narrowing]:
    """Return every possible narrowing, in the order in which they should be made.

    Args:
        pools: The pools.
        scope: 'layer' narrows all pools evenly: the key is the share of channels at which the rounded width changes,
            counted from the first of several prunings. 'global' takes what hurts least for what it saves: the key is
            the score lost over the cost saved.
        round_to: Widths are multiples of this.
        costs: What one unit of each pool costs, for 'global'; its channels if not given.
        saved: What narrowings save, in the place of `costs`, where that does not grow evenly with the units: then
            'global' leaves out the widths that a narrower one is better than, in loss for what is saved.
        floor: Share of each pool's units, before the first of several prunings, that 'global' goes below only where
            nothing else is left to take.

    Raises:
        InputError: Another scope.
    """
    if scope not in {"layer", "global"}:
        raise InputError(f"scope should be 'auto', 'layer' or 'global', got {scope!r}")
    found = []
    for index, pool in enumerate(pools):
        widths, n, key = pool.widths(round_to), len(pool.units), 0.0
        loss = np.concatenate([[0], np.cumsum(np.sort(pool.scores))])
        price = costs[index] if costs else pool.size
        saves = partial(saved, index) if saved else lambda before, after, price=price: price * (before - after)
        if saved and scope == "global":
            widths = worthwhile(widths, [saves(n, k) for k in widths], [loss[n - k] for k in widths])
        for before, after in pairwise(widths):
            save = saves(before, after)
            if scope == "layer":
                key = 1 - (before + after) / 2 / pool.whole
            else:  # never cheaper than the pool's narrowing before it
                key = max(key, (loss[n - after] - loss[n - before]) / max(save, 1e-12))
            found.append(Narrowing(key, index, before, after, save))
    deep = {i: floor * pool.whole if scope == "global" else 0 for i, pool in enumerate(pools)}
    return sorted(found, key=lambda n: (n.after < deep[n.pool], n.key, n.pool, -n.after))


def worthwhile(widths: list[int], saved: list[float], lost: list[float]) -> list[int]:
    """Return the widths, falling, that no mixture of a wider and a narrower one beats: the lower hull of their losses.

    Args:
        widths: All that are allowed, falling from the whole width.
        saved: What each saves, from the whole width.
        lost: What each loses; rising.
    """
    hull: list[int] = [0]
    for i in range(1, len(widths)):
        if saved[i] <= saved[hull[-1]]:  # narrower, and no faster
            continue
        while len(hull) > 1 and _slope(saved, lost, hull[-2], i) <= _slope(saved, lost, hull[-2], hull[-1]):
            hull.pop()
        hull.append(i)
    if hull[-1] != len(widths) - 1:  # the narrowest stays a way out where a goal cannot be met without it
        hull.append(len(widths) - 1)
    return [widths[i] for i in hull]


def _slope(saved: list[float], lost: list[float], a: int, b: int) -> float:
    return (lost[b] - lost[a]) / max(saved[b] - saved[a], 1e-12)


def take_share(pools: list[Pool], narrowings: list[Narrowing], scope: str, factor: float) -> list[Narrowing]:
    """Return the first narrowings that remove `factor` of the channels: of every pool ('layer') or of all together.

    What earlier ones of several prunings removed counts.
    """
    if scope == "layer":
        return [n for n in narrowings if n.key < factor]
    goal, taken = sum((factor * p.whole - (p.whole - len(p.units))) * p.size for p in pools), []
    for narrowing in narrowings:
        size = (narrowing.before - narrowing.after) * pools[narrowing.pool].size
        if goal <= size / 2:
            break
        goal -= size
        taken.append(narrowing)
    return taken


def removed(pools: list[Pool], narrowings: list[Narrowing]) -> np.ndarray:
    """Return the units that go when these narrowings are made."""
    keep = {i: len(p.units) for i, p in enumerate(pools)}
    for narrowing in narrowings:
        keep[narrowing.pool] = min(keep[narrowing.pool], narrowing.after)
    return np.concatenate([np.zeros(0, int), *(pools[i].weakest(k) for i, k in keep.items())])


def kept(roots: np.ndarray, pools: list[Pool], narrowings: list[Narrowing]) -> np.ndarray:
    """Return which labels, by their roots (labels + 1,), stay when these narrowings are made."""
    return ~np.isin(roots, removed(pools, narrowings))


def unit_costs(
    graph: ChannelGraph, pools: list[Pool], roots: np.ndarray, sizes: dict[str, tuple[int, ...]], what: str
) -> list[float]:
    """Return what one unit of each pool costs in the uncut model: parameters, or multiplications on the traced input.

    Args:
        graph: The channel graph.
        pools: The pools.
        roots: Representative of each label, (labels + 1,).
        sizes: Shape of each tensor, by name.
        what: 'params' or 'flops'.
    """
    share = np.zeros(len(roots))
    for slot in graph.slots:
        name, shape = slot.names[0], sizes[slot.names[0]]
        if slot.role == "var" or (what == "flops" and name not in graph.positions):
            continue
        each = float(np.prod(shape)) / shape[slot.dim] * (graph.positions[name] if what == "flops" else 1)
        np.add.at(share, roots[slot.labels], each)
    return [float(share[p.units].mean()) for p in pools]
