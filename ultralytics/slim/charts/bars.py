"""Charts of amounts side by side: histograms, columns, profiles, and pairs joined by a line.

Each is one `<svg>` with a tooltip at every mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .placement import LETTER
from .svg import RIGHT, SERIES, WIDTH, Axes, bar, dot, legend, line, number, path, svg, text, ticks, value_range

MARGIN_MAX, ROW = 150, 24  # of the names beside dumbbells, and from row to row, pixels


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


def dumbbells(title: str, rows: Sequence[tuple[str, float, float]], names: tuple[str, str], xlabel: str) -> str:
    """Draw rows of (name, before, after), each as two dots on a line."""
    margin = min(MARGIN_MAX, 16 + LETTER * max(len(row[0]) for row in rows))
    height, top = 78 + ROW * len(rows), max(max(b, a) for _, b, a in rows) * 1.05 or 1
    unit = (WIDTH - margin - RIGHT - 8) / top
    parts = legend([(names[0], "a"), (names[1], "b")])
    for tick in ticks(0, top):
        x = margin + tick * unit
        parts += [line(x, 30, x, height - 38, "g"), text(x, height - 22, number(tick), anchor="middle")]
    for index, (name, before, after) in enumerate(rows):
        y, b, a = 46 + ROW * index, margin + before * unit, margin + after * unit
        css = "b" if after >= before else "d"
        parts += [text(margin - 10, y + 4, _short(name), "t", "end"), line(b, y, a, y, f"s-{css}", 2)]
        parts.append(dot(b, y, 6, "f-a", f"{name}, {names[0]}: {before:.3g}"))
        parts.append(dot(a, y, 6, f"f-{css}", f"{name}, {names[1]}: {after:.3g}"))
    return svg(height, title, [*parts, text(margin, height - 5, xlabel)])


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def columns(title: str, rows: Sequence[tuple[str, float, float]], names: tuple[str, str], ylabel: str) -> str:
    """Draw rows of (name, before, after) as thin columns: the whole before, and in it what is left."""
    axes = Axes((0, len(rows)), (0, max(b for _, b, _ in rows) * 1.05 or 1))
    parts = axes.frame("layer, from the input to the head", ylabel, [])
    for index, (name, before, after) in enumerate(rows):
        width = axes.px(index + 1) - axes.px(index)
        for css, value in (("f-a", before), ("f-b", after)):
            x, y = axes.px(index) + 0.15 * width, axes.py(value)
            parts.append(bar(x, y, 0.7 * width, axes.py(0) - y, css, f"{name}: {before} to {after}"))
    return svg(axes.height, title, parts + legend([(names[0], "a"), (names[1], "b")]))


def profile(title: str, names: Sequence[str], rows: dict[str, Sequence[float]], ylabel: str, top: float) -> str:
    """Draw values over named layers, a line for each row; what is above `top` is drawn at it, NaN is left out."""
    shown = [min(v, top) for row in rows.values() for v in row if math.isfinite(v)]
    axes = Axes((-0.5, len(names) - 0.5), value_range(shown))
    parts = axes.frame("layer, from the input to the head", ylabel, [])
    for css, (label, row) in zip(SERIES, rows.items()):
        points = [(i, min(v, top), f"{names[i]}, {label}: {v:.4g}") for i, v in enumerate(row) if math.isfinite(v)]
        places = [(axes.px(i), axes.py(v)) for i, v, _ in points]
        parts.append(f'<path class="s-{css}" stroke-width="1.5" d="{path(places or [(0, 0)])}"/>')
        parts += [dot(x, y, 3, f"f-{css}", tip) for (x, y), (_, _, tip) in zip(places, points)]
    return svg(axes.height, title, parts + legend(list(zip(rows, SERIES))))
