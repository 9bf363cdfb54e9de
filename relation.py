"""Parent-node geometry of a diagram: find each node's parent, score it, draw it.

Nodes are boxes `xyxy` in any one unit, as floats of shape (N, 4). Parents are a list of N integers: the 0-based index
of each node's parent, or -1 for a root. Everything here is a pure function of its arguments; nothing is printed. This
file needs NumPy, SciPy and OpenCV alone, and the package `connectors` beside it to follow strokes; `Plabels`,
`read_plabels` and `read_plabels_dir`, which read labelled nodes, come from `ultralytics.slim.plabels` when they are
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeAlias

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

ELSEWHERE = ("IMAGE_SUFFIXES", "Plabels", "read_plabels", "read_plabels_dir")  # in ultralytics.slim.plabels
Nodes: TypeAlias = "Sequence[Sequence[float]] | np.ndarray"  # (N, 4) xyxy
MODES = ("containment", "layout", "connectors", "auto")
PARENT_AREA = 1.2  # a container is at least this many times as large as what it contains
PARENT_COVER = 0.8  # ... and covers at least this share of it
TIDY, SIBLINGS, ALIKE = 0.06, 0.75, 1.5  # what a tree is known by, see `_is_tree`
PLAIN, DRAWN, AGREES = 0.6, 1.95, 0.85  # when strokes draw a tree, see `_is_drawn_tree` and `_auto`
BRANCHES = 3  # neighbours of a node; where none has so many, the nodes are a chain
MOST_TRACED = 500  # nodes; where there are more, no strokes are followed
SAME = 1e-9  # costs of trees that differ by less are equal
SWEEP = 256  # boxes after which those that have their parent are no longer looked at
DUPLICATE_IOU = 0.8  # boxes of any class that overlap so much are one node


# ---------------------------------------------------------------------------------------------------- parents of nodes


@dataclass(frozen=True)
class Relations:
    """The parents of a drawing's nodes, and how they were found.

    Attributes:
        parents: The index of each node's parent, or -1 for a root.
        mode: The rule that was taken: `containment`, `layout` or `connectors`; `none` where `auto` sees no relations.
        confidences: Of each node's edge to its parent, in 0..1: with `connectors` how plainly a stroke leads there,
            0.22 where only the layout says it; of another rule's edge 1. 0 for a root.
        strokes: Child -> points (K, 2) x, y in pixels of the stroke from it to its parent, where one was followed.
        others: Child -> further nodes whose arrows point at it, where there are any; the first is its parent.
    """

    parents: list[int]
    mode: str
    confidences: list[float]
    strokes: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    others: dict[int, list[int]] = field(default_factory=dict)


def find_parent_nodes(nodes: Nodes, mode: str = "containment", image: np.ndarray | None = None) -> list[int]:
    """Return the index of each node's parent, or -1 for a root.

    Args:
        nodes: (N, 4) boxes xyxy; `[]` gives `[]`.
        mode: `containment`, for nodes drawn inside their parent: the parent is the smallest box that is at least 1.2
            times as large as the node and covers at least 80 % of it; equal areas go to the larger cover, then to the
            lower index. A box without area has no parent. `layout`, for mind maps and organisation charts, where
            nodes lie beside their parent: see `_best_tree`. `connectors`, for nodes that lines join: strokes are
            followed in the picture, see `connectors`; of several parents the first counts, the
            nearest to the root. `auto`:
            `containment` where any node lies inside another, else `connectors` or `layout` where strokes or boxes form
            a tree: see `_auto`.
        image: The picture, in whose pixels the boxes are: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or
            uint16. `connectors` needs it, `auto` takes it into account, the others do without.

    Raises:
        ValueError: An unknown mode, or a box that is not four finite numbers with x1 <= x2 and y1 <= y2; no picture
            where one is needed, or one that the boxes do not lie in.

    A lane, a box in it, and a node in that box; the fourth lies outside:

        >>> find_parent_nodes([[0, 0, 100, 60], [5, 5, 60, 55], [10, 10, 40, 30], [120, 0, 140, 20]])
        [-1, 0, 1, -1]
        >>> find_parent_nodes([[40, 0, 60, 10], [0, 30, 20, 40], [80, 30, 100, 40]], mode="layout")
        [-1, 0, 0]
    """
    return read_relations(nodes, mode, image).parents


def read_relations(nodes: Nodes, mode: str = "auto", image: np.ndarray | None = None) -> Relations:
    """Return the parents, the rule by which they were found, and what it knows of each edge.

    Arguments and errors are those of `find_parent_nodes`.
    """
    check_mode(mode)
    boxes = check_boxes(nodes)
    picture = None
    if image is not None and mode in ("connectors", "auto"):
        picture = _to_plain(image)
        _check_inside(boxes, picture)
    if mode == "connectors":
        if picture is None:
            raise ValueError("mode 'connectors' follows the strokes of the picture: give it as image=")
        if len(boxes) > MOST_TRACED:
            return _by_rule("layout", _layout_parents(boxes))
        return _connected(boxes, picture, _tidy_tree(boxes))[0]
    if mode == "auto":
        return _auto(boxes, picture)
    return _by_rule(mode, _containment_parents(boxes) if mode == "containment" else _layout_parents(boxes))


def check_mode(mode: str) -> None:
    """Raise ValueError unless there is such a mode."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")


