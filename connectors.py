"""Which boxes of a drawing are joined by a stroke, read from the picture.

Strokes are told from their background by thinness alone, of any colour, then thinned to lines and followed from box to
box: straight on at crossings, over the gaps of dashes and labels, round bends. Pure functions of NumPy, SciPy and
OpenCV; networkx finds the most probable forest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree, shortest_path
from scipy.spatial import cKDTree

SIZE = 36  # pixels: the shorter side of a usual box at the zoom that strokes are looked for at
MOST_ZOOM, MOST_PIXELS = 2.0, 8e5  # and the limits of that zoom
THICK = 13  # pixels; what is thicker is filled, and no stroke
CONTRAST, NOISE = 14, 2.2  # least response of a stroke, and how far it stands out of what is around it
AROUND = 101  # pixels; what "around it" means
COARSE = 4  # pixels of the picture in one that the background is estimated at
HOLE = 60  # pixels; smaller holes in strokes (hollow arrow heads, letters) are filled
MARGIN, REACH = 3, 5  # pixels: a box's outline ends there; strokes that come so near have arrived
SPUR = 7  # pixels; shorter ends at a junction are no strokes
LOOK = 12  # pixels over which a stroke's direction is taken
GAP, FAR_GAP = 10, 70  # pixels between ends that are joined, and between those of long strokes in one line
TURN = np.deg2rad(100)  # most that is turned at a junction
HEAD = 12  # pixels from a stroke's end that its head is in
MOST = 3.0  # cost of a way
ANGLE, STRAIGHT = np.deg2rad(30), np.deg2rad(15)
DOUBT = 1.5  # cost of a connection above which it is none
NEW_ROOT = 9.0  # what a further root costs
PLAIN = 0.5  # cost of a connection below which it is plain
HEADED, MOSTLY = 0.3, 0.4  # log of the ink at both ends that tells a head; share of connections with one


@dataclass
class Connection:
    """A stroke from box `a` to box `b`.

    Attributes:
        a, b: Indices, a < b.
        cost: How doubtful it is, from 0; its chance is about exp(-cost).
        heads: How much more ink than the stroke's own lies at its end at `a` and at `b`.
        path: (K, 2) points x, y from a to b in pixels of the picture.
        pieces: Numbers of the thinned strokes' pieces that it runs along.
    """

    a: int
    b: int
    cost: float
    heads: tuple[float, float]
    path: np.ndarray
    pieces: list[int]


def find_connections(image: np.ndarray, boxes: np.ndarray) -> list[Connection]:
    """Return the strokes that join two boxes each.

    Args:
        image: (H, W, 3) BGR uint8.
        boxes: (N, 4) xyxy in its pixels; those that hold others are passed over.
    """
    leaves = np.flatnonzero(_leaves(boxes))
    if len(leaves) < 2:
        return []
    scale = _scale(image.shape, boxes[leaves])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
    boxes = boxes[leaves] * scale
    inside = _inside(boxes, image.shape[:2])
    strokes = _stroke_mask(image, inside)
    strokes[inside] = 0
    _fill_holes(strokes)
    thin = _thinned(strokes)
    lines = _Lines(thin, strokes, boxes)
    if _bridge(thin, lines):
        lines = _Lines(_thinned(thin), strokes, boxes)
    found = _Ways(lines, boxes, image).between()
    _weigh_heads(found, strokes, lines)
    for connection in found:
        connection.a, connection.b = int(leaves[connection.a]), int(leaves[connection.b])
        connection.path = connection.path / scale
    return found


def _scale(shape: tuple[int, ...], boxes: np.ndarray) -> float:
    """Return the zoom at which boxes are of the usual size, and the picture is no larger than there is time for."""
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1)
    size = max(1.0, float(np.median(sides))) if len(sides) else SIZE
    return min(MOST_ZOOM, SIZE / size, (MOST_PIXELS / (shape[0] * shape[1])) ** 0.5)


def _stroke_mask(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: 1 where something is thin, and unlike what is around it, in any channel."""
    kernel = np.ones((THICK, THICK), np.uint8)
    dark = cv2.subtract(cv2.morphologyEx(image, cv2.MORPH_CLOSE, kernel), image)
    light = cv2.subtract(image, cv2.morphologyEx(image, cv2.MORPH_OPEN, kernel))
    unlike = cv2.absdiff(image, _background(image, inside))
    thin = cv2.min(cv2.max(dark, light), unlike).max(2)
    around = cv2.blur(thin, (AROUND, AROUND))
    return (thin > np.maximum(CONTRAST, NOISE * around)).astype(np.uint8)


