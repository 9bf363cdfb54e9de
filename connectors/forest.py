"""The forest of parents that connections make most probable."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree, shortest_path

from .ways import Connection

DOUBT = 1.5  # cost of a connection above which it is none
NEW_ROOT = 9.0  # what a further root costs
PLAIN = 0.5  # cost of a connection below which it is plain
AGREED, ROOTED = 1.0, 2.0  # what a tidy layout is worth to its edges that strokes draw, and to its root
PLACED = 1.5  # cost of an edge that it has and no stroke draws
HEADED, MOSTLY = 0.3, 0.4  # log of the ink at both ends that tells a head; share of connections with one
RIVAL = 0.7  # by how much the connection to a further parent may be the more doubtful


@dataclass(frozen=True)
class Joined:
    """The forest that strokes draw.

    Attributes:
        parents: Of each box, -1 for a root and for what nothing is joined to.
        confidences: Of the edge to each box's parent, in 0..1; 0 where there is none.
        paths: Child -> points (K, 2) x, y of its stroke, from the child to its parent.
        others: Child -> further boxes from which heads point at it, where there are any.
        spare: How many connections are plain and yet not in the forest: they would close circles.
    """

    parents: list[int]
    confidences: list[float]
    paths: dict[int, np.ndarray]
    others: dict[int, list[int]] = field(default_factory=dict)
    spare: int = 0


def joined_share(found: list[Connection], count: int) -> float:
    """Return the share of the edges of a tree over `count` > 1 boxes that connections make, each by its chance."""
    likely = [c for c in found if c.cost <= DOUBT]
    if not likely:
        return 0.0
    return float(np.exp(-_shortest_links(likely, count).data).sum()) / (count - 1)


def _shortest_links(likely: list[Connection], count: int) -> csr_matrix:
    """Return (count, count) the costs of the connections that together join the most boxes most plainly."""
    a, b, cost = (np.array([getattr(c, name) for c in likely]) for name in ("a", "b", "cost"))
    return minimum_spanning_tree(coo_matrix((cost + 1e-3, (a, b)), shape=(count, count)).tocsr())


def most_probable_forest(boxes: np.ndarray, found: list[Connection], layout: list[int] | None = None) -> Joined:
    """Return the parents that are most probable together: a maximum spanning arborescence (Edmonds 1967).

    Each connection may be an edge in either direction: what has a head at one end only is likelier to have the child
    there, if that is so of most connections; and each box may be a root, likelier where the others lie outwards of it.
    Of several boxes whose heads point at one, the first is its parent: see `_firsts`.

    Args:
        boxes: (N, 4) xyxy.
        found: As `find_connections` returns it.
        layout: The parents that the boxes suggest by their places alone, if they form a tidy tree: strokes that say the
            same are the likelier, and where there is none an edge of the layout is better than a further root.
    """
    import networkx

    likely = [c for c in found if c.cost <= DOUBT]
    parents, confidences, paths = [-1] * len(boxes), [0.0] * len(boxes), {}
    if not likely:
        return Joined(parents, confidences, paths)
    graph, root = networkx.DiGraph(), len(boxes)
    placed = [-1] * len(boxes) if layout is None else layout
    for i, score in enumerate(_root_scores(boxes, likely)):
        graph.add_edge(root, i, weight=score - NEW_ROOT + (ROOTED if layout and placed[i] < 0 else 0))
    for child, parent in enumerate(placed):
        if parent >= 0:
            graph.add_edge(parent, child, weight=-PLACED, of=None)
    weighed = np.array([np.log(c.heads[1] / c.heads[0]) for c in likely])
    plain = [w for c, w in zip(likely, weighed) if c.cost < PLAIN]
    headed = bool(plain) and float((np.abs(plain) > HEADED).mean()) >= MOSTLY
    for c, weight in zip(likely, weighed):
        to_b = 1 / (1 + np.exp(-2 * weight)) if headed else 0.5
        for start, end, share in ((c.a, c.b, to_b), (c.b, c.a, 1 - to_b)):
            agreed = AGREED if placed[end] == start else 0.0
            graph.add_edge(start, end, weight=-c.cost + np.log(np.clip(share, 0.05, 0.95)) + agreed, of=c)
    tree = networkx.maximum_spanning_arborescence(graph, attr="weight", preserve_attrs=True)
    chosen = {end: (start, kept["of"]) for start, end, kept in tree.edges(data=True) if start != root}
    others = {}
    if headed:
        depth = networkx.single_source_shortest_path_length(tree, root)
        for child, (first, *further) in _firsts(boxes, chosen, depth, likely, weighed).items():
            chosen[child] = first.other(child), first
            others[child] = [c.other(child) for c in further]
    for child, (parent, c) in chosen.items():
        parents[child], confidences[child] = int(parent), float(np.exp(-(c.cost if c else PLACED)))
        if c:
            paths[child] = c.path_from(child)
    taken = {frozenset(edge) for edge in enumerate(parents)}
    spare = sum(c.cost <= PLAIN and frozenset((c.a, c.b)) not in taken for c in likely)
    return Joined(parents, confidences, paths, others, spare)


def _firsts(
    boxes: np.ndarray,
    chosen: dict[int, tuple[int, Connection | None]],
    depth: dict[int, int],
    likely: list[Connection],
    weighed: np.ndarray,
) -> dict[int, list[Connection]]:
    """Return for each box that several others' heads point at these connections, the first of them first.

    The first is that of the fewest edges from its root, then the first as one reads, from the upper left. Those further
    from it than the parent in the forest do not count (so that no circle can arise), nor much more doubtful ones.

    Args:
        boxes: (N, 4) xyxy.
        chosen: Child -> its parent in the forest, and the connection to it.
        depth: Box -> number of edges that lead to it.
        likely: All connections.
        weighed: Of each the logarithm of the ink at `b` over that at `a`.
    """
    arriving: dict[int, list[Connection]] = {}
    for c, weight in zip(likely, weighed):
        if abs(weight) > HEADED:
            arriving.setdefault(c.b if weight > 0 else c.a, []).append(c)
    found, places = {}, (boxes[:, :2] + boxes[:, 2:]).sum(1)
    for child, heads in arriving.items():
        parent, own = chosen.get(child, (-1, None))
        if any(c is own for c in heads):
            rivals = [c for c in heads if c.cost <= own.cost + RIVAL and depth[c.other(child)] <= depth[parent]]
            if len(rivals) > 1:
                found[child] = sorted(rivals, key=lambda c: (depth[c.other(child)], places[c.other(child)]))
    return found


def _root_scores(boxes: np.ndarray, likely: list[Connection]) -> np.ndarray:
    """Return for each box the logarithm of the chance that it is its tree's root, by how the tree lies around it.

    A root has many neighbours, is large and near the middle; the others lie in rings by their depth, or all edges run
    one way, and each goes on outwards. The weights were fitted to trees by Graphviz and to our own drawings.
    """
    n = len(boxes)
    links = _shortest_links(likely, n)
    parts, part = connected_components(links, directed=False)
    scores = np.zeros(n)
    for k in range(parts):
        members = np.flatnonzero(part == k)
        if len(members) > 2:
            scores[members] = _scores_within(boxes[members], links[members][:, members])
    return scores


def _scores_within(boxes: np.ndarray, links: csr_matrix) -> np.ndarray:
    """Return the scores of `_root_scores` within one tree of n >= 3 boxes."""
    middles, areas = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).prod(1)
    depth, before = shortest_path(links, directed=False, unweighted=True, return_predecessors=True)
    degree = (depth == 1).sum(1)
    away = middles[None] - middles[:, None]  # [root, node]
    far = np.hypot(away[..., 0], away[..., 1])
    n, extent = len(boxes), max(1e-9, float(np.hypot(*np.ptp(middles, axis=0))))
    others = ~np.eye(n, dtype=bool)
    parent = np.where(others, before, 0)
    steps = middles[None] - middles[parent]
    lengths = np.maximum(np.hypot(steps[..., 0], steps[..., 1]), 1e-9)[..., None]
    ways = np.where(others[..., None], steps / lengths, 0)
    one_way = np.abs(np.sign(np.round(ways, 1)).sum(1) / (n - 1)).max(1)
    centred = [x - x.mean(1, keepdims=True) for x in (far, depth)]
    spread = np.sqrt((centred[0] ** 2).mean(1) * (centred[1] ** 2).mean(1))
    rings = (centred[0] * centred[1]).mean(1) / np.maximum(spread, 1e-9)
    of_parent = np.take_along_axis(away, parent[..., None], 1)
    turned = (of_parent * ways).sum(2) / np.maximum(np.hypot(of_parent[..., 0], of_parent[..., 1]), 1e-9)
    deep = depth > 1
    outwards = np.where(deep.any(1), (turned * deep).sum(1) / np.maximum(deep.sum(1), 1), 1.0)
    off = np.hypot(*(middles - middles.mean(0)).T) / extent
    size = np.log(np.maximum(areas, 1e-9))
    order = -0.9 * np.log(1.01 - np.clip(rings, -1, 1)) - 1.55 * np.log(1.05 - one_way)
    score = order * min(1.0, (n - 1) / 8) + 2.5 * outwards  # order among few may be chance
    score += 1.5 * degree / degree.max() + 1.3 * (size - size.mean()) - 2.9 * off
    return score - score.max() - np.log(np.exp(score - score.max()).sum())