def _by_rule(mode: str, parents: list[int]) -> Relations:
    return Relations(parents, mode, [float(parent >= 0) for parent in parents])


def _connected(boxes: np.ndarray, picture: np.ndarray, tidy: list[int] | None) -> tuple[Relations, int]:
    """Return what strokes say, and how many plain ones are not in the forest."""
    from connectors import find_connections, most_probable_forest

    joined = most_probable_forest(boxes, find_connections(picture, boxes), tidy)
    relations = Relations(joined.parents, "connectors", joined.confidences, joined.paths, joined.others)
    return relations, joined.spare


def _tidy_tree(boxes: np.ndarray) -> list[int] | None:
    """Return the tidy tree that the boxes form by their places alone, None where they form none."""
    tree = _best_tree(boxes, most=TIDY * len(boxes) * _extent(boxes).mean()) if len(boxes) else None
    return tree if tree and _is_tree(boxes, tree) else None


def _auto(boxes: np.ndarray, picture: np.ndarray | None) -> Relations:
    """Take the containers' word where there are any; else read a drawn or a tidy tree as one, anything else as nothing.

    Boxes that form a tidy tree are one; where strokes say something else than the layout for more than 15 % of the
    edges, the strokes count. Other boxes are a tree if strokes make them one, see `_is_drawn_tree`; else the drawing is
    a flow chart, whose arrows are no parents.
    """
    parents = _containment_parents(boxes)
    if max(parents, default=-1) >= 0:
        return _by_rule("containment", parents)
    tidy = _tidy_tree(boxes)
    if picture is not None and 1 < len(boxes) <= MOST_TRACED:
        drawn, spare = _connected(boxes, picture, tidy)
        if not tidy and _is_drawn_tree(boxes, drawn, spare) or tidy and _agreement(drawn.parents, tidy) < AGREES:
            return drawn
    return _by_rule("layout", tidy) if tidy else _by_rule("none", parents)


def _is_drawn_tree(boxes: np.ndarray, drawn: Relations, spare: int) -> bool:
    """Tell whether strokes draw a tree, rather than a flow chart, a chain, or the texture of a picture.

    A tree is joined (nearly all nodes have a parent), branches (most have a sibling) and ends in leaves (about half the
    nodes), and its strokes are plain; those of a flow chart close circles, and its symbols are of many sizes. The sum
    of the three shares and half the mean confidence, less the share of strokes to spare and the spread of widths and of
    heights (standard deviation of the logarithm), tells it.
    """
    edges, nodes = sum(parent >= 0 for parent in drawn.parents), len(drawn.parents)
    ends = [end for edge in enumerate(drawn.parents) if edge[1] >= 0 for end in edge]
    if np.bincount(ends, minlength=1).max() < BRANCHES:
        return False
    _, families = np.unique([p for p in drawn.parents if p >= 0], return_counts=True)
    siblings, leaves, plain = families[families > 1].sum(), nodes - len(families), sum(drawn.confidences) / edges
    shares = edges / (nodes - 1) + siblings / edges + leaves / nodes
    spread = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9)).std(0).sum()
    return plain >= PLAIN and shares + plain / 2 - spare / edges - spread >= DRAWN


def _agreement(found: list[int], other: list[int]) -> float:
    """Return the share of the edges found that are in the other tree too, in either direction; 1 where none is."""
    edges, known = ({frozenset(edge) for edge in enumerate(parents) if edge[1] >= 0} for parents in (found, other))
    return len(edges & known) / len(edges) if edges else 1.0


