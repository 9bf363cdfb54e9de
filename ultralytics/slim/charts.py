"""The charts of the report, each one `<svg>` with a tooltip at every mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .svg import LEFT, RIGHT, SERIES, WIDTH, Axes, legend, number, path, svg, text, ticks

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
    axes = Axes((0.5, total + 0.5), (0, max(values, default=0) * 1.08 or 1))
    parts, start = axes.frame("epoch", ylabel, _whole(total)), 0
    for css, (name, row) in zip(STAGE_COLORS, stages.items()):
        points = [(axes.px(start + i + 1), axes.py(v), v) for i, v in enumerate(row) if math.isfinite(v)]
        parts.append(f'<path class="s-{css}" stroke-width="2.5" d="{path([p[:2] for p in points] or [(0, 0)])}"/>')
        parts += [
            f'<circle class="f-{css}" cx="{x:.1f}" cy="{y:.1f}" r="{3 if total < 60 else 1.5}"><title>'
            f"{escape(name)}, epoch {i + 1}: {v:.4g}</title></circle>"
            for i, (x, y, v) in enumerate(points)
        ]
        start += len(row)
    if level:
        y = axes.py(level[1])
        parts.append(f'<line class="s-a" stroke-width="2" stroke-dasharray="6 5" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
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
            if not (math.isfinite(value) and value > 0):
                continue
            x0, x1, y0, y1 = axes.px(i), axes.px(i + 1), axes.py(base[i]), axes.py(base[i] + value)
            parts.append(
                f'<rect class="f-{css}" x="{x0:.1f}" y="{y1:.1f}" width="{max(0.6, x1 - x0 - (1 if total < 120 else 0)):.1f}" '
                f'height="{y0 - y1:.1f}"><title>{escape(name)}, {value:.4g} of {sums[i]:.4g}</title></rect>'
            )
            base[i] += value
    for first, name in borders:
        x = axes.px(first)
        parts.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.top}" y2="{axes.height - axes.bottom + 6}"/>')
        parts.append(text(x + 3, axes.height - axes.bottom + 16, name, "t"))
    return svg(axes.height, title, parts + legend(list(zip(layers, SERIES))))


def histogram(title: str, edges: Sequence[float], rows: dict[str, Sequence[float]], xlabel: str) -> str:
    """Draw histograms over the same bins: the first as an area, the others as outlines."""
    top = max(max(row) for row in rows.values())
    axes = Axes((edges[0], edges[-1]), (0, top * 1.05 or 1))
    parts = axes.frame(xlabel, "channels")
    for css, (name, counts) in zip(SERIES, rows.items()):
        points = [(edges[0], 0.0)]
        for low, high, count in zip(edges, edges[1:], counts):
            points += [(low, count), (high, count)]
        shape = path([(axes.px(x), axes.py(y)) for x, y in [*points, (edges[-1], 0)]])
        first = css == SERIES[0]
        paint = f'class="f-{css}" opacity="0.55"' if first else f'class="s-{css}" stroke-width="2"'
        parts.append(f'<path {paint} d="{shape}"><title>{escape(name)}</title></path>')
    return svg(axes.height, title, parts + legend(list(zip(rows, SERIES))))


def fan(title: str, rows: dict[str, Sequence[float]], ylabel: str) -> str:
    """Draw quantiles over epochs, lowest first: a band from the first to the last, and a line in the middle."""
    low, middle, high = rows.values()
    count = len(middle)
    axes = Axes((1, count), (0, max(high) * 1.08 or 1))
    place = lambda row: [(axes.px(i + 1), axes.py(v)) for i, v in enumerate(row)]  # noqa: E731
    parts = axes.frame("epoch", ylabel, _whole(count))
    parts.append(f'<path class="f-a" opacity="0.45" d="{path(place(low) + place(high)[::-1])}Z"/>')
    parts.append(f'<path class="s-b" stroke-width="2.5" d="{path(place(middle))}"/>')
    first, *_, last = rows
    return svg(axes.height, title, parts + legend([(f"{first} to {last} of the channels", "a"), ("median", "b")]))


def journey(title: str, points: Sequence[tuple[str, float, float]], xlabel: str, ylabel: str) -> str:
    """Draw named points (name, x, y) in order, joined by a line; the first is the reference."""
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    axes = Axes((0, max(xs) * 1.12 or 1), (0, max(ys) * 1.15 or 1), 270)
    parts = axes.frame(xlabel, ylabel)
    places = [(axes.px(x), axes.py(y)) for _, x, y in points]
    parts.append(f'<path class="s-a" stroke-width="1.5" stroke-dasharray="4 4" d="{path(places)}"/>')
    taken: list[tuple[float, float]] = []
    for index, ((name, x, y), (px, py)) in enumerate(zip(points, places)):
        css, last = ("a" if index == 0 else "b"), index == len(points) - 1
        parts.append(
            f'<circle class="f-{css}" cx="{px:.1f}" cy="{py:.1f}" r="{8 if last or not index else 5}"><title>{escape(name)}: '
            f"{x:.4g}, {y:.4g}</title></circle>"
        )
        left = px > WIDTH / 2
        label_y = _free(taken, px, min(py + 4, axes.py(0) - 6))
        parts.append(text(px + (-12 if left else 12), label_y, name, "h" if last or not index else "t", "end" if left else "start"))
    return svg(axes.height, title, parts)


def _free(taken: list[tuple[float, float]], x: float, y: float) -> float:
    """Return the first height from `y` upwards at which a label keeps clear of those placed before."""
    while any(abs(x - tx) <= 100 and abs(y - ty) < 14 for tx, ty in taken):
        y -= 15
    taken.append((x, y))
    return y


def dumbbells(title: str, rows: Sequence[tuple[str, float, float]], names: tuple[str, str], xlabel: str) -> str:
    """Draw rows of (name, before, after), each as two dots on a line."""
    margin = min(150, 16 + 6.6 * max(len(row[0]) for row in rows))
    height, top = 52 + 24 * len(rows) + 26, max(max(b, a) for _, b, a in rows) * 1.05 or 1
    scale = lambda value: margin + value / top * (WIDTH - margin - RIGHT - 8)  # noqa: E731
    parts = legend([(names[0], "a"), (names[1], "b")])
    for tick in ticks(0, top):
        parts.append(f'<line class="g" x1="{scale(tick):.1f}" x2="{scale(tick):.1f}" y1="30" y2="{height - 38:.0f}"/>')
        parts.append(text(scale(tick), height - 22, number(tick), anchor="middle"))
    for index, (name, before, after) in enumerate(rows):
        y = 46 + 24 * index
        b, a = scale(before), scale(after)
        parts.append(text(margin - 10, y + 4, _short(name), "t", "end"))
        parts.append(f'<line class="s-{"b" if after >= before else "d"}" stroke-width="2" x1="{b:.1f}" x2="{a:.1f}" y1="{y}" y2="{y}"/>')
        for css, x, who, value in (("a", b, names[0], before), ("b" if after >= before else "d", a, names[1], after)):
            parts.append(f'<circle class="f-{css}" cx="{x:.1f}" cy="{y}" r="6"><title>{escape(f"{name}, {who}: {value:.3g}")}</title></circle>')
    return svg(height, title, [*parts, text(margin, height - 5, xlabel)])


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def columns(title: str, rows: Sequence[tuple[str, float, float]], names: tuple[str, str], ylabel: str) -> str:
    """Draw rows of (name, before, after) as thin columns: the whole before, and in it what is left."""
    axes = Axes((0, len(rows)), (0, max(b for _, b, _ in rows) * 1.05 or 1))
    parts = axes.frame("layer, from the input to the head", ylabel, [])
    for index, (name, before, after) in enumerate(rows):
        x0, x1 = axes.px(index), axes.px(index + 1)
        tip = f"<title>{escape(name)}: {before} to {after}</title>"
        for css, value in (("a", before), ("b", after)):
            y = axes.py(value)
            parts.append(
                f'<rect class="f-{css}" x="{x0 + 0.15 * (x1 - x0):.1f}" width="{0.7 * (x1 - x0):.1f}" y="{y:.1f}" '
                f'height="{axes.py(0) - y:.1f}">{tip}</rect>'
            )
    return svg(axes.height, title, parts + legend([(names[0], "a"), (names[1], "b")]))
