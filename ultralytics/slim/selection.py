"""Choose which channels go: tie what must shrink together, gather it in pools, and cut each pool or all at once.

A unit is what can only be removed as a whole: all labels tied together. A pool is the set of units that occupy the same
parameters in the same way, so that removing one changes the same widths as removing another (for most layers: its
output channels).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np

from .channels import ChannelGraph
from .labels import LabelBook

FLOOR, FLOOR_SHARE = 8, 0.1  # no pool keeps fewer than 8 units or 10 % of them


@dataclass
class Pool:
    """Units that are alike.

    Attributes:
        layers (tuple[str, ...]): Names of the layers whose channels these are.
        units (np.ndarray): Representative label of each unit, (n,).
        scores (np.ndarray): Importance of each unit, (n,).
        size (int): Channels in a unit.
    """

    layers: tuple[str, ...]
    units: np.ndarray
    scores: np.ndarray
    size: int

    def floor(self) -> int:
        """Return the fewest units that must be kept."""
        return min(len(self.units), max(FLOOR, int(np.ceil(FLOOR_SHARE * len(self.units)))))

    def rounded(self, keep: float, round_to: int) -> int:
        """Return the allowed number of units nearest to `keep`: a multiple of `round_to`, or all of them."""
        n, floor = len(self.units), self.floor()
        allowed = [k for k in range(round_to, n, round_to) if k >= floor] + [n]
        return min(allowed, key=lambda k: (abs(k - keep), -k))

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
        ValueError: If a pattern of `exclude` matches no layer.
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


def _exclude(graph: ChannelGraph, patterns: tuple[str, ...]) -> None:
    """Freeze the outputs of layers whose name matches a pattern or lies below it."""
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        hit = [n for n in graph.layers if fnmatch(n, pattern) or n.startswith(f"{pattern}.")]
        if not hit:
            raise ValueError(f"exclude: {pattern!r} matches no layer; layers are named like {next(iter(graph.layers))!r}")
        for name in hit:
            graph.book.freeze(graph.layers[name], f"{name}: excluded")


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


def choose(pools: list[Pool], factor: float, scope: str, round_to: int) -> np.ndarray:
    """Return the units to remove: `factor` of every pool's (scope 'layer') or of all (scope 'global')."""
    if scope == "layer":
        keeps = [(1 - factor) * len(p.units) for p in pools]
    elif scope == "global":
        keeps = _global_keeps(pools, factor)
    else:
        raise ValueError(f"scope should be 'layer' or 'global', got {scope!r}")
    gone = [p.weakest(p.rounded(keep, round_to)) for p, keep in zip(pools, keeps)]
    return np.concatenate([np.zeros(0, int), *gone])


def _global_keeps(pools: list[Pool], factor: float) -> list[int]:
    """Return how many units each pool keeps if the weakest `factor` of all channels go, floors observed."""
    index = np.concatenate([np.full(len(p.units), i) for i, p in enumerate(pools)])
    order = np.argsort(np.concatenate([p.scores for p in pools]), kind="stable")
    keeps, floors = [len(p.units) for p in pools], [p.floor() for p in pools]
    left = factor * sum(len(p.units) * p.size for p in pools)
    for i in index[order].tolist():
        if left <= 0:
            break
        if keeps[i] > floors[i]:
            keeps[i] -= 1
            left -= pools[i].size
    return keeps