def _to_plain(image: np.ndarray) -> np.ndarray:
    """Return a picture of any kind as (H, W, 3) BGR uint8; what is transparent stands on white."""
    image = np.asarray(image)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    plain = to_bgr(image)
    if image.ndim == 3 and image.shape[2] == 4:
        share = image[..., 3:].astype(np.float32) / 255
        plain = (plain * share + 255 * (1 - share)).round().astype(np.uint8)
    return plain


def _check_inside(boxes: np.ndarray, picture: np.ndarray) -> None:
    """Raise ValueError where a box's middle is not in the picture."""
    high, wide = picture.shape[:2]
    middles = boxes[:, :2] / 2 + boxes[:, 2:] / 2
    outside = np.flatnonzero(((middles < 0) | (middles > (wide, high))).any(1))
    if len(outside):
        first = outside[0]
        raise ValueError(
            f"box {first} {boxes[first].round(1).tolist()} lies outside the picture of {wide} x {high} pixels: boxes "
            "must be in pixels of the picture that is given, at its size"
        )


def distinct_nodes(nodes: Nodes, scores: Sequence[float] | np.ndarray, iou: float = DUPLICATE_IOU) -> list[int]:
    """Return the indices of the boxes to keep, in their order, so that no two of any class overlap by `iou` or more.

    Of two that do, the one with the higher score stays, then the lower index. Ultralytics removes duplicates within
    a class; one that is seen as two classes would stand between a node and its parent, or be its own parent's twin.

    Args:
        nodes: (N, 4) boxes xyxy.
        scores: N confidences.
        iou: Intersection over union, in (0, 1].
    """
    boxes, scores = check_boxes(nodes), np.asarray(scores, dtype=float)
    if scores.shape != (len(boxes),):
        raise ValueError(f"scores must hold one number a node, got shape {scores.shape} for {len(boxes)} nodes")
    overlap, kept = overlaps(boxes, boxes), []
    for i in np.argsort(-scores, kind="stable"):
        if not (overlap[i, kept] >= iou).any():
            kept.append(int(i))
    return sorted(kept)


def _containment_parents(boxes: np.ndarray) -> list[int]:
    """Let each box, the smallest first, take those inside it that no smaller one has taken.

    A box that covers 80 % of another covers more than half of each of its sides, and so its middle: only middles in a
    box's columns are looked at, found in their order from left to right.
    """
    boxes = boxes * _unit(boxes)
    areas, middles = _areas(boxes), boxes[:, :2] / 2 + boxes[:, 2:] / 2
    parents, taken, covered = np.full(len(boxes), -1), np.full(len(boxes), np.inf), np.zeros(len(boxes))
    free = np.argsort(middles[:, 0], kind="stable")  # taken by none, but perhaps by one as large as the present
    for number, i in enumerate(np.argsort(areas, kind="stable")):
        if number % SWEEP == 0:
            free = free[taken[free] >= areas[i]]
            x, y = middles[free].T
        columns = slice(np.searchsorted(x, boxes[i, 0], "left"), np.searchsorted(x, boxes[i, 2], "right"))
        inside = free[columns][(y[columns] >= boxes[i, 1]) & (y[columns] <= boxes[i, 3])]
        inside = inside[(areas[inside] > 0) & (areas[i] >= PARENT_AREA * areas[inside]) & (taken[inside] >= areas[i])]
        cover = _intersections(boxes[inside], boxes[i][None])[:, 0] / areas[inside]
        better = (cover >= PARENT_COVER) & ((taken[inside] > areas[i]) | (cover > covered[inside]))
        children = inside[better]
        parents[children], taken[children], covered[children] = i, areas[i], cover[better]
    return parents.tolist()


def _is_tree(boxes: np.ndarray, parents: list[int]) -> bool:
    """Tell whether a tidy tree over N >= 1 boxes is one that was drawn.

    Tidy: a node costs at most 0.06 of the drawing's mean side, see `_best_tree`. A tree branches (at least 3 of 4 nodes
    other than the root have a sibling), and siblings look alike, unlike the symbols of a flow chart (their highest are
    together at most 1.5 times as high as their lowest).
    """
    order = np.argsort(parents, kind="stable")
    families = np.split(order, np.flatnonzero(np.diff(np.take(parents, order))) + 1)
    siblings = [family for family in families if len(family) > 1 and parents[family[0]] >= 0]
    heights = [boxes[family, 3] - boxes[family, 1] for family in siblings]
    branches = sum(map(len, heights)) >= max(1, SIBLINGS * (len(boxes) - 1))
    alike = sum(h.max() for h in heights) <= ALIKE * sum(h.min() for h in heights)
    return branches and alike


