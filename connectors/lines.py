"""Strokes thinned to lines, and parted into pieces between ends, junctions and boxes."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from .boxes import MARGIN, arrived
from .thin import THICK

LOOK = 12  # pixels over which a stroke's direction is taken
GAP = 10  # pixels between ends that are joined
ANGLE = np.deg2rad(30)  # from its direction that an end is looked on for others in


@cache
def _thinning_tables() -> list[np.ndarray]:
    """Return for each side (N, E, S, W) which of the 256 neighbourhoods allow a border pixel of that side to go.

    Bits: NW 1, N 2, NE 4, E 8, SE 16, S 32, SW 64, W 128. A pixel may go if that parts nothing (Hilditch's crossing
    number is 1) and it is no end of a line.
    """
    tables = []
    ring = (8, 4, 2, 1, 128, 64, 32, 16)  # E, NE, N, NW, W, SW, S, SE
    for side in (2, 8, 32, 128):
        table = np.zeros(256, np.uint8)
        for code in range(256):
            x = [bool(code & bit) for bit in ring]
            crossings = sum(not x[k] and (x[k + 1] or x[(k + 2) % 8]) for k in (0, 2, 4, 6))
            table[code] = crossings == 1 and sum(x) > 1 and not code & side
        tables.append(table)
    return [tables[i] for i in (0, 2, 1, 3)]


def _thinned(strokes: np.ndarray) -> np.ndarray:
    """Return the strokes one pixel thin, parted nowhere."""
    kernel = np.array([[1, 2, 4], [128, 0, 8], [64, 32, 16]], np.float32)
    lines, gone = strokes.copy(), 1
    while gone:
        gone = 0
        for table in _thinning_tables():
            around = cv2.filter2D(lines, -1, kernel, borderType=cv2.BORDER_CONSTANT)
            off = cv2.LUT(around, table) & lines
            lines ^= off
            gone += cv2.countNonZero(off)
    return lines


def read_lines(strokes: np.ndarray, boxes: np.ndarray) -> Lines:
    """Return the pieces of strokes (H, W) between boxes (N, 4), those of dashes and dots joined."""
    thin = _thinned(strokes)
    lines = Lines(thin, strokes, boxes)
    return Lines(_thinned(thin), strokes, boxes) if _bridge(thin, lines) else lines


def _bridge(thin: np.ndarray, lines: Lines) -> bool:
    """Join ends to the strokes that they point at over a small gap, as those of dashes; return whether any was."""
    ys, xs = np.nonzero(thin)
    points, pieces = np.column_stack([xs, ys]), lines.piece[ys, xs]
    free = [
        (s, e) for s in range(len(lines.chains)) for e in (0, 1)
        if lines.junction[s, e] < 0 and (lines.box[s, e] < 0 or lines.box[s, e] == lines.box[s, 1 - e])
    ]  # fmt: skip
    if not free:
        return False
    at = np.array([lines.ends[s, e] for s, e in free])
    thick = lines.reach[ys, xs]
    own = lines.reach[at[:, 1], at[:, 0]]
    bridges = []
    for (s, e), point, half, near in zip(free, at, own, cKDTree(points).query_ball_point(at, GAP + own + thick.max())):
        near = np.array(near)
        near = near[pieces[near] != s + 1]
        way = (points[near] - point).astype(float)
        far = np.hypot(*way.T)
        close = far - half - thick[near] <= GAP
        near, way, far = near[close], way[close], far[close]
        d = lines.direction(s, e)
        if d is None:
            bridges += _of_dot(point, points[near], way, far)
            continue
        angle = np.arccos(np.clip(way @ d / np.maximum(far, 1e-9), -1, 1))
        ahead = angle < np.where(far < 4, 2 * ANGLE, ANGLE + 1.0 / min(LOOK, len(lines.chains[s])))
        if ahead.any():
            best = np.where(ahead, far * (1 + angle), np.inf).argmin()
            bridges.append((point, points[near[best]]))
    for a, b in bridges:
        cv2.line(thin, a.tolist(), b.tolist(), 1)
    return bool(bridges)


def _of_dot(point: np.ndarray, points: np.ndarray, way: np.ndarray, far: np.ndarray) -> list[tuple]:
    """Return the bridges of a dot: to what is nearest, and to what is nearest on the other side of it."""
    if not len(far):
        return []
    first = far.argmin()
    behind = way @ way[first] < -0.7 * far * far[first]
    found = [(point, points[first])]
    return found + ([(point, points[np.where(behind, far, np.inf).argmin()])] if behind.any() else [])


class Lines:
    """The pieces of thinned strokes between ends and junctions.

    Attributes:
        chains: For each piece its points (K, 2) x, y in order.
        junction: (S, 2) the junction at each piece's first and last point, -1 for none.
        box: (S, 2) the box at each, -1 for none.
        widths: For each piece its points' stroke widths.
    """

    def __init__(self, thin: np.ndarray, strokes: np.ndarray, boxes: np.ndarray):
        neighbours = cv2.filter2D(
            thin, -1, np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32), borderType=cv2.BORDER_CONSTANT
        )
        crossing = ((neighbours > 2) & (thin > 0)).astype(np.uint8)
        _, clusters = cv2.connectedComponents(crossing, connectivity=8)
        count, pieces = cv2.connectedComponents(thin & (1 - crossing), connectivity=8)
        self.reach = reach = np.minimum(cv2.distanceTransform(strokes, cv2.DIST_L2, 3), THICK)
        self.chains, touching = _split_at_boxes(_chains(pieces, count), reach, boxes)
        self.piece = np.zeros_like(pieces)  # number from 1 of the piece at each pixel
        for s, chain in enumerate(self.chains):
            self.piece[chain[:, 1], chain[:, 0]] = s + 1
        self.widths = [2 * reach[c[:, 1], c[:, 0]] - 1 for c in self.chains]  # a bridge is -1 wide
        grown = cv2.dilate(clusters.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        ends = np.array([[c[0], c[-1]] for c in self.chains], int).reshape(-1, 2, 2)
        self.ends = ends
        self.junction = grown[ends[..., 1], ends[..., 0]] - 1
        for number, (s, e) in touching:
            self.junction[s, e] = clusters.max(initial=0) + number
        flat = ends.reshape(-1, 2)
        self.box = arrived(flat, reach[flat[:, 1], flat[:, 0]], boxes).reshape(-1, 2)
        at_box = np.full(clusters.max(initial=0) + len(touching) + 2, -1)  # a junction at an outline has arrived
        ys, xs = np.nonzero(crossing)
        near = arrived(np.column_stack([xs, ys]), reach[ys, xs], boxes)
        at_box[clusters[ys, xs][near >= 0]] = near[near >= 0]
        self.box = np.where((self.box < 0) & (self.junction >= 0), at_box[self.junction + 1], self.box)
        self._beside(grown)
        self.lengths = np.array([np.hypot(*np.diff(c, axis=0).T).sum() if len(c) > 1 else 0.0 for c in self.chains])

    def _beside(self, grown: np.ndarray) -> None:
        """A piece of one pixel between two junctions touches both."""
        for s in np.flatnonzero((self.junction[:, 0] >= 0) & (self.junction[:, 0] == self.junction[:, 1])):
            if len(self.chains[s]) > 2:
                continue
            x, y = self.chains[s][0]
            around = np.unique(grown[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]) - 1
            other = [j for j in around if j >= 0 and j != self.junction[s, 0]]
            self.junction[s, 1] = other[0] if other else -1

    def direction(self, s: int, end: int) -> np.ndarray | None:
        """Return the unit vector in which piece `s` leaves by its end, None where it is too short to tell."""
        chain = self.chains[s] if end == 0 else self.chains[s][::-1]
        if len(chain) < 4:
            return None
        first = 2 if len(chain) > LOOK else 0
        way = (chain[first] - chain[min(len(chain) - 1, LOOK)]).astype(float)
        return way / max(1e-9, np.hypot(*way))


def _chains(pieces: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the points (K, 2) x, y of each piece in order; closed rings are left out."""
    ys, xs = np.nonzero(pieces)
    if not len(ys):
        return []
    label = pieces[ys, xs]
    index = np.full((pieces.shape[0] + 2, pieces.shape[1] + 2), -1, np.int32)
    index[ys + 1, xs + 1] = np.arange(len(ys))
    rows, columns = [], []
    for dy, dx in ((0, 1), (1, 1), (1, 0), (1, -1)):
        other = index[ys + 1 + dy, xs + 1 + dx]
        there = other >= 0
        rows.append(np.flatnonzero(there))
        columns.append(other[there])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(ys),) * 2).tocsr()
    degree = np.bincount(np.concatenate([rows, columns]), minlength=len(ys))
    tips = np.flatnonzero(degree <= 1)
    _, first = np.unique(label[tips], return_index=True)
    far = dijkstra(graph, directed=False, unweighted=True, min_only=True, indices=tips[first])
    order = np.lexsort((far, label))
    order = order[np.isfinite(far[order])]
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    points = np.column_stack([xs, ys])
    return [points[part] for part in np.split(order, cuts)]


