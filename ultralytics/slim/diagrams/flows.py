"""Layouts of processes: flow charts, pools with lanes, and containers nested in containers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from . import words
from .scene import Scene

Box = tuple[float, float, float, float]


def flow_chart(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a flow without lanes; at times a dashed frame is drawn around a part of it, which is then a parent."""
    scene = Scene(width, height)
    area = _inset((0, 0, width, height), rng.uniform(0.04, 0.1) * min(width, height))
    if rng.random() < 0.5:
        cut = rng.uniform(0.4, 0.6)
        left, right = split(area, [cut, 1 - cut], 0, gap=rng.uniform(10, 24))
        frame = scene.add("container", right, str(rng.choice(["dashed", "rounded"])), text=words.role(rng), title="top")
        first = _flow(scene, rng, left, -1)
        second = _flow(scene, rng, _inset(right, 12, top=26), frame)
        _link_some(scene, rng, first[-1:], second[:1])
    else:
        _flow(scene, rng, area, -1)
    if rng.random() < 0.4:
        scene.transpose()
    return scene


def pools(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return one to three pools, each cut into lanes or not, flows inside and dashed messages between."""
    scene = Scene(width, height)
    area = _inset((0, 0, width, height), rng.uniform(0.03, 0.08) * min(width, height))
    heavy = rng.choice([0, 1, 1, 1, 2, 2, 3], rng.choice([1, 2, 2, 3]))
    heavy = heavy if heavy.any() else np.array([2])
    flows = []
    for region, lanes in zip(split(area, [0.25 + n for n in heavy], 1, gap=rng.uniform(6, 20)), heavy):
        flows.append(_pool(scene, rng, region, int(lanes)))
    for above, below in zip(flows, flows[1:]):
        _link_some(scene, rng, above, below, count=int(rng.integers(1, 4)), line="dashed", head="open")
    if rng.random() < 0.25:
        scene.transpose()
    return scene


def nested(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return frames inside frames, up to three deep, that hold the parts of a technical system."""
    scene = Scene(width, height)
    area = _inset((0, 0, width, height), rng.uniform(0.03, 0.08) * min(width, height))
    shape = str(rng.choice(["rect", "rounded", "dashed"]))
    leaves: list[int] = []
    for region in split(area, rng.uniform(0.7, 1.5, rng.integers(1, 3)), 0, gap=rng.uniform(8, 26)):
        _frame(scene, rng, region, -1, 0, shape, leaves)
    route = str(rng.choice(["straight", "elbow", "curve"]))
    for _ in range(int(rng.integers(1, 2 + len(leaves) // 2))):
        a, b = rng.choice(leaves, 2)
        if a != b:
            scene.connect(rng, int(a), int(b), route, line="dashed" if rng.random() < 0.2 else "solid")
    return scene


def _pool(scene: Scene, rng: np.random.Generator, region: Box, lanes: int) -> list[int]:
    """Draw one pool; return the nodes of its flow, or the pool alone where it is closed."""
    pool = scene.add("container", region, "pool", text=words.role(rng), title="left")
    if lanes == 0:
        scene.nodes[pool].title = "middle"
        return [pool]
    inside = (region[0] + rng.uniform(16, 26), *region[1:])
    if lanes == 1:
        return _flow(scene, rng, _inset(inside, 8), pool)
    found = []
    for band in split(inside, rng.uniform(0.8, 1.4, lanes), 1):
        lane = scene.add("lane", band, "pool", parent=pool, text=words.role(rng), title="left")
        found.append(_flow(scene, rng, _inset((band[0] + 18, *band[1:]), 6), lane))
    for above, below in zip(found, found[1:]):
        _link_some(scene, rng, above, below)
    return [node for lane in found for node in lane]


def _frame(
    scene: Scene, rng: random.Random, region: Box, parent: int, depth: int, shape: str, leaves: list[int]
) -> None:
    node = scene.add("container", region, shape, parent=parent, text=words.part(rng), title="top")
    inside = _inset(region, rng.uniform(7, 14), top=24)
    wide, high = inside[2] - inside[0], inside[3] - inside[1]
    if depth < 2 and min(wide, high) > 110 and rng.random() < 0.8:
        axis = int(high > wide)
        for part in split(inside, rng.uniform(0.7, 1.5, rng.integers(2, 4)), axis, gap=rng.uniform(8, 16)):
            if rng.random() < 0.7:
                _frame(scene, rng, part, node, depth + 1, shape, leaves)
            else:
                _grid(scene, rng, part, node, leaves)
    else:
        _grid(scene, rng, inside, node, leaves)


def _grid(scene: Scene, rng: random.Random, region: Box, parent: int, leaves: list[int]) -> None:
    """Fill a region with parts in rows and columns, some cells left empty."""
    size = rng.uniform(0.8, 1.3)
    columns = max(1, int((region[2] - region[0]) / (74 * size)))
    rows = max(1, int((region[3] - region[1]) / (48 * size)))
    for row in split(region, [1] * rows, 1):
        for cell in split(row, [1] * columns, 0):
            if rng.random() < 0.8 or not leaves:
                leaves.append(_place(scene, rng, cell, str(rng.choice(["box", "box", "data", "event"])), parent, True))


def _flow(scene: Scene, rng: random.Random, region: Box, parent: int) -> list[int]:
    """Fill a region with a process that runs in columns to the right, at times on parallel paths; return its nodes."""
    size = rng.uniform(0.75, 1.3)
    count = max(1, int((region[2] - region[0]) / (66 * size)))
    rows = int(np.clip((region[3] - region[1]) / (50 * size), 1, 4))
    main, width, columns = int(rng.integers(rows)), 1, []
    for i, column in enumerate(split(region, [1] * count, 0)):
        fork = rows > 1 and 0 < i < count - 1 and rng.random() < 0.45
        width = int(rng.integers(2, rows + 1)) if fork and width == 1 else 1 if rng.random() < 0.6 else width
        cells = split(column, [1] * rows, 1)
        used = [main] if width == 1 else sorted(rng.choice(rows, width, replace=False))
        kind = "event" if i in (0, count - 1) and rng.random() < 0.8 else ""
        columns.append([_place(scene, rng, cells[j], kind or _kind(rng, fork), parent) for j in used])
    route = str(rng.choice(["straight", "elbow", "elbow"]))
    for before, after in zip(columns, columns[1:]):
        for j in range(max(len(before), len(after))):
            a, b = before[min(j, len(before) - 1)], after[min(j, len(after) - 1)]
            answer = str(rng.choice(["yes", "no"])) if len(after) > len(before) and rng.random() < 0.6 else ""
            scene.connect(rng, a, b, route, text=answer)
    nodes = [node for column in columns for node in column]
    _attach_data(scene, rng, nodes, region, parent)
    return nodes


def _kind(rng: random.Random, parallel: bool) -> str:
    return str(rng.choice(["box", "box", "box", "event" if parallel else "decision", "decision"]))


def _attach_data(scene: Scene, rng: random.Random, nodes: list[int], region: Box, parent: int) -> None:
    """Put documents and stores above or below some activities, where the place is free."""
    taken = [scene.nodes[i].box for i in nodes]
    for i in nodes:
        x, y = scene.nodes[i].middle
        half, reach = rng.uniform(8, 12), scene.nodes[i].box[3] - y + rng.uniform(16, 22)
        y += reach if rng.random() < 0.5 else -reach
        box = (x - half, y - half * 1.2, x + half, y + half * 1.2)
        inside = region[0] <= box[0] and region[1] <= box[1] and box[2] <= region[2] and box[3] <= region[3]
        if scene.nodes[i].kind == "box" and rng.random() < 0.45 and inside and not any(_touch(box, t) for t in taken):
            shape = str(rng.choice(["document", "cylinder"]))
            scene.connect(rng, i, scene.add("data", box, shape, parent=parent), "straight", line="dashed", head="open")
            taken.append(box)


def _place(scene: Scene, rng: random.Random, cell: Box, kind: str, parent: int, large: bool = False) -> int:
    """Put one node near the middle of a cell, at a size that fits it."""
    wide, high = cell[2] - cell[0], cell[3] - cell[1]
    if kind == "box":
        half_w, half_h = rng.uniform(0.32, 0.41) * wide, min(rng.uniform(0.24, 0.4) * high, 0.4 * wide)
        shape, text = str(rng.choice(["rect", "rounded", "rounded"])), words.part(rng) if large else words.task(rng)
    else:
        half = rng.uniform(0.2, 0.3) * min(wide, high, 64)
        half = max(half, 6.0) * {"decision": 1.25, "event": 1.0, "data": 1.15}[kind]
        half_w, half_h = half, half * rng.uniform(0.9, 1.1)
        shapes = {"decision": ["diamond", "diamond_x", "diamond_plus"], "event": ["circle", "double", "mail"]}
        shape = str(rng.choice(shapes.get(kind, ["document", "cylinder"])))
        text = "" if rng.random() < 0.5 else words.noun(rng)
    x = (cell[0] + cell[2]) / 2 + rng.uniform(-0.5, 0.5) * max(0, wide - 2 * half_w - 8)
    y = (cell[1] + cell[3]) / 2 + rng.uniform(-0.5, 0.5) * max(0, high - 2 * half_h - 8)
    box = (x - half_w, y - half_h, x + half_w, y + half_h)
    return scene.add(kind, box, shape, parent=parent, text=text, title="middle" if kind == "box" else "below")


def _link_some(scene: Scene, rng: random.Random, above: list[int], below: list[int], count: int = 1, **kwargs) -> None:
    """Link random nodes of one group to the nodes of the other that are nearest in x."""
    for a in rng.choice(above, count):
        b = min(below, key=lambda i: abs(scene.nodes[i].middle[0] - scene.nodes[a].middle[0]))
        scene.connect(rng, *((int(a), b) if rng.random() < 0.6 else (b, int(a))), **kwargs)


def _inset(box: Box, margin: float, top: float | None = None) -> Box:
    return box[0] + margin, box[1] + (margin if top is None else top), box[2] - margin, box[3] - margin


def split(box: Box, shares: Sequence[float], axis: int, gap: float = 0.0) -> list[Box]:
    """Cut a box along an axis (0: x, 1: y) into parts in proportion to the shares."""
    shares = np.asarray(shares, dtype=float)
    room = box[axis + 2] - box[axis] - gap * (len(shares) - 1)
    ends = np.cumsum(shares / shares.sum() * room + gap)
    parts = []
    for start, end in zip(np.concatenate([[0], ends[:-1]]) + box[axis], ends - gap + box[axis]):
        part = list(box)
        part[axis], part[axis + 2] = float(start), float(end)
        parts.append(tuple(part))
    return parts


def _touch(a: Box, b: Box, margin: float = 3.0) -> bool:
    return a[0] < b[2] + margin and b[0] < a[2] + margin and a[1] < b[3] + margin and b[1] < a[3] + margin