def _layout_parents(boxes: np.ndarray) -> list[int]:
    return _best_tree(boxes) if len(boxes) else []


def _best_tree(boxes: np.ndarray, most: float = np.inf) -> list[int] | None:
    """Read the boxes as a tidy tree that grows outwards from one level of roots, along x or along y.

    Boxes fall into levels, columns along x or rows along y. From the level of the roots each next level outwards holds
    the children of the one before it, in the same order, and a parent stands at the middle of its children
    (`_assign_level`). All choices of axis and root level are tried; the cheapest wins. Costs are displacements: of
    parents from that middle, of nodes from the line of their level, and half the drawing for each root beyond the
    first. A mind map is the case of a root in a middle column.

    Returns:
        Parents; None where every tree costs more than `most`.
    """
    root_cost = float(_extent(boxes).mean())
    best_cost, best = most, None
    for axis in (1, 0):  # rows first: ties read as an organisation chart
        levels = _levels(boxes, axis)
        across = (boxes[:, 1 - axis] + boxes[:, 3 - axis]) / 2
        ragged = sum(_raggedness(boxes[level][:, [axis, axis + 2]]) for level in levels)
        own = [ragged + root_cost * (len(level) - 1) for level in levels]
        roots = [k for k, cost in enumerate(own) if cost <= best_cost]
        if not roots:
            continue
        inwards = [_families(levels[i + 1], levels[i], across) for i in range(roots[-1])]
        outwards = {i: _families(levels[i], levels[i + 1], across) for i in range(roots[0], len(levels) - 1)}
        for k in roots:
            steps = inwards[:k] + [outwards[i] for i in range(k, len(levels) - 1)]
            cost = sum(cost for cost, _ in steps) + own[k]
            if cost < best_cost - SAME or best is None and cost <= best_cost:
                best_cost, best = cost, {child: parent for _, edges in steps for child, parent in edges.items()}
    return None if best is None else [best.get(i, -1) for i in range(len(boxes))]


def _extent(boxes: np.ndarray) -> np.ndarray:
    """Return the (width, height) of the drawing that N >= 1 boxes span."""
    return boxes[:, 2:].max(0) - boxes[:, :2].min(0)


def _levels(boxes: np.ndarray, axis: int) -> list[list[int]]:
    """Split boxes into columns (axis 0) or rows (axis 1): runs of intervals whose middle 70 % touch."""
    low, high = boxes[:, axis], boxes[:, axis + 2]
    low, high = low + 0.15 * (high - low), high - 0.15 * (high - low)
    levels, end = [], -np.inf
    for i in np.argsort(low, kind="stable"):
        if low[i] > end:
            levels.append([])
        levels[-1].append(int(i))
        end = max(end, high[i])
    return levels


def _raggedness(spans: np.ndarray) -> float:
    """Return how far the (M, 2) spans of a level are from sharing their start, their middle or their end, summed."""
    lines = np.column_stack([spans, spans.mean(1)])
    return float(np.abs(lines - np.median(lines, axis=0)).sum(0).min())


def _families(parents: list[int], children: list[int], across: np.ndarray) -> tuple[float, dict[int, int]]:
    """Give the nodes of one level parents in the level before it; return (cost, {child: parent})."""
    parents, children = (sorted(level, key=lambda i: across[i]) for level in (parents, children))
    cost, chosen = _assign_level(across[parents], across[children])
    return cost, {child: parents[p] for child, p in zip(children, chosen)}


def _assign_level(parents: np.ndarray, children: np.ndarray) -> tuple[float, list[int]]:
    """Cut the sorted children into runs, one a parent in order, so that each parent stands at the middle of its run.

    A run costs its size times the distance from its parent to the middle between its ends, and a tenth of its width so
    that ties go to narrow families; a parent may have no run. Solved exactly by dynamic programming over (parents
    used, children placed).

    Args:
        parents, children: (P,) and (C,) sorted positions across the direction of growth, P >= 1.

    Returns:
        (cost, list of C parent indices).
    """
    count = len(children)
    most = _first_cost(parents, children) * (1 + SAME)
    best = [np.append(0.0, np.full(count, np.inf))]
    for position in parents:
        best.append(best[-1].copy())
        starts, lasts = _runs_within(children, position, most - best[-2][:-1])
        costs = best[-2][starts] + _run_costs(children, position, starts, lasts)
        np.minimum.at(best[-1], lasts + 1, costs)
    chosen, end = [0] * count, count
    for p in range(len(parents), 0, -1):
        if best[p][end] < best[p - 1][end]:
            starts = np.arange(end)
            costs = best[p - 1][:end] + _run_costs(children, parents[p - 1], starts, end - 1)
            start = int(costs.argmin())
            chosen[start:end] = [p - 1] * (end - start)
            end = start
    return float(best[-1][-1]), chosen


