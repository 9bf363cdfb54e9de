"""Ways along the pieces of lines from box to box."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from .boxes import MARGIN, REACH
from .lines import LOOK, Lines

SPUR = 7  # pixels; shorter ends at a junction are no strokes
FAR_GAP = 70  # pixels between the ends of long strokes in one line that are joined
TURN = np.deg2rad(100)  # most that is turned at a junction
MOST = 3.0  # cost of a way
ANGLE, STRAIGHT = np.deg2rad(30), np.deg2rad(15)  # that ends may be off one line; what counts as straight on


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

    def other(self, box: int) -> int:
        """Return the box at the other end."""
        return self.a if box == self.b else self.b

    def path_from(self, box: int) -> np.ndarray:
        """Return the points from a box at one end to the other."""
        return self.path if box == self.a else self.path[::-1]


class Ways:
    """Ways along the pieces from box to box; a state is to leave a piece by one of its ends, number 2 s + end."""

    def __init__(self, lines: Lines, boxes: np.ndarray, image: np.ndarray):
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