def _split_at_boxes(
    chains: list[np.ndarray], reach: np.ndarray, boxes: np.ndarray
) -> tuple[list[np.ndarray], list[tuple[int, tuple[int, int]]]]:
    """Part chains where they touch a box on their way; return them, and (number of the touch, (chain, end))s."""
    if not chains or not len(boxes):
        return chains, []
    points = np.concatenate(chains)
    off = np.maximum(np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:]), 0).max(2)
    far = off.min(1) - reach[points[:, 1], points[:, 0]]
    found, touching, start, touches = [], [], 0, 0
    for chain in chains:
        own = far[start : start + len(chain)]
        start += len(chain)
        near = np.concatenate([[False], own <= MARGIN + 1, [False]])
        first, last = np.flatnonzero(~near[:-1] & near[1:]), np.flatnonzero(near[:-1] & ~near[1:])
        cuts = [int(a + own[a:b].argmin()) for a, b in zip(first, last) if a > 2 and b < len(chain) - 2]
        for k, (a, b) in enumerate(zip([0, *cuts], [*[cut + 1 for cut in cuts], len(chain)])):
            if k:
                touching.append((touches, (len(found), 0)))
            if k < len(cuts):
                touches += 1
                touching.append((touches, (len(found), 1)))
            found.append(chain[a:b])
    return found, touching