def _background(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the picture without boxes and strokes: what most pixels around each are like."""
    size = tuple(max(1, side // COARSE) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    free = cv2.resize((~inside).astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    size = (2 * AROUND // COARSE + 1,) * 2
    mean = cv2.blur(small * free[..., None], size) / np.maximum(cv2.blur(free, size), 1e-3)[..., None]
    known = (free > 0.99)[..., None]
    filled = np.where(known, small, mean.round().astype(np.uint8))
    return cv2.resize(cv2.medianBlur(filled, AROUND // COARSE // 2 * 2 + 1), image.shape[1::-1])


def _inside(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool: what lies in a box or on its outline."""
    found, margin = np.zeros(shape, bool), np.minimum(MARGIN, _room(boxes))[:, None]
    for x1, y1, x2, y2 in (
        np.column_stack([np.floor(boxes[:, :2] - margin), np.ceil(boxes[:, 2:] + margin)]).astype(int).clip(0)
    ):
        found[y1:y2, x1:x2] = True
    return found


def _room(boxes: np.ndarray) -> np.ndarray:
    """Return a quarter of the gap between each box and its nearest neighbour, 1 pixel at least."""
    off = np.maximum(boxes[:, None, :2] - boxes[None, :, 2:], boxes[None, :, :2] - boxes[:, None, 2:]).max(2)
    np.fill_diagonal(off, np.inf)
    return np.maximum(1, off.min(1, initial=np.inf) / 4)


def _leaves(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes hold no others."""
    middles, areas = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).prod(1)
    held = ((middles[None] > boxes[:, None, :2]) & (middles[None] < boxes[:, None, 2:])).all(2)
    return ~(held & (areas[None] < 0.8 * areas[:, None])).any(1)


def _arrived(points: np.ndarray, half: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the nearest box to each point (K, 2) of a stroke so wide (half), -1 where it does not reach one."""
    if not len(points) or not len(boxes):
        return np.full(len(points), -1)
    off = np.maximum(np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:]), 0)
    far = np.hypot(off[..., 0], off[..., 1])
    nearest = far.argmin(1)
    reach = half + MARGIN + np.minimum(REACH, _room(boxes))[nearest]
    return np.where(far[np.arange(len(points)), nearest] <= reach, nearest, -1)


def _fill_holes(strokes: np.ndarray) -> None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - strokes, connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < HOLE)
    keep = np.zeros(count, np.uint8)
    keep[small] = 1
    if len(small):
        strokes |= keep[labels] & (1 - strokes)


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


def _bridge(thin: np.ndarray, lines: _Lines) -> bool:
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


class _Lines:
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
        self.box = _arrived(flat, reach[flat[:, 1], flat[:, 0]], boxes).reshape(-1, 2)
        at_box = np.full(clusters.max(initial=0) + len(touching) + 2, -1)  # a junction at an outline has arrived
        ys, xs = np.nonzero(crossing)
        arrived = _arrived(np.column_stack([xs, ys]), reach[ys, xs], boxes)
        at_box[clusters[ys, xs][arrived >= 0]] = arrived[arrived >= 0]
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


def _angle(direction: np.ndarray, way: np.ndarray) -> float:
    """Return the angle between a unit vector and a way."""
    return float(np.arccos(np.clip(direction @ way / max(np.hypot(*way), 1e-9), -1, 1)))


