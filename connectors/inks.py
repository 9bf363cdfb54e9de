"""The inks that connectors are drawn in, on a picture where much else is thin: the colours of short lines at boxes.

Connectors of one drawing have one ink, or few, and end at boxes; what else is thin there has any colour. So the colours
that short straight pieces beside most boxes have in common are tried: each is scored by how many boxes it is seen at,
how many it joins, and how much more of it there is than connectors would need.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from .boxes import MARGIN, gaps
from .thin import AROUND, CONTRAST, THIN, largest, lightness

RING, NEAR, SHORT = 24, 8, 5.5  # pixels around a box that pieces are looked for in, that touch it; least length of one
LOCAL, OVER = 31, 2.2  # pixels, and how far a piece stands out of the thin things within them
BENT = 3.0  # pixels squared: variance across a piece above which it is not straight
PURE = 0.8  # share of a piece whose pixels are paler, blended with what is behind it
PLAIN_PIECE, ALIKE = 40, 36  # largest difference of a channel within a piece, and within an ink
RANGE, CLEAR, ABOVE = 40, 60, 4.0  # differences that make an ink; least response, and how far over what is around it
AMPLE = 6.0  # ink per length of the shortest tree over all boxes above which there is too much
DASHED = 11  # pixels; gaps of dashes
TRIED, LIKELY = 3, 0.25  # inks that are returned at most, and their least score


class Piece(NamedTuple):
    """A short straight piece: its colour, the largest difference of a channel within it, and the box beside it."""

    color: np.ndarray
    spread: float
    box: int


def masks(image: np.ndarray, response: np.ndarray, boxes: np.ndarray, inside: np.ndarray) -> list[np.ndarray]:
    """Return (H, W) uint8: what is thin in each of the likeliest inks, the best first.

    Args:
        image: (H, W, 3) BGR uint8.
        response: (H, W) its thinness.
        boxes: (N, 4) xyxy.
        inside: (H, W) bool, what lies in a box.
    """
    scored, needed = [], AMPLE * _shortest(boxes)
    for ink, seen in _inks(_pieces(image, response, boxes, inside)):
        mask = _thin_in(image, ink)
        mask[inside] = 0
        enough = min(1.0, needed / max(1, int(mask.sum())))
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((DASHED, DASHED), np.uint8))
        closed[inside] = 0
        joined = max(_joined(mask, boxes), 0.7 * _joined(closed, boxes))
        scored.append((enough * (joined + 2 * seen / len(boxes)), mask))
    scored.sort(key=lambda one: -one[0])
    return [mask for score, mask in scored[:TRIED] if score >= LIKELY]


def _pieces(image: np.ndarray, response: np.ndarray, boxes: np.ndarray, inside: np.ndarray) -> list[Piece]:
    beside = np.zeros(inside.shape, np.int32)
    for i, part in enumerate(_around(boxes, RING)):
        beside[part] = i + 1
    thin = response > np.maximum(CONTRAST, OVER * cv2.blur(response, (LOCAL, LOCAL)))
    strong = (thin & ~inside & (beside > 0)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strong, connectivity=8)
    found = []
    for k in range(1, count):
        x, y, wide, high, area = stats[k]
        long = max(wide, high)
        if long < SHORT or not 0.8 * long <= area <= 5 * long:
            continue
        ys, xs = np.nonzero(labels[y : y + high, x : x + wide] == k)
        if np.linalg.eigvalsh(np.cov(xs, ys, bias=True))[0] > BENT:
            continue
        ys, xs = ys + y, xs + x
        core = response[ys, xs] >= np.quantile(response[ys, xs], PURE)
        colors = image[ys[core], xs[core]].astype(float)
        middle = np.median(colors, axis=0)
        found.append(Piece(middle, float(np.median(np.abs(colors - middle).max(1))), int(beside[ys[0], xs[0]]) - 1))
    return found


def _around(boxes: np.ndarray, margin: int) -> list[tuple[slice, slice]]:
    """Return the part of the picture that each box takes with its outline and so many pixels around it."""
    grown = boxes + np.array([-1, -1, 1, 1]) * (MARGIN + margin)
    ends = np.column_stack([np.floor(grown[:, :2]), np.ceil(grown[:, 2:]) + 1]).astype(int).clip(0)
    return [(slice(y1, y2), slice(x1, x2)) for x1, y1, x2, y2 in ends]


def _inks(pieces: list[Piece]) -> list[tuple[np.ndarray, int]]:
    """Return colours, and at how many boxes each is: five at most, that of most boxes first, each of other pieces."""
    left, found = [piece for piece in pieces if piece.spread <= PLAIN_PIECE], []
    while left and len(found) < 5:
        colors = np.array([piece.color for piece in left])
        alike = np.abs(colors[:, None] - colors[None]).max(2) <= ALIKE
        seen = np.array([len({piece.box for piece, one in zip(left, row) if one}) for row in alike])
        best = (seen + 0.01 * alike.sum(1)).argmax()
        if found and seen[best] < 2:
            break
        found.append((np.median(colors[alike[best]], axis=0), int(seen[best])))
        left = [piece for piece, one in zip(left, alike[best]) if not one]
    return found


def _thin_in(image: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: 1 where something thin is more like the ink than what is around it."""
    off = largest(cv2.absdiff(image, (*ink.round().tolist(), 0.0)))
    thin = lightness(255 - cv2.convertScaleAbs(off, alpha=255 / RANGE), THIN)
    return (thin > np.maximum(CLEAR, ABOVE * cv2.blur(thin, (AROUND, AROUND)))).astype(np.uint8)


def _shortest(boxes: np.ndarray) -> float:
    """Return the length of the shortest tree between boxes, in pixels."""
    off = gaps(boxes).clip(0)
    return float(minimum_spanning_tree(np.hypot(off[..., 0], off[..., 1]) + 1e-3).sum())


def _joined(mask: np.ndarray, boxes: np.ndarray) -> float:
    """Return the share of a tree's edges, 0 to 1, that the connected parts of a mask make between boxes."""
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    touched = [np.setdiff1d(labels[part], 0) for part in _around(boxes, NEAR)]
    box, part = np.repeat(np.arange(len(boxes)), [len(of) for of in touched]), np.concatenate(touched)
    size = len(boxes) + count
    graph = coo_matrix((np.ones(len(box)), (box, len(boxes) + part)), shape=(size, size))
    groups = connected_components(graph, directed=False)[1][: len(boxes)]
    return (len(boxes) - len(np.unique(groups))) / (len(boxes) - 1)