def _run_costs(children: np.ndarray, position: float, starts: np.ndarray, lasts: np.ndarray | int) -> np.ndarray:
    """Return what runs of children, from `starts` to `lasts` inclusive, cost a parent at this position."""
    left, right = children[starts], children[lasts]
    return (lasts + 1 - starts) * np.abs(position - (left + right) / 2) + 0.1 * (right - left)


def _first_cost(parents: np.ndarray, children: np.ndarray) -> float:
    """Return what a good assignment costs, so the best one at most: each child to the nearest, or all to one."""
    ends = np.flatnonzero(np.diff(nearest := np.abs(children[:, None] - parents).argmin(1), append=-1))
    starts = np.append(0, ends[:-1] + 1)
    split = _run_costs(children, parents[nearest[ends]], starts, ends).sum()
    whole = _run_costs(children, parents, np.zeros(len(parents), int), len(children) - 1).min()
    return float(min(split, whole))


def _runs_within(children: np.ndarray, position: float, spare: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (starts, lasts) of all runs that cost this parent at most the `spare` of their start, and a few others.

    A run of n children has its middle within spare / n of the parent: the runs of 1, of 2 to 3, of 4 to 7 children, and
    so on, of one start end within a stretch of the children, which is found by bisection.
    """
    starts = np.flatnonzero(spare >= 0)[:, None]
    sizes = 1 << np.arange(len(children).bit_length())
    reach = 2 * spare[starts] / sizes
    opposite = 2 * position - children[starts]  # where the last child would stand whose run has its middle here
    first = np.maximum(np.searchsorted(children, opposite - reach, "left"), starts + sizes - 1)
    behind = np.minimum(np.searchsorted(children, opposite + reach, "right"), starts + 2 * sizes - 1)
    counts = np.maximum(behind - first, 0)
    begins = np.cumsum(counts).reshape(counts.shape) - counts
    lasts = np.repeat((first - begins).ravel(), counts.ravel()) + np.arange(counts.sum())
    return np.repeat(starts[:, 0], counts.sum(1)), lasts


# ---------------------------------------------------------------------------------------------------------------- score


def metric(
    pred: Iterable[tuple[Nodes, Sequence[int]]], true: Iterable[tuple[Nodes, Sequence[int]]], iou: float = 0.5
) -> tuple[float, float, float]:
    """Return (precision, recall, F1) of the edges child -> parent, counted over all images together (micro).

    In each image predicted and true boxes are matched one to one so that the sum of IoU is largest (Hungarian method),
    after pairs under `iou` are struck out. A predicted edge is right when its child and its parent both have a match
    and the two matches are joined by a true edge in the same direction. Precision is right / predicted edges, recall
    right / true edges, F1 = 2 right / (predicted + true); 0 / 0 is 0. Roots are not edges; classes play no part.

    Args:
        pred, true: For each image, in the same order, a pair (boxes_xyxy (N, 4), N parents); both in the same unit.
        iou: Least overlap of a match, in (0, 1].

    Raises:
        ValueError: Different numbers of images, a bad box, or parents that do not fit their boxes; names the image.

    Of two true edges one is found beside a wrong one; then a node is missed, and its edge with it:

        >>> lane, box, node = [0, 0, 100, 60], [5, 5, 60, 55], [10, 10, 40, 30]
        >>> metric([([lane, box, node], [-1, 0, 0])], [([lane, box, node], [-1, 0, 1])])
        (0.5, 0.5, 0.5)
        >>> precision, recall, f1 = metric([([lane, box], [-1, 0])], [([lane, box, node], [-1, 0, 1])])
        >>> precision, recall, round(f1, 3)
        (1.0, 0.5, 0.667)
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be in (0, 1], got {iou!r}")
    right = predicted = actual = 0
    for index, (a, b) in enumerate(zip_longest(pred, true)):
        if a is None or b is None:
            shorter = "pred" if a is None else "true"
            raise ValueError(f"pred and true must hold equally many images, but {shorter} ends after {index}")
        try:
            counts = _count_edges(*a, *b, iou)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from None
        right, predicted, actual = right + counts[0], predicted + counts[1], actual + counts[2]
    return _ratio(right, predicted), _ratio(right, actual), _ratio(2 * right, predicted + actual)


def _count_edges(
    pred_boxes: Nodes, pred_parents: Sequence[int], true_boxes: Nodes, true_parents: Sequence[int], iou: float
) -> tuple[int, int, int]:
    """Return (right, predicted, true) numbers of edges of one image."""
    pred_boxes, true_boxes = check_boxes(pred_boxes), check_boxes(true_boxes)
    pred_parents, true_parents = check_parents(pred_parents, pred_boxes), check_parents(true_parents, true_boxes)
    twin = match_boxes(overlaps(pred_boxes, true_boxes), iou)
    true_edges = {(child, parent) for child, parent in enumerate(true_parents) if parent >= 0}
    pred_edges = [(child, parent) for child, parent in enumerate(pred_parents) if parent >= 0]
    right = sum((twin.get(child), twin.get(parent)) in true_edges for child, parent in pred_edges)
    return right, len(pred_edges), len(true_edges)


def match_boxes(overlap: np.ndarray, iou: float) -> dict[int, int]:
    """Return {row: column} of the one-to-one matching of (N, M) overlaps with the largest sum, none under `iou`."""
    overlap = np.where(overlap < iou, 0, overlap)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns) if overlap[r, c] > 0}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


