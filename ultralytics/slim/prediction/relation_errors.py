"""Where the relations of an image are lost: found nodes and edges beside the true ones, and a picture of them.

Nodes and parents are those of `relation.py`. Pure functions; nothing is printed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from relation import (
    Relations,
    arrow_ends,
    check_boxes,
    check_parents,
    draw_arrow,
    draw_box,
    draw_labels,
    line_width,
    match_boxes,
    overlaps,
    read_relations,
    to_bgr,
)

LOOSE_IOU = 0.2  # an unmatched box that overlaps an unmatched true one so much is that node, loosely boxed
CAUSES = {
    "child missed": "there is no box for the child",
    "parent missed": "there is no box for its true parent",
    "loose box": "the box of the child or the parent overlaps the true one, but too little to match",
    "duplicate": "the child, or the parent that was found, is a further box of a node that has one",
    "no node": "the child, or the parent that was found, is a box where there is no node",
    "corners": "all boxes are there, and the rule would be right on the true ones",
    "rule": "all boxes are there, and the rule is wrong on the true ones too",
    "line missed": "all boxes are there, but no stroke was followed from the child, not even from its true box",
    "wrong line": "all boxes are there, but a stroke was followed to another, from the true boxes too",
}


class LostEdge(NamedTuple):
    """An edge child -> parent that is wrong (found, not true; indices of found boxes) or missed (of true boxes)."""

    child: int
    parent: int
    wrong: bool
    cause: str


@dataclass(frozen=True)
class Comparison:
    """What was found in one image beside what is there.

    Attributes:
        twins: The true node of each matched found node.
        right: The found edges (child, parent) that are true, as indices of found boxes.
        lost: Every other found edge and every true edge without a found one, each with one of `CAUSES`.
        spare: What each unmatched found node is: `loose box`, `duplicate` or `no node`.
        missed: What each unmatched true node is: `loose box` or `missed`.
    """

    twins: dict[int, int]
    right: list[tuple[int, int]]
    lost: list[LostEdge]
    spare: dict[int, str]
    missed: dict[int, str]

    @property
    def causes(self) -> dict[str, int]:
        """How many edges each of `CAUSES` lost."""
        counts = Counter(edge.cause for edge in self.lost)
        return {cause: counts[cause] for cause in CAUSES}

    @property
    def scores(self) -> dict[str, int | float | None]:
        """Numbers of nodes and edges; precision, recall and F1 of the edges, None where there are none to judge."""
        right, wrong = len(self.right), sum(edge.wrong for edge in self.lost)
        found, true = right + wrong, right + len(self.lost) - wrong
        matched = len(self.twins)
        nodes = {"nodes_true": matched + len(self.missed), "nodes_found": matched + len(self.spare)}
        nodes["nodes_matched"] = matched
        edges = {"edges_true": true, "edges_found": found, "edges_right": right}
        parts = {"precision": (right, found), "recall": (right, true), "f1": (2 * right, found + true)}
        return {**nodes, **edges, **{name: part / whole if whole else None for name, (part, whole) in parts.items()}}


def compare_nodes(pred: tuple, true: tuple, mode: str, iou: float = 0.5, image: np.ndarray | None = None) -> Comparison:
    """Compare what was found in an image with what is there; give each lost edge the one cause that came first.

    An edge counts as in `relation.metric`. So a wrong edge and the true one that it stands in for are two lost edges,
    and those of all causes together are all lost ones: 1 - F1 = lost / (found + true). The causes are asked in turn:
    is there a box for the child, for its true parent, is the parent that was found the box of a node, and is it the
    boxes' corners or the rule that misled.

    Args:
        pred, true: (boxes_xyxy (N, 4), N parents) each, in the same unit.
        mode: Of `find_parent_nodes`, by which the parents in `pred` were found.
        iou: Least overlap of a match.
        image: The picture, for modes that look at it.
    """
    boxes, true_boxes = check_boxes(pred[0]), check_boxes(true[0])
    parents, true_parents = check_parents(pred[1], boxes), check_parents(true[1], true_boxes)
    node_of, spare, missed = _pair(overlaps(boxes, true_boxes), iou)
    box_of = {node: box for box, node in node_of.items()}

    @cache
    def ideal() -> Relations:
        """What the rule says of the true boxes; strokes take a while, and images without a lost edge do without."""
        return read_relations(true_boxes, mode, image)

    def cause(child: int, found_parent: int) -> str:
        """Why the true node `child`, which has a box, did not find its parent."""
        if (parent := true_parents[child]) >= 0 and parent in missed:
            return _why(missed[parent], "parent")
        if found_parent in spare:
            return spare[found_parent]
        if ideal().parents[child] == parent:
            return "corners"
        if ideal().mode != "connectors":
            return "rule"
        return "line missed" if ideal().parents[child] < 0 else "wrong line"

    right, lost = [], []
    for child, parent in enumerate(parents):
        if parent >= 0 and child in node_of and node_of.get(parent) == true_parents[node_of[child]]:
            right.append((child, parent))
        elif parent >= 0:
            lost.append(LostEdge(child, parent, True, spare.get(child) or cause(node_of[child], parent)))
    done = {node_of[child] for child, _ in right}
    for child, parent in enumerate(true_parents):
        if parent >= 0 and child not in done:
            why = _why(missed[child], "child") if child in missed else cause(child, parents[box_of[child]])
            lost.append(LostEdge(child, parent, False, why))
    return Comparison(node_of, right, lost, spare, missed)


def _pair(overlap: np.ndarray, iou: float) -> tuple[dict[int, int], dict[int, str], dict[int, str]]:
    """Match found boxes (rows) with true nodes (columns).

    Returns:
        ({box: node}, what each box without a node is, what each node without a box is).
    """
    node_of = match_boxes(overlap, iou)
    rest = overlap.copy()
    rest[list(node_of)] = 0
    rest[:, list(node_of.values())] = 0
    loose = match_boxes(rest, LOOSE_IOU)
    spare, missed = {}, {}
    for box in set(range(len(overlap))) - set(node_of):
        near = "duplicate" if (overlap[box] >= iou).any() else "no node"  # its match went to a better box
        spare[box] = "loose box" if box in loose else near
    for node in set(range(overlap.shape[1])) - set(node_of.values()):
        missed[node] = "loose box" if node in loose.values() else "missed"
    return node_of, spare, missed


def _why(missed: str, end: str) -> str:
    return f"{end} missed" if missed == "missed" else missed


# -------------------------------------------------------------------------------------------------------------- picture

RIGHT, WRONG, MISSED = (50, 140, 20), (40, 30, 215), (190, 90, 10)  # BGR: green, red, blue


def visualize_errors(image: np.ndarray, pred: tuple, true: tuple, comparison: Comparison) -> np.ndarray:
    """Return a new image with right nodes and edges in green, wrong ones in red, and missed ones dashed in blue.

    Labels tell what is amiss with a node, or with the parent of one whose boxes are all there. A line under the image
    counts the edges, so the result is higher than the image.
    """
    canvas = to_bgr(image)
    width, boxes, true_boxes = line_width(canvas), check_boxes(pred[0]), check_boxes(true[0])
    outlines = [(box, RIGHT if i in comparison.twins else WRONG, False) for i, box in enumerate(boxes)]
    outlines += [(true_boxes[i], MISSED, True) for i in comparison.missed]
    for box, color, dashed in sorted(outlines, key=lambda o: -float(np.prod(o[0][2:] - o[0][:2]))):
        draw_box(canvas, box, color, width, dashed)
    for child, parent in comparison.right:
        draw_arrow(canvas, *arrow_ends(boxes[child], boxes[parent], boxes), RIGHT, width)
    tags = [(boxes[i], what, WRONG) for i, what in comparison.spare.items()]
    tags += [(true_boxes[i], what, MISSED) for i, what in comparison.missed.items()]
    misled = {comparison.twins.get(edge.child) for edge in comparison.lost if edge.wrong}
    for edge in sorted(comparison.lost, key=lambda edge: edge.wrong):
        among, color = (boxes, WRONG) if edge.wrong else (true_boxes, MISSED)
        ends = arrow_ends(among[edge.child], among[edge.parent], among)
        ends = _aside(*ends, 4 * width) if not edge.wrong and edge.child in misled else ends
        draw_arrow(canvas, *ends, color, width, dashed=not edge.wrong)
        if edge.cause in ("corners", "rule", "line missed", "wrong line"):
            tags.append((among[edge.child], edge.cause, color))
    if tags:
        draw_labels(canvas, *zip(*tags), np.vstack([boxes, true_boxes[list(comparison.missed)]]))
    return np.vstack([canvas, _count_line(canvas.shape[1], comparison)])


def _aside(tail: np.ndarray, head: np.ndarray, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Move an arrow to the right of its way, so that a missed edge shows beside the wrong one that stands in for it."""
    along = (head - tail) / max(1e-9, float(np.hypot(*(head - tail))))
    return tuple(end + by * along[::-1] * (-1, 1) for end in (tail, head))


def _count_line(wide: int, comparison: Comparison) -> np.ndarray:
    """Return a white strip (H, wide, 3) with the numbers of right, wrong and missed edges in their colours."""
    counts = comparison.scores
    right = counts["edges_right"]
    words = [(f"right {right}", RIGHT), (f"wrong {counts['edges_found'] - right}", WRONG)]
    words += [(f"missed {counts['edges_true'] - right}", MISSED)]
    words += [(f"F1 {counts['f1']:.2f}", (0, 0, 0))] if counts["f1"] is not None else []
    scale = wide / 1000
    strip, x = np.full((max(12, round(40 * scale)), wide, 3), 255, np.uint8), round(16 * scale)
    for word, color in words:
        cv2.putText(strip, word, (x, round(27 * scale)), cv2.FONT_HERSHEY_SIMPLEX, 0.75 * scale, color, 1, cv2.LINE_AA)
        x += round(210 * scale)
    return strip
