"""What a drawing shows, before any ink: nodes with their parents, and links between them.

All coordinates are pixels of the drawing, x to the right and y down, floats.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .shapes import border
from .style import Color

CLASSES = ("container", "lane", "box", "decision", "event", "data", "topic", "card")


@dataclass
class Node:
    """One labelled node: its class by name, its box xyxy, its outline's shape and its parent's index (-1: a root)."""

    kind: str
    box: tuple[float, float, float, float]
    shape: str
    parent: int = -1
    text: str = ""
    title: str = "middle"  # where the text stands: middle, top, left (reads upwards) or below

    @property
    def middle(self) -> tuple[float, float]:
        """Return the box's centre."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass
class Link:
    """A line from node `start` to node `end`.

    Its route is `straight`, `elbow` or `curve`, between the middles of the sides that face each other, or `direct` or
    `arc`, between the outlines wherever the line through both middles cuts them.
    """

    start: int
    end: int
    route: str = "elbow"
    bend: float = 0.5  # where an elbow turns, as a share of the way
    line: str = "solid"  # or dashed or dotted
    head: str = "arrow"  # arrow, open, hollow, diamond, dot or nothing
    text: str = ""
    width: float = 0.9  # in strokes of the drawing's style
    color: Color | None = None  # the style's accent


@dataclass
class Scene:
    """A drawing of `width` x `height` pixels; nodes are listed parents first, which is also the order of painting."""

    width: int
    height: int
    nodes: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def add(self, *args, **kwargs) -> int:
        """Add a Node made of the arguments and return its index."""
        self.nodes.append(Node(*args, **kwargs))
        return len(self.nodes) - 1

    def connect(self, rng: np.random.Generator, start: int, end: int, route: str = "elbow", **kwargs) -> None:
        """Link two nodes; the further arguments are Link's."""
        self.links.append(Link(start, end, route, rng.uniform(0.3, 0.7), **kwargs))

    def path(self, link: Link) -> list[tuple[float, float]]:
        """Return the points (K, 2) of a link, between the facing sides of its nodes."""
        start, end = self.nodes[link.start], self.nodes[link.end]
        if link.route in ("direct", "arc"):
            return _through_middles(start, end, link.bend - 0.5 if link.route == "arc" else 0.0)
        return _route(start.box, end.box, link.route, link.bend)

    def transpose(self) -> None:
        """Swap x and y, so that what ran to the right runs down; leaves stay wider than high and upright."""
        self.width, self.height = self.height, self.width
        for node in self.nodes:
            node.box = _swap(node.box) if node.kind in ("container", "lane") else _turn(node.box)
            node.title = "top" if node.title == "left" else node.title


def _swap(box: tuple) -> tuple:
    return box[1], box[0], box[3], box[2]


def _turn(box: tuple) -> tuple:
    """Return the swapped box; one that became higher than wide gets the proportions back, as far as there is room."""
    x1, y1, x2, y2 = _swap(box)
    (x, y), (wide, high) = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
    if high > wide:
        wide, high = min(high, 1.2 * wide), min(high, wide)
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def _route(a: tuple, b: tuple, route: str, share: float) -> list[tuple[float, float]]:
    """Return the points of a line from box a to box b."""
    (ax, ay), (bx, by) = ((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
    gap_x, gap_y = max(b[0] - a[2], a[0] - b[2]), max(b[1] - a[3], a[1] - b[3])
    along_x = gap_x >= gap_y
    if along_x:
        start, end = ((a[2] if bx > ax else a[0]), ay), ((b[0] if bx > ax else b[2]), by)
    else:
        start, end = (ax, (a[3] if by > ay else a[1])), (bx, (b[1] if by > ay else b[3]))
    if route == "straight":
        return [start, end]
    share = 0.5 if route == "curve" else share
    if along_x:
        bend = start[0] + share * (end[0] - start[0])
        corners = [start, (bend, start[1]), (bend, end[1]), end]
    else:
        bend = start[1] + share * (end[1] - start[1])
        corners = [start, (start[0], bend), (end[0], bend), end]
    return _bezier(corners) if route == "curve" else corners


def _through_middles(a: Node, b: Node, bow: float) -> list[tuple[float, float]]:
    """Return the points of a line from outline to outline, bowed aside by a share of its length."""
    start, end = border(a.shape, a.box, b.middle), border(b.shape, b.box, a.middle)
    if not bow:
        return [tuple(start), tuple(end)]
    aside = bow * np.array([start[1] - end[1], end[0] - start[0]])
    return _bezier([start, start + (end - start) / 3 + aside, end + (start - end) / 3 + aside, end])


def _bezier(corners: list[tuple[float, float]], steps: int = 14) -> list[tuple[float, float]]:
    """Return points on the cubic curve with the four given control points."""
    t = np.linspace(0, 1, steps)[:, None]
    a, b, c, d = np.asarray(corners)
    curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    return [tuple(point) for point in curve]
