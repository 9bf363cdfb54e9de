"""Choose which channels go: tie what must shrink together, gather it in pools, and cut each pool or all at once.

A unit is what can only be removed as a whole: all labels tied together. A pool is the set of units that occupy the same
parameters in the same way, so that removing one changes the same widths as removing another (for most layers: its
output channels).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch

import numpy as np

from ...errors import InputError
from ..graph.channels import ChannelGraph
from ..graph.label_book import LabelBook

FLOOR, FLOOR_SHARE = 8, 0.1  # no pool keeps fewer than 8 units or 10 % of them, whatever the goal


@dataclass
class Pool:
    """Units that are alike.

    Attributes:
        layers: Names of the layers whose channels these are.
        units: Representative label of each unit, (n,).
        scores: Importance of each unit, (n,).
        size: Channels in a unit.
        whole: Units before the first of several prunings; as many as there are if not given.
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
        InputError: If a pattern of `exclude` matches no layer; the message names those closest to it.
    """
    exclude_layers(graph, exclude)
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


Widths = dict[tuple[str, ...], int]  # layers of a pool -> its units


def counted_from(first: Widths, pools: list[Pool]) -> tuple[list[Pool], Widths]:
    """Return the pools with the units that each had before the first of several prunings, and all of these widths.

    Args:
        first: The widths before the first pruning, as far as pools were met; empty for the first.
        pools: Those of this pruning.
    """
    first = dict(first)
    for pool in pools:
        first.setdefault(pool.layers, pool.whole)
    return [replace(pool, whole=max(first[pool.layers], len(pool.units))) for pool in pools], first


def exclude_layers(graph: ChannelGraph, patterns: str | tuple[str, ...]) -> None:
    """Freeze the outputs of layers whose name matches a pattern or lies below it."""
    for pattern, hit in matching(graph.layers, patterns).items():
        if not hit:
            raise InputError(f"exclude: {pattern!r} matches no layer; the closest are {_near(pattern, graph.layers)}")
        for name in hit:
            graph.book.freeze(graph.layers[name], f"{name}: excluded")


def matching(layers: Iterable[str], patterns: str | tuple[str, ...]) -> dict[str, list[str]]:
    """Return for each pattern the layers whose name matches it or lies below it."""
    given, layers = patterns.split(",") if isinstance(patterns, str) else patterns, list(layers)
    return {p: [n for n in layers if fnmatch(n, p) or n.startswith(f"{p}.")] for p in given if p}


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