def _turn_costs(toward: list[np.ndarray | None]) -> np.ndarray:
    """Return (K, K): what it costs to leave by one of K ends that meet and to enter by another.

    Straight on is free, and so is any bend where only two meet. At a crossing it costs more to turn where both pieces
    go straight on into others, less so at right angles, where branches meet.

    Args:
        toward: The unit vector in which each piece arrives; None where it is too short to tell.
    """
    count = len(toward)
    known = np.array([d is not None for d in toward])
    ways = np.array([(0.0, 0.0) if d is None else d for d in toward])
    turn = np.arccos(np.clip(-ways @ ways.T, -1, 1))
    both = known[:, None] & known & ~np.eye(count, dtype=bool)
    slope = {2: 0.0, 3: 0.3}.get(count, 0.9)
    costs = np.where(turn > TURN, np.inf, slope * np.maximum(0.0, turn - 0.35))
    if count > 3:
        other = np.where(both, turn, np.inf)
        first = other.argmin(1)
        best, second = np.partition(other, 1, axis=1)[:, :2].T
        without = np.where(first[:, None] == np.arange(count), second[:, None], best[:, None])
        straight = without <= np.minimum(turn, STRAIGHT)
        costs += np.where(straight & straight.T, np.where(np.abs(turn - np.pi / 2) < STRAIGHT, 0.4, 1.5), 0.0)
    costs = np.where(both, costs, 0.3 * (count > 2))
    np.fill_diagonal(costs, np.inf)
    return costs


