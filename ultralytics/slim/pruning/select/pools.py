"""Choose which channels go: tie what must shrink together, gather it in pools, and cut each pool or all at once.

A unit is what can only be removed as a whole: all labels tied together. A pool is the set of units that occupy the same
parameters in the same way, so that removing one changes the same widths as removing another (for most layers: its
output channels).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from itertools import pairwise

import numpy as np

from .channels import ChannelGraph
from .labels import LabelBook

FLOOR, FLOOR_SHARE = 8, 0.1  # no pool keeps fewer than 8 units or 10 % of them, whatever the goal


@dataclass
class Pool:
    """Units that are alike.

    Attributes:
        layers (tuple[str, ...]): Names of the layers whose channels these are.
        units (np.ndarray): Representative label of each unit, (n,).
        scores (np.ndarray): Importance of each unit, (n,).
        size (int): Channels in a unit.
        whole (int): Units before the first of several prunings; as many as there are if not given.
    """

    layers: tuple[str, ...]
    units: np.ndarray
    scores: np.ndarray
    size: int
    whole: int = 0

    def __post_init__(self):
        self.whole = max(self.whole, len(self.units))

    def floor(self) -> int:
        """Return the fewest units that must be kept."""
        return min(len(self.units), max(FLOOR, int(np.ceil(FLOOR_SHARE * self.whole))))

    def widths(self, round_to: int) -> list[int]:
        """Return the allowed numbers of units, falling: all of them, then multiples of `round_to` down to the floor."""
        n = len(self.units)
        return [n, *(k for k in range((n - 1) // round_to * round_to, 0, -round_to) if k >= self.floor())]

    def weakest(self, keep: int) -> np.ndarray:
        """Return the units to remove so that `keep` are left (ties by position)."""
        order = np.argsort(self.scores, kind="stable")
        return self.units[order[: len(self.units) - keep]]


def tie_families(graph: ChannelGraph, scores: np.ndarray) -> LabelBook:
    """Return the graph's book with the parts of every equal-count family tied: by rank, or by position where tangled.

    The r-th best of one half goes with the r-th best of the other, which keeps more of the score than tying neighbours.
    """
    book = graph.book.copy()
    for parts in book.families:
        pairs = _by_rank(book, parts, scores) or [np.arange(len(parts[0]))] * len(parts)
        for part, order in zip(parts[1:], pairs[1:]):
            book.unite(parts[0][pairs[0]], part[order])
    return book


def _by_rank(book: LabelBook, parts: list[np.ndarray], scores: np.ndarray) -> list[np.ndarray] | None:
    """Return each part's order by score; None where a unit lies twice in the parts, which ranks could tear apart."""
    roots = [np.array([book.find(int(label)) for label in part]) for part in parts]
    frozen = book.frozen()
    together = np.concatenate(roots)
    if not together.all() or len(np.unique(together)) != len(together):
        return None
    if any(int(r) in frozen for r in together):
        return None
    members = defaultdict(list)
    wanted = set(together.tolist())
    for label, root in enumerate(book.roots().tolist()):
        if root in wanted and np.isfinite(scores[label]):
            members[root].append(scores[label])
    value = {r: float(np.mean(v)) for r, v in members.items()}
    return [np.argsort([value.get(int(r), 0.0) for r in part], kind="stable") for part in roots]


def make_pools(graph: ChannelGraph, scores: np.ndarray, exclude: tuple[str, ...] = ()) -> tuple[list[Pool], LabelBook]:
    """Return the pools of removable units and the book that ties them; layers that match `exclude` are frozen first.

    Raises:
        ValueError: If a pattern of `exclude` matches no layer; the message names those closest to it.
    """
    _exclude(graph, exclude)
    book = tie_families(graph, scores)
    roots, frozen = book.roots(), book.frozen()
    signature: dict[int, list] = defaultdict(list)
    for index, slot in enumerate(graph.slots):
        units, counts = np.unique(roots[slot.labels], return_counts=True)
        for unit, count in zip(units.tolist(), counts.tolist()):
            signature[unit].append((index, count))
    groups = defaultdict(list)
    for unit in sorted(signature):
        if unit and unit not in frozen:
            groups[tuple(signature[unit])].append(unit)
    return [_pool(graph, np.array(units), roots, scores) for units in groups.values()], book


def remember_whole(pools: list[Pool], wholes: dict[tuple[str, ...], int]) -> None:
    """Tell the pools how many units they had before the first of several prunings, which fills `wholes`."""
    for pool in pools:
        pool.whole = max(wholes.setdefault(pool.layers, pool.whole), len(pool.units))


def _exclude(graph: ChannelGraph, patterns: tuple[str, ...]) -> None:
    """Freeze the outputs of layers whose name matches a pattern or lies below it."""
    for pattern in filter(None, patterns.split(",")) if isinstance(patterns, str) else patterns:
        hit = [n for n in graph.layers if fnmatch(n, pattern) or n.startswith(f"{pattern}.")]
        if not hit:
            raise ValueError(f"exclude: {pattern!r} matches no layer; the closest are {_near(pattern, graph.layers)}")
        for name in hit:
            graph.book.freeze(graph.layers[name], f"{name}: excluded")


def _near(pattern: str, layers: Iterable[str]) -> str:
    """Return the names of layers, or of modules that hold some, that are closest to a pattern."""
    parts = [name.split(".") for name in layers]
    names = dict.fromkeys(".".join(p[:depth]) for p in parts for depth in range(2, len(p) + 1))
    return ", ".join(repr(n) for n in get_close_matches(pattern, names, n=3, cutoff=0))


def _pool(graph: ChannelGraph, units: np.ndarray, roots: np.ndarray, scores: np.ndarray) -> Pool:
    """Return the pool of these units; a unit's score is the mean over its channels."""
    at = np.full(len(roots), -1)
    at[units] = np.arange(len(units))
    where = at[roots]  # (labels + 1,): which unit each label belongs to
    known = (where >= 0) & np.isfinite(scores)
    total = np.bincount(where[known], weights=scores[known], minlength=len(units))
    count = np.bincount(where[known], minlength=len(units))
    layers = tuple(n for n, labels in graph.layers.items() if (where[labels] >= 0).any())
    channels = sum(int((where[labels] == 0).sum()) for labels in graph.layers.values())
    return Pool(layers, units, total / np.maximum(count, 1), channels)


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