# -------------------------------------------------------------------------------------------------------------- drawing

DEPTH_COLORS = ((30, 105, 235), (150, 110, 20), (160, 40, 120), (40, 125, 30))  # BGR: orange roots, teal, purple, green
EDGE_COLOR, WHITE = (60, 20, 200), (255, 255, 255)  # crimson
SHORTEST_ARROW = 8  # px: nearer sides leave no room for an arrow


def visualize_nodes(
    image: np.ndarray,
    nodes: Nodes,
    parents: Sequence[int],
    labels: Sequence[str] | None = None,
    thickness: int | None = None,
    strokes: Mapping[int, np.ndarray] | None = None,
) -> np.ndarray:
    """Return a new image with the nodes outlined and an arrow from each child to its parent; needs no screen.

    Roots are orange, other nodes coloured by their depth. The arrow to a parent that encloses the child ends at one of
    the parent's sides, near and with few nodes in between; else it joins the two facing sides. A root (-1) has no
    arrow. Labels go where they cover the least of nodes and of each other.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8; it is not changed.
        nodes: (N, 4) boxes xyxy in pixels.
        parents: N indices, -1 for a root.
        labels: N texts written at the boxes, or None. OpenCV's font draws other than ASCII as `?`.
        thickness: Of lines, in pixels; by default from the size of the image.
        strokes: Child -> points (K, 2) x, y that its arrow runs along, as in `Relations`.

    Returns:
        (H, W, 3) BGR, uint8.

    Raises:
        ValueError: An image of another type or shape, a bad box, or parents or labels that do not fit the boxes.
    """
    canvas = to_bgr(image)
    boxes = check_boxes(nodes)
    parents = check_parents(parents, boxes)
    if labels is not None and len(labels) != len(boxes):
        raise ValueError(f"labels must hold one text a node, got {len(labels)} for {len(boxes)} nodes")
    width = thickness or line_width(canvas)
    colors = [DEPTH_COLORS[min(depth, len(DEPTH_COLORS) - 1)] for depth in _depths(parents)]
    by_size = np.argsort(-_areas(boxes), kind="stable")  # large first, so that small nodes stay visible
    for i in by_size:
        draw_box(canvas, boxes[i], colors[i], width)
    for i in by_size:
        if parents[i] >= 0 and i in (strokes or {}):
            draw_along(canvas, strokes[i], EDGE_COLOR, width)
        elif parents[i] >= 0:
            draw_arrow(canvas, *arrow_ends(boxes[i], boxes[parents[i]], boxes), EDGE_COLOR, width)
    if labels is not None:
        leaves = boxes[sorted(set(range(len(boxes))) - set(parents))]
        draw_labels(canvas, boxes, labels, colors, leaves)
    return canvas


def line_width(canvas: np.ndarray) -> int:
    """Return the thickness of lines, in pixels, that suits an image."""
    return max(1, round(max(canvas.shape[:2]) / 480))


def _depths(parents: list[int]) -> list[int]:
    """Return how many parents each node has above it; a cycle ends the count."""
    depths = []
    for node in range(len(parents)):
        above = {node}
        while (node := parents[node]) >= 0 and node not in above:
            above.add(node)
        depths.append(len(above) - 1)
    return depths


