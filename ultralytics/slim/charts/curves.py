"""Charts of courses: over epochs, and of accuracy against cost; each is one `<svg>` with a tooltip at every mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .placement import BOLD, LETTER, Box, Dot, place
from .svg import LEFT, RIGHT, SERIES, WIDTH, Axes, bar, dot, legend, line, path, svg, text, ticks, value_range

STAGE_COLORS = ("c", "b", "d", "e")  # of the trainings, in order


def trace(title: str, stages: dict[str, Sequence[float]], ylabel: str, level: tuple[str, float] | None = None) -> str:
    """Draw one measure over the epochs of several trainings, one after the other.

    Args:
        title: What it shows, for those who cannot see it.
        stages: Name -> a value an epoch.
        ylabel: Name of the measure.
        level: (name, value) of a dashed line to compare with.
    """
    total = sum(map(len, stages.values()))
    values = [v for row in stages.values() for v in row if math.isfinite(v)] + ([level[1]] if level else [])
    axes = Axes((0.5, total + 0.5), value_range(values))
    parts, start = axes.frame("epoch", ylabel, _whole(total)), 0
    for css, (name, row) in zip(STAGE_COLORS, stages.items()):
        points = [(axes.px(start + i + 1), axes.py(v), v) for i, v in enumerate(row) if math.isfinite(v)]
        parts.append(f'<path class="s-{css}" stroke-width="2.5" d="{path([p[:2] for p in points] or [(0, 0)])}"/>')
        radius = 3 if total < 60 else 1.5
        parts += [dot(x, y, radius, f"f-{css}", f"{name}, epoch {i}: {v:.4g}") for i, (x, y, v) in enumerate(points, 1)]
        start += len(row)
    if level:
        y = axes.py(level[1])
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "s-a", 2, "6 5"))
    named = list(zip(stages, STAGE_COLORS)) + ([(level[0], "a")] if level else [])
    return svg(axes.height, title, parts + legend(named))


def _whole(total: int) -> list[float]:
    """Return the numbers of epochs to write under an axis."""
    return [t for t in ticks(1, max(total, 2), 6) if t == int(t)] if total > 6 else list(range(1, total + 1))


def stack(title: str, layers: dict[str, Sequence[float]], borders: Sequence[tuple[int, str]], ylabel: str) -> str:
    """Draw shares of a sum over epochs, one on top of the other.

    Args:
        title: What it shows.
        layers: Name -> a value an epoch, lowest layer first.
        borders: (index of its first epoch, name) of each training.
        ylabel: Name of the sum.
    """
    total = max(map(len, layers.values()))
    base, sums = [0.0] * total, [sum(v for v in column if math.isfinite(v)) for column in zip(*layers.values())]
    axes = Axes((0, total), (0, max(sums, default=0) * 1.08 or 1))
    parts = axes.frame("epoch", ylabel, [])
    for css, (name, values) in zip(SERIES, layers.items()):
        for i, value in enumerate(values):
            if math.isfinite(value) and value > 0:
                x, y = axes.px(i), axes.py(base[i] + value)
                width, height = axes.px(i + 1) - x - (total < 120), axes.py(base[i]) - y
                parts.append(bar(x, y, width, height, f"f-{css}", f"{name}, {value:.4g} of {sums[i]:.4g}"))
                base[i] += value
    for first, name in borders:
        x, floor = axes.px(first), axes.height - axes.bottom
        parts += [line(x, axes.top, x, floor + 6, "g"), text(x + 3, floor + 16, name, "t")]
    return svg(axes.height, title, parts + legend(list(zip(layers, SERIES))))


def fan(title: str, rows: dict[str, Sequence[float]], ylabel: str) -> str:
    """Draw three quantiles over epochs, lowest first: a band between the outer ones, the middle one as a line."""
    (first, low), (middle, values), (last, high) = rows.items()
    axes = Axes((1, len(values)), (0, max(high) * 1.08 or 1))
    lower, centre, upper = ([(axes.px(i), axes.py(v)) for i, v in enumerate(row, 1)] for row in (low, values, high))
    parts = axes.frame("epoch", ylabel, _whole(len(values)))
    parts.append(f'<path class="f-a" opacity="0.45" d="{path(lower + upper[::-1])}Z"/>')
    parts.append(f'<path class="s-b" stroke-width="2.5" d="{path(centre)}"/>')
    return svg(axes.height, title, parts + legend([(f"{first} to {last} of the channels", "a"), (middle, "b")]))


def journey(
    title: str,
    points: Sequence[tuple[str, float, float]],
    xlabel: str,
    ylabel: str,
    beside: Sequence[tuple[str, float, float | None]] = (),
) -> str:
    """Draw named points (name, x, y) in order, joined by a line; the first is the reference.

    Points `beside` are not on the line, and those without a y become a vertical line.
    """
    axes = Axes(
        (0, max(p[1] for p in (*points, *beside)) * 1.12 or 1),
        value_range([p[2] for p in (*points, *beside) if p[2] is not None]),
        270,
    )
    joined, known = len(points), [*points, *((name, x, y) for name, x, y in beside if y is not None)]
    ends = {0, joined - 1}
    looks = [(8, BOLD) if i in ends else (5, LETTER) for i in range(len(known))]
    dots = [Dot(axes.px(x), axes.py(y), radius, name, letter) for (name, x, y), (radius, letter) in zip(known, looks)]
    line_through = [d[:2] for d in dots[:joined]]
    parts = axes.frame(xlabel, ylabel)
    parts.append(f'<path class="s-a" stroke-width="1.5" stroke-dasharray="4 4" d="{path(line_through)}"/>')
    taken = []
    for name, x, _ in (p for p in beside if p[2] is None):
        drawn, box = _upright(axes, name, x)
        parts += drawn
        taken.append(box)
    for index, ((name, x, y), d) in enumerate(zip(known, dots)):
        css = "f-d" if index >= joined else "f-b" if index else "f-a"
        parts.append(dot(d.x, d.y, d.radius, css, f"{name}: {x:.4g}, {y:.4g}", name))
    styles = ["h" if i in ends else "t" for i in range(len(known))]
    return svg(axes.height, title, parts + _names(axes, dots, styles, taken, [line_through]))


def _names(
    axes: Axes,
    dots: Sequence[Dot],
    styles: Sequence[str],
    taken: Sequence[Box] = (),
    joined: Sequence[Sequence[tuple[float, float]]] = (),
) -> list[str]:
    """Write the name of each dot beside it, with a line to it where that is farther away."""
    frame = Box(LEFT + 2, axes.top - 6, WIDTH - 2, axes.height - axes.bottom - 2)
    labels = place(dots, frame, taken, joined)
    leaders = [line(*label.leader, "s-a") for label in labels if label.leader]  # behind all names
    names = [text(label.x, label.baseline, d.name, s, label.anchor) for d, s, label in zip(dots, styles, labels)]
    return leaders + names


def _upright(axes: Axes, name: str, x: float) -> tuple[list[str], Box]:
    """Draw a vertical line at x with its name at the top; return also where that name is."""
    px, floor = axes.px(x), axes.height - axes.bottom
    start, anchor = (px - 6, "end") if px > WIDTH / 2 else (px + 6, "start")
    wide = LETTER * len(name)
    left = start - wide if anchor == "end" else start
    drawn = [
        f"<g><title>{escape(name)}: {x:.4g}</title>{line(px, axes.top, px, floor, 's-d', 1.5, '2 4')}</g>",
        text(start, axes.top + 10, name, "t", anchor),
    ]
    return drawn, Box(left, axes.top - 1, left + wide, axes.top + 13)


def scatter(title: str, groups: dict[str, Sequence[tuple[str, float, float]]], xlabel: str, ylabel: str) -> str:
    """Draw named points (name, x, y) of up to five groups, each in a colour of its own.

    Points of one name are joined by a line, and the name is written once, at the rightmost.
    """
    points = sorted(((css, *p) for css, rows in zip(SERIES, groups.values()) for p in rows), key=lambda p: -p[2])
    low, high = min(p[3] for p in points), max(p[3] for p in points)
    room = max(high - low, 0.02 * high) / 5
    axes = Axes((0, max(p[2] for p in points) * 1.12 or 1), (max(0.0, low - room), high + room), 330)
    parts = axes.frame(xlabel, ylabel) + legend(list(zip(groups, SERIES)))
    lines: dict[tuple[str, str], list[Dot]] = {}
    for css, name, x, y in points:
        lines.setdefault((css, name), []).append(Dot(axes.px(x), axes.py(y), 5, name))
    joined = [[d[:2] for d in dots] for dots in lines.values()]
    parts += [f'<path class="s-{css}" stroke-width="1" d="{path(c)}"/>' for (css, _), c in zip(lines, joined) if c[1:]]
    for css, name, x, y in points:
        parts.append(dot(axes.px(x), axes.py(y), 5, f"f-{css}", f"{name}: {x:.4g}, {y:.4g}"))
    named, others = [dots[0] for dots in lines.values()], [d.box for dots in lines.values() for d in dots[1:]]
    return svg(axes.height, title, parts + _names(axes, named, ["t"] * len(named), others, joined))