class _Ways:
    """Ways along the pieces from box to box; a state is to leave a piece by one of its ends, number 2 s + end."""

    def __init__(self, lines: _Lines, boxes: np.ndarray, image: np.ndarray):
        self.lines, self.boxes, self.image = lines, boxes, image
        self.count = len(lines.chains)
        self.junction, self.box = lines.junction.copy(), lines.box.copy()
        self.toward = [lines.direction(s, e) for s in range(self.count) for e in (0, 1)]
        self.color = np.array([np.median(image[c[:, 1], c[:, 0]], axis=0) for c in lines.chains]).reshape(-1, 3)
        self.links: dict[tuple[int, int], float] = {}  # (left by, entered by) -> cost
        self.arrivals: dict[int, float] = {}  # what it costs more to end at a box by this end
        self._merge_junctions()
        self._join_at_junctions()
        self._bridge_gaps()
        self._pass_boxes()

    def _merge_junctions(self) -> None:
        """Make one junction of two that a piece shorter than its stroke is wide joins; drop spurs."""
        lines = self.lines
        known = self.junction.max(initial=-1) + 1
        parent = list(range(known))

        def root(j: int) -> int:
            while parent[j] != j:
                j = parent[j]
            return j

        self.alive = ~self._outlines()
        for s in range(self.count):
            a, b = self.junction[s]
            short = lines.lengths[s] < SPUR + np.median(lines.widths[s]) / 2
            if not short or (self.box[s] >= 0).any():
                continue
            if a >= 0 and b >= 0:
                parent[root(a)] = root(b)
                self.alive[s] = False
            elif a >= 0 or b >= 0:
                self.alive[s] = False
        for s in range(self.count):
            for e in (0, 1):
                if self.junction[s, e] >= 0:
                    self.junction[s, e] = root(self.junction[s, e])

    def _outlines(self) -> np.ndarray:
        """Return which pieces are what is left of a box's outline: they run along it."""
        found = np.zeros(self.count, bool)
        for s, chain in enumerate(self.lines.chains):
            for box in set(self.box[s]) - {-1}:
                x1, y1, x2, y2 = self.boxes[box]
                off = np.maximum(np.maximum([x1, y1] - chain, chain - [x2, y2]), 0).max(1)
                found[s] |= off.max() <= MARGIN + REACH and self.lines.lengths[s] > 2 * np.ptp(off) + 3
        return found

    def _join_at_junctions(self) -> None:
        meeting: dict[int, list[int]] = {}
        for s in np.flatnonzero(self.alive):
            for e in (0, 1):
                if self.junction[s, e] >= 0:
                    meeting.setdefault(int(self.junction[s, e]), []).append(int(2 * s + e))
        for ends in meeting.values():
            fans = any(self.box[x // 2, x % 2] >= 0 for x in ends)  # strokes that start together at a box
            costs = _turn_costs([self.toward[x] for x in ends])
            for i, j in np.argwhere(costs < MOST):
                x, y, cost = ends[i], ends[j], float(costs[i, j])
                if x // 2 != y // 2:
                    self._link(x, y, 0.3 + 3 * cost if fans else cost)
                    if fans and len(ends) == 2 and cost < 0.1:  # it passes by
                        self.arrivals[x] = 1.0

    def _link(self, x: int, y: int, cost: float) -> None:
        if cost < MOST:
            shades = np.abs(self.color[x // 2] - self.color[y // 2]).max()
            cost += 0.3 * min(1.0, shades / 150)
            self.links[x, y] = min(cost, self.links.get((x, y), np.inf))

    def _bridge_gaps(self) -> None:
        lines = self.lines
        free = [
            2 * s + e
            for s in np.flatnonzero(self.alive)
            for e in (0, 1)
            if self.junction[s, e] < 0 and self.box[s, e] < 0
        ]
        if not free:
            return
        at = np.array([lines.ends[x // 2, x % 2] for x in free], float)
        for i, j in cKDTree(at).query_pairs(FAR_GAP):
            x, y = free[i], free[j]
            if x // 2 == y // 2:
                continue
            way = at[j] - at[i]
            gap = float(np.hypot(*way))
            dx, dy = self.toward[x], self.toward[y]
            if dx is None or dy is None or min(lines.lengths[[x // 2, y // 2]]) < gap / 3:
                continue
            worst = max(_angle(dx, way), _angle(dy, -way)) if gap > 2 else 0.0
            if worst > ANGLE / 3:
                continue
            cost = 0.01 * gap + 0.5 * worst
            self._link(x, y, cost)
            self._link(y, x, cost)
        self._reach_boxes(free, at)

    def _reach_boxes(self, free: list[int], at: np.ndarray) -> None:
        """Let a free end arrive at the box that it points at, if that is near."""
        boxes = self.boxes
        for x, point in zip(free, at):
            d = self.toward[x]
            if self.box[x // 2, x % 2] >= 0 or d is None or self.lines.lengths[x // 2] < LOOK:
                continue
            for step in range(2, 26, 2):
                ahead = point + step * d
                hit = np.flatnonzero(((boxes[:, :2] <= ahead) & (ahead <= boxes[:, 2:])).all(1))
                if len(hit):
                    self.box[x // 2, x % 2] = hit[0]
                    self.arrivals[x] = 0.2 + 0.02 * step
                    break

    def _pass_boxes(self) -> None:
        """Let a stroke go on that does so in one line behind a box or past its corner: it then hardly ends there."""
        ports: dict[int, list[int]] = {}
        for s in np.flatnonzero(self.alive):
            for e in (0, 1):
                if self.box[s, e] >= 0 and self.toward[2 * s + e] is not None:
                    ports.setdefault(int(self.box[s, e]), []).append(int(2 * s + e))
        for box, ends in ports.items():
            for x, y in combinations(ends, 2):
                if x // 2 != y // 2 and self._side(x, box) != self._side(y, box):
                    self._pass(x, y, box)

    def _pass(self, x: int, y: int, box: int) -> None:
        """Let a stroke go on from one end at a box to another, if these are in one line."""
        (x1, y1, x2, y2), (start, end) = self.boxes[box], (self.lines.ends[z // 2, z % 2] for z in (x, y))
        way = (end - start).astype(float)
        gap = float(np.hypot(*way))
        if gap < 3:
            return
        angle = max(_angle(self.toward[x], way), _angle(self.toward[y], -way))
        aside, size = np.array([-way[1], way[0]]) / gap, np.array([x2 - x1, y2 - y1]) / 2
        middle = np.array([x1 + x2, y1 + y2]) / 2
        off = min(1.0, abs((middle - start) @ aside) / max(1e-9, np.abs(size * aside).sum()))  # 0: through its middle
        if angle > ANGLE / 2 * (1 + off):
            return
        self._link(x, y, 0.3 + 0.5 * angle + 1.5 * (1 - off))
        self._link(y, x, 0.3 + 0.5 * angle + 1.5 * (1 - off))
        grazing = min(max((off - 0.6) / 0.4, 0.0), 1.0)
        for z in (x, y):
            self.arrivals[z] = max(self.arrivals.get(z, 0.0), 1.3 * grazing * (1 - angle))

    def _side(self, x: int, box: int) -> int:
        """Return at which side of a box an end lies: left, top, right or bottom."""
        point, (x1, y1, x2, y2) = self.lines.ends[x // 2, x % 2], self.boxes[box]
        return int(np.argmax([x1 - point[0], y1 - point[1], point[0] - x2, point[1] - y2]))

    def between(self) -> list[Connection]:
        """Return the cheapest way between each two boxes that have one."""
        n, states = len(self.boxes), 2 * self.count
        rows, columns, costs = [], [], []

        def add(row: int, column: int, cost: float) -> None:
            rows.append(row)
            columns.append(column)
            costs.append(cost + 1e-3)

        arrivals = self.arrivals
        ports = [(2 * s + e, self.box[s, e]) for s in np.flatnonzero(self.alive) for e in (0, 1) if self.box[s, e] >= 0]
        for (x, y), cost in self.links.items():
            add(x, y ^ 1, cost + 2e-4 * self.lines.lengths[y // 2])
        for x, box in ports:
            add(states + box, x ^ 1, arrivals.get(x, 0.0) + 2e-4 * self.lines.lengths[x // 2])
            add(x, states + n + box, arrivals.get(x, 0.0))
        graph = coo_matrix((costs, (rows, columns)), shape=(states + 2 * n,) * 2).tocsr()
        starts = np.unique([box for _, box in ports]).astype(int)
        if not len(starts):
            return []
        far, before = dijkstra(graph, indices=states + starts, return_predecessors=True, limit=MOST)
        found = []
        for k, a in enumerate(starts):
            for b in np.flatnonzero(np.isfinite(far[k, states + n :])):
                if a < b:
                    found.append(self._connection(int(a), int(b), float(far[k, states + n + b]), before[k], states, n))
        return found

    def _connection(self, a: int, b: int, cost: float, before: np.ndarray, states: int, n: int) -> Connection:
        way, at = [], before[states + n + b]
        while at < states and at >= 0:
            way.append(int(at))
            at = before[at]
        way = way[::-1]
        parts = [self.lines.chains[x // 2] if x % 2 else self.lines.chains[x // 2][::-1] for x in way]
        path = np.concatenate(parts).astype(float)
        widths = np.concatenate([self.lines.widths[x // 2] if x % 2 else self.lines.widths[x // 2][::-1] for x in way])
        bare = np.diff(np.flatnonzero(np.concatenate([[True], widths > 0, [True]])), prepend=-1).max() - 1
        steps = np.hypot(*np.diff(path, axis=0).T).max(initial=0)
        whole = max(len(path), np.hypot(*(path[-1] - path[0])))
        if max(bare, steps) > 0.6 * whole:  # two bits of outlines, and a bridge
            cost += 1.5
        if len(way) > 1:  # a way with junctions that comes back the way it went is no connector
            k = min(len(path) - 1, LOOK)
            out, back = path[k] - path[0], path[-1] - path[-1 - k]
            cosine = out @ back / max(1e-9, np.hypot(*out) * np.hypot(*back))
            if cosine < -0.5 and any(self.junction[x // 2, x % 2] >= 0 for x in way[:-1]):
                cost += 1.5
        return Connection(a, b, cost, (1.0, 1.0), path, [x // 2 for x in way])


def _weigh_heads(found: list[Connection], strokes: np.ndarray, lines: _Lines) -> None:
    """Weigh the ink at both ends of each connection: what is nearest to its own pieces, or to spurs."""
    if not found:
        return
    own = lines.piece > 0
    _, nearest = cv2.distanceTransformWithLabels(
        (~own).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    piece_of = np.zeros(nearest.max() + 1, np.int32)
    piece_of[nearest[own]] = lines.piece[own]
    owner = np.where(strokes > 0, piece_of[nearest], 0)
    spur = np.concatenate([[False], lines.lengths <= HEAD])
    for c in found:
        widths = np.concatenate([lines.widths[s] for s in c.pieces])
        inked = widths[widths > 0]
        width = max(1.0, float(np.median(inked))) if len(inked) else 1.0
        mine = spur.copy()
        mine[np.array(c.pieces) + 1] = True
        c.heads = tuple(_ink(c.path if end == 0 else c.path[::-1], owner, mine, strokes, width) for end in (0, 1))


def _ink(path: np.ndarray, owner: np.ndarray, mine: np.ndarray, strokes: np.ndarray, width: float) -> float:
    """Return the ink within reach of a path's first point, over what the path alone has there."""
    x, y = path[0].astype(int)
    low, left = max(0, y - HEAD), max(0, x - HEAD)
    part = owner[low : y + HEAD + 1, left : x + HEAD + 1]
    ys, xs = np.nonzero(part)
    near = (ys + low - y) ** 2 + (xs + left - x) ** 2 <= HEAD**2
    ink = mine[part[ys[near], xs[near]]].sum()
    points = path[np.hypot(*(path - path[0]).T) <= HEAD].astype(int)
    plain = strokes[points[:, 1], points[:, 0]].sum() * width
    return float((ink + 4) / (plain + 4))


@dataclass(frozen=True)
class Joined:
    """The forest that strokes draw.

    Attributes:
        parents: Of each box, -1 for a root and for what nothing is joined to.
        confidences: Of the edge to each box's parent, in 0..1; 0 where there is none.
        paths: Child -> points (K, 2) x, y of its stroke, from the child to its parent.
    """

    parents: list[int]
    confidences: list[float]
    paths: dict[int, np.ndarray]


def most_probable_forest(boxes: np.ndarray, found: list[Connection]) -> Joined:
    """Return the parents that are most probable together: a maximum spanning arborescence (Edmonds 1967).

    Each connection may be an edge in either direction: what has a head at one end only is likelier to have the child
    there, if that is so of most connections; and each box may be a root, likelier where the others lie outwards of it.

    Args:
        boxes: (N, 4) xyxy.
        found: As `find_connections` returns it.
    """
    import networkx

    likely = [c for c in found if c.cost <= DOUBT]
    parents, confidences, paths = [-1] * len(boxes), [0.0] * len(boxes), {}
    if not likely:
        return Joined(parents, confidences, paths)
    graph, root = networkx.DiGraph(), len(boxes)
    for i, score in enumerate(_root_scores(boxes, likely)):
        graph.add_edge(root, i, weight=score - NEW_ROOT)
    weighed = np.array([np.log(c.heads[1] / c.heads[0]) for c in likely])
    plain = [w for c, w in zip(likely, weighed) if c.cost < PLAIN]
    headed = bool(plain) and float((np.abs(plain) > HEADED).mean()) >= MOSTLY
    for c, weight in zip(likely, weighed):
        to_b = 1 / (1 + np.exp(-2 * weight)) if headed else 0.5
        for start, end, share in ((c.a, c.b, to_b), (c.b, c.a, 1 - to_b)):
            graph.add_edge(start, end, weight=-c.cost + np.log(np.clip(share, 0.05, 0.95)), of=c)
    tree = networkx.maximum_spanning_arborescence(graph, attr="weight", preserve_attrs=True)
    for start, end, kept in tree.edges(data=True):
        if start != root:
            c = kept["of"]
            parents[end], confidences[end] = int(start), float(np.exp(-c.cost))
            paths[end] = c.path if end == c.a else c.path[::-1]
    return Joined(parents, confidences, paths)


def _root_scores(boxes: np.ndarray, likely: list[Connection]) -> np.ndarray:
    """Return for each box the logarithm of the chance that it is its tree's root, by how the tree lies around it.

    A root has many neighbours, is large and near the middle; the others lie in rings by their depth, or all edges run
    one way, and each goes on outwards. The weights were fitted to trees by Graphviz and to our own drawings.
    """
    n = len(boxes)
    a, b, cost = (np.array([getattr(c, name) for c in likely]) for name in ("a", "b", "cost"))
    links = minimum_spanning_tree(coo_matrix((cost + 1e-3, (a, b)), shape=(n, n)).tocsr())
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