def to_bgr(image: np.ndarray) -> np.ndarray:
    """Return a fresh contiguous (H, W, 3) copy."""
    image = np.asarray(image)
    fits = image.ndim in (2, 3) and 0 not in image.shape and image.shape[2:] in ((), (1,), (3,), (4,))
    if image.dtype != np.uint8 or not fits:
        raise ValueError(f"image must be uint8, (H, W) or (H, W, 1|3|4), got {image.dtype} of shape {image.shape}")
    image = image.reshape(*image.shape[:2], -1)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3].copy()


def draw_box(canvas: np.ndarray, box: np.ndarray, color: tuple, width: int, dashed: bool = False) -> None:
    """Outline a box xyxy, haloed in white so that it shows on any ground."""
    corners = box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]]
    for paint, stroke in ((WHITE, width + 2), (color, width)):
        for start, end in zip(corners, corners[1:] + corners[:1]):
            _draw_line(canvas, start, end, paint, stroke, 8 * width if dashed else 0)


def draw_arrow(
    canvas: np.ndarray,
    tail: np.ndarray,
    head: np.ndarray,
    color: tuple,
    width: int,
    dashed: bool = False,
    dot: bool = True,
) -> None:
    """Draw an arrow from `tail` (x, y), where it has a dot, to a filled tip at `head`, haloed in white."""
    length = max(1e-9, float(np.hypot(*(head - tail))))
    size = min(3 + 4.0 * width, 0.6 * length)
    along = (head - tail) / length * size
    neck, aside = head - along, 0.45 * along[::-1] * (-1, 1)
    tip = np.array([_point(p) for p in (head, neck + aside, neck - aside)])
    for paint, stroke in ((WHITE, width + 2), (color, width)):
        _draw_line(canvas, tail, neck, paint, stroke, 8 * width if dashed else 0)
        cv2.polylines(canvas, [tip], True, paint, stroke, cv2.LINE_AA)
    cv2.fillConvexPoly(canvas, tip, color, cv2.LINE_AA)
    if dot:
        cv2.circle(canvas, _point(tail), 1 + width, color, -1, cv2.LINE_AA)


def draw_along(canvas: np.ndarray, path: np.ndarray, color: tuple, width: int) -> None:
    """Draw an arrow along points (K, 2) x, y, from the first to the last."""
    corners = cv2.approxPolyDP(np.asarray(path, np.float32)[:, None], 1.5 * width, False)[:, 0].astype(float)
    cv2.polylines(canvas, [np.round(corners).astype(np.int32)], False, WHITE, width + 2, cv2.LINE_AA)
    cv2.polylines(canvas, [np.round(corners).astype(np.int32)], False, color, width, cv2.LINE_AA)
    tail = corners[-2] if len(corners) > 1 else corners[-1]
    draw_arrow(canvas, tail, corners[-1], color, width, dot=False)
    cv2.circle(canvas, _point(corners[0]), 1 + width, color, -1, cv2.LINE_AA)


def _draw_line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: tuple, width: int, dash: int) -> None:
    """Draw a line from start to end, both (x, y); with dash > 0 in strokes of about that many pixels."""
    strokes = max(1, round(float(np.hypot(*(end - start))) / (2 * dash))) if dash else 1
    for k in range(strokes):
        share = np.array([k, k + 0.5 if dash else k + 1]) / strokes
        first, last = (start + (end - start) * s for s in share)
        cv2.line(canvas, _point(first), _point(last), color, width, cv2.LINE_AA)


