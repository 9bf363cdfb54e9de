"""Where the names of dots go in a chart, so that each clearly belongs to its own dot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

LETTER, BOLD = 6.6, 7.6  # mean width of a letter, pixels
HEIGHT, ASCENT = 14, 11  # of a line of text, and of what stands over its baseline, pixels
GAP = 4  # from a dot's rim to its name, pixels
APART = 1.5  # how many times as far another dot must be as a name's own
ROUNDS = 4  # in which every label is placed anew, with regard to the others


class Dot(NamedTuple):
    """A dot at (x, y) in pixels, the name to write beside it, and the mean width of that name's letters."""

    x: float
    y: float
    radius: float
    name: str
    letter: float = LETTER

    @property
    def box(self) -> Box:
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


class Box(NamedTuple):
    """A rectangle in pixels; y points down."""

    left: float
    top: float
    right: float
    bottom: float

    def gap(self, other: Box) -> float:
        """Return the distance to another box, 0 where they overlap."""
        aside = max(other.left - self.right, self.left - other.right, 0)
        return math.hypot(aside, max(other.top - self.bottom, self.top - other.bottom, 0))

    def covers(self, other: Box) -> bool:
        return self.gap(other) == 0

    def meets(self, start: Sequence[float], end: Sequence[float]) -> bool:
        """Return whether a straight line from (x, y) to (x, y) runs through it (Liang and Barsky's clipping)."""
        first, last = 0.0, 1.0  # the share of the line that is inside
        for a, b, low, high in zip(start, end, self[:2], self[2:]):
            if a == b and not low <= a <= high:
                return False
            if a != b:
                enters, leaves = sorted(((low - a) / (b - a), (high - a) / (b - a)))
                first, last = max(first, enters), min(last, leaves)
        return first <= last

    def beyond(self, frame: Box) -> float:
        """Return by how much it reaches over the sides of a frame."""
        over = (frame.left - self.left, frame.top - self.top, self.right - frame.right, self.bottom - frame.bottom)
        return sum(max(0.0, side) for side in over)


@dataclass(frozen=True)
class Label:
    """A place for a name: its box, how the text is anchored in it, and how far from the best place it is.

    `leader` is the line (x0, y0, x1, y1) that joins the name to its dot where it does not lie beside it, else None.
    """

    box: Box
    anchor: str
    detour: float
    leader: tuple[float, float, float, float] | None

    @property
    def x(self) -> float:
        return {"start": self.box.left, "end": self.box.right}.get(self.anchor, (self.box.left + self.box.right) / 2)

    @property
    def baseline(self) -> float:
        return self.box.top + ASCENT

    def strikes(self, box: Box) -> bool:
        """Return whether the leader runs through a box."""
        return bool(self.leader) and box.meets(self.leader[:2], self.leader[2:])


def place(
    dots: Sequence[Dot], frame: Box, taken: Sequence[Box] = (), joined: Sequence[Sequence[tuple[float, float]]] = ()
) -> list[Label]:
    """Return a label for each dot, in order.

    Every dot has a choice of places; labels are chosen in turn, several times over, each at least cost with regard to
    the others: names that cover dots or each other cost most, then those that another dot is nearly as close to or that
    are led to through one, then those that lie on a line of `joined` or far away.

    Args:
        dots: All dots of the chart.
        frame: Where names may be.
        taken: What else is in the way.
        joined: Corners of each line that connects dots.
    """
    strokes = [stroke for corners in joined for stroke in pairwise(corners)]
    choices = [
        [(_cost(dot, label, dots, frame, taken, strokes), label) for label in _choices(dot, frame)] for dot in dots
    ]
    chosen: dict[int, Label] = {}
    for _ in range(ROUNDS):
        for i, options in enumerate(choices):
            others = [(dots[j], label) for j, label in chosen.items() if j != i]
            chosen[i] = min(options, key=lambda o: o[0] + sum(_quarrel(dots[i], o[1], *other) for other in others))[1]
    return [chosen[i] for i in range(len(dots))]


def _choices(dot: Dot, frame: Box) -> list[Label]:
    """Return the places of a dot's name, beside, over and under it; inwards first."""
    wide, reach = dot.letter * len(dot.name), dot.radius + GAP
    middle = dot.y - HEIGHT / 2
    inwards = dot.x > (frame.left + frame.right) / 2
    labels = []
    for step in range(13):
        shift = step * HEIGHT / 2
        for down in (shift, -shift) if step else (0,):
            for left in (inwards, not inwards):
                start = dot.x - reach - wide if left else dot.x + reach
                box = Box(start, middle + down, start + wide, middle + down + HEIGHT)
                labels.append(_label(dot, box, "end" if left else "start", step + (left != inwards)))
        for top in (dot.y - reach - HEIGHT - shift, dot.y + reach + shift):
            box = Box(dot.x - wide / 2, top, dot.x + wide / 2, top + HEIGHT)
            labels.append(_label(dot, box, "middle", step + 1.5))
    return labels


def _label(dot: Dot, box: Box, anchor: str, detour: float) -> Label:
    end = min(max(dot.x, box.left), box.right), min(max(dot.y, box.top), box.bottom)
    away = math.dist(end, (dot.x, dot.y))
    if away - dot.radius <= GAP + 1:
        return Label(box, anchor, detour, None)
    rim = [c + (e - c) * dot.radius / away for c, e in zip((dot.x, dot.y), end)]
    return Label(box, anchor, detour + 3, (*rim, *end))


def _cost(own: Dot, label: Label, dots: Sequence[Dot], frame: Box, taken: Sequence[Box], strokes: list) -> float:
    hidden = sum(label.box.covers(box) for box in (*[dot.box for dot in dots], *taken))
    apart = [dot.box for dot in dots if math.dist(dot[:2], own[:2]) > dot.radius]  # in one place only the order tells
    away = 2 * GAP if label.leader else label.box.gap(own.box)
    nearest = min((label.box.gap(box) for box in apart), default=math.inf)
    doubt = 15 * (nearest < away - 1) or 3 * (nearest < APART * away)
    struck = sum(label.strikes(box) for box in (*apart, *taken))
    crossed = sum(label.box.meets(*stroke) for stroke in strokes)
    return 100 * hidden + 20 * label.box.beyond(frame) + doubt + 15 * struck + 2 * crossed + label.detour


def _quarrel(dot: Dot, label: Label, other_dot: Dot, other: Label) -> float:
    """Return what two labels cost together: one on the other or struck out, or in another order than close dots."""
    if label.box.gap(other.box) < 1:
        return 100
    close = math.dist(dot[:2], other_dot[:2]) < HEIGHT
    above = (label.box.top - other.box.top) * (dot.y - other_dot.y)
    return 30 * (close and above <= 0) + 15 * (label.strikes(other.box) or other.strikes(label.box))