def arrow_ends(child: np.ndarray, parent: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (tail on the child's outline, head on the parent's), each (2,) float; `boxes` may stand in between."""
    middle = (child[:2] + child[2:]) / 2
    if not (np.all(middle >= parent[:2]) and np.all(middle <= parent[2:])):
        other = (parent[:2] + parent[2:]) / 2
        return _leave(child, middle, other), _leave(parent, other, middle)
    gaps = np.concatenate([child[:2] - parent[:2], parent[2:] - child[2:]])  # at the left, top, right, bottom side
    ways = np.tile(np.concatenate([middle, middle]), (4, 1))  # (4, 4) thin boxes from the child's side to the parent's
    for side, (a, b) in enumerate(((parent, child), (parent, child), (child, parent), (child, parent))):
        ways[side, side % 2], ways[side, side % 2 + 2] = a[side], b[side]
    around = (boxes[:, :2] <= middle).all(1) & (boxes[:, 2:] >= middle).all(1)  # the child and what encloses it
    meets = (ways[:, None, :2] <= boxes[~around, 2:]).all(2) & (ways[:, None, 2:] >= boxes[~around, :2]).all(2)
    side = int(np.where(gaps >= SHORTEST_ARROW, gaps * (1 + 2 * meets.sum(1)), 1e9 - gaps).argmin())
    tail, head = middle.copy(), middle.copy()
    tail[side % 2], head[side % 2] = child[side], parent[side]
    return tail, head


def _leave(box: np.ndarray, middle: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Return where the line from a box's middle to a point outside it crosses the outline."""
    step = towards - middle
    half = (box[2:] - box[:2]) / 2
    reach = np.divide(half, np.abs(step), out=np.full(2, np.inf), where=step != 0).min()
    return middle + step * min(1.0, reach)


def draw_labels(canvas: np.ndarray, boxes: np.ndarray, labels: Sequence[str], colors: list, busy: np.ndarray) -> None:
    """Write each label at a corner of its box, where it covers the least of the busy boxes and of other labels."""
    for box, text, color in zip(boxes, map(str, labels), colors):
        scale = max(0.34, 0.36 * max(canvas.shape[:2]) / 640)
        (wide, high), drop = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        size = np.array([wide + 4, high + drop + 2])
        left, right = box[0], box[2] - size[0]
        corners = [(left, box[1] - size[1]), (left, box[3]), (right, box[1] - size[1]), (right, box[3]), box[:2]]
        places = np.clip(np.round(corners), 0, np.maximum(0, np.array(canvas.shape[1::-1]) - size))
        tags = np.hstack([places, places + size])
        tag = tags[_intersections(tags, busy).sum(1).argmin()]
        busy = np.vstack([busy, tag])
        x, y = _point(tag[:2])
        cv2.rectangle(canvas, (x, y), (x + wide + 4, y + high + drop + 2), color, -1)
        stroke = max(1, round(scale / 0.5))
        cv2.putText(canvas, text, (x + 2, y + high + 2), cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, stroke, cv2.LINE_AA)


def _point(xy: np.ndarray) -> tuple[int, int]:
    return int(round(float(xy[0]))), int(round(float(xy[1])))


# -------------------------------------------------------------------------------------------------------------- helpers


def check_boxes(boxes: Nodes) -> np.ndarray:
    """Return boxes as float64 (N, 4), or raise ValueError that names the first bad one."""
    rows = [np.asarray(box, dtype=float) for box in boxes]
    for i, row in enumerate(rows):
        if row.shape != (4,) or not np.isfinite(row).all() or (row[2:] < row[:2]).any():
            wanted = "4 finite numbers x1 y1 x2 y2 with x1 <= x2 and y1 <= y2"
            raise ValueError(f"box {i} must be {wanted}, got {row.tolist()}")
    return np.array(rows).reshape(-1, 4)


def check_parents(parents: Sequence[int], boxes: np.ndarray) -> list[int]:
    """Return parents as a list of N integers, or raise ValueError that names the first bad one."""
    parents = [int(p) for p in parents]
    if len(parents) != len(boxes):
        raise ValueError(f"parents must hold one index a node, got {len(parents)} for {len(boxes)} nodes")
    for i, p in enumerate(parents):
        if not -1 <= p < len(boxes) or p == i:
            raise ValueError(f"node {i}'s parent must be another node's index or -1, got {p} with {len(boxes)} nodes")
    return parents


def _unit(*several: np.ndarray) -> float:
    """Return the power of two that brings boxes to a size whose areas are finite and no smaller than numbers can be.

    Being a power of two it changes no ratio.
    """
    largest = max((np.abs(boxes).max(initial=0) for boxes in several), default=0)
    return 2.0 ** -int(np.frexp(largest)[1]) if largest > 1e100 or 0 < largest < 1e-100 else 1.0


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the (N, M) areas that boxes a (N, 4) and b (M, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the (N, M) intersections over union of boxes a (N, 4) and b (M, 4); 0 where neither has an area."""
    unit = _unit(a, b)
    a, b = a * unit, b * unit
    shared = _intersections(a, b)
    union = _areas(a)[:, None] + _areas(b)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def __getattr__(name: str) -> Any:
    """Fetch what reads labelled nodes; only then Ultralytics is imported."""
    if name not in ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ultralytics.slim import plabels

    return getattr(plabels, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *ELSEWHERE})
