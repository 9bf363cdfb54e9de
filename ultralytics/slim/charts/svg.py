"""The plane that the charts are drawn on: SVG text, sharp at any size, light or dark by CSS, no library needed.

Colours are CSS classes (`STYLE`), so that a page and its charts share them; `standalone` makes a chart a file of its
own. Coordinates are pixels of a picture `WIDTH` wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, LEFT, RIGHT, TOP = 460, 46, 14, 30
FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif"
SERIES = ("a", "b", "c", "d", "e")  # classes of the colours, in order
COLORS = {  # light, dark
    "ink": ("#1d2733", "#e6edf3"), "soft": ("#5c6b7a", "#9aa7b4"), "line": ("#d9e0e6", "#2d3742"),
    "card": ("#fff", "#18212a"), "a": ("#94a3b3", "#77879a"), "b": ("#0f766e", "#2dd4bf"), "c": ("#3b6fb6", "#79a9ef"),
    "d": ("#c2571a", "#f59e5b"), "e": ("#7a5195", "#c39be0"),
}  # fmt: skip


def _style() -> str:
    names = "".join(f"--{name}:{light};" for name, (light, _) in COLORS.items())
    dark = "".join(f"--{name}:{dark};" for name, (_, dark) in COLORS.items())
    fills = "".join(f".f-{s}{{fill:var(--{s})}}.s-{s}{{stroke:var(--{s});fill:none}}" for s in SERIES)
    return (
        f":root{{{names}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"svg.chart text{{font:12px {FONTS};fill:var(--soft)}}"
        "svg.chart .t,svg.chart .h{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:4px}"
        "svg.chart .h{font-weight:600;font-size:13px}"
        f"svg.chart .g{{stroke:var(--line)}}{fills}"
    )


STYLE = _style()


def standalone(svg: str) -> str:
    """Return the chart as an SVG file that brings its own colours."""
    return svg.replace(">", f"><style>{STYLE}</style>", 1)


def svg(height: float, title: str, body: Sequence[str]) -> str:
    """Return the picture; `title` says what it shows to those who cannot see it."""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    """Return a line of text; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, css: str, width: float = 1, dash: str = "") -> str:
    """Return a straight line; `dash` as in SVG, such as "6 5"."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line class="{css}" stroke-width="{width}"{dashes} {ends}/>'


def dot(x: float, y: float, radius: float, css: str, tip: str, key: str = "") -> str:
    """Return a disc with a tooltip; `key` is what a page knows it by."""
    known = f' data-key="{escape(key)}"' if key else ""
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
    return f'<circle class="{css}"{known} {place}><title>{escape(tip)}</title></circle>'


def bar(x: float, y: float, width: float, height: float, css: str, tip: str) -> str:
    """Return a rectangle with a tooltip; (x, y) is its upper left corner."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect class="{css}" {place}><title>{escape(tip)}</title></rect>'


def number(value: float) -> str:
    """Return a number short enough for an axis."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Axes:
    """The plane of a chart: maps values to pixels and draws its grid.

    Args:
        x, y: (low, high) of each axis.
        height: Of the whole picture; `bottom` and `top` are its margins.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: float = 250, bottom: float = 40):
        self.x, self.y, self.height, self.bottom, self.top = x, y, height, bottom, TOP + 12

    def px(self, value: float) -> float:
        low, high = self.x
        return LEFT + (value - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        low, high = self.y
        return self.height - self.bottom - (value - low) / ((high - low) or 1) * (self.height - self.bottom - self.top)

    def frame(self, xlabel: str, ylabel: str, xticks: Sequence[float] | None = None) -> list[str]:
        """Return grid lines, numbers and names of the axes."""
        parts = []
        for value in ticks(*self.y):
            y = self.py(value)
            parts.append(line(LEFT, y, WIDTH - RIGHT, y, "g"))
            parts.append(text(LEFT - 6, y + 4, number(value), anchor="end"))
        for value in ticks(*self.x, 6) if xticks is None else xticks:
            parts.append(text(self.px(value), self.height - self.bottom + 16, number(value), anchor="middle"))
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, self.height - 6, xlabel, anchor="middle"))
        return [*parts, text(8, self.top - 10, ylabel)]


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return the `d` of a line through points in pixels."""
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def legend(names: Sequence[tuple[str, str]], y: float = 16) -> list[str]:
    """Return a line of coloured names: pairs of (name, class of the colour)."""
    parts, x = [], float(LEFT)
    for name, css in names:
        parts.append(f'<rect class="f-{css}" x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2"/>')
        parts.append(text(x + 14, y, name, "t"))
        x += 28 + 6.6 * len(name)
    return parts


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, or from nearer where all values lie close together far from it."""
    low, high = min(values, default=0), max(values, default=0)
    span = max(high - low, 0.02 * high)
    if low > 0.6 * high > 0:
        return max(0.0, low - span), high + 0.3 * span
    return 0, high * 1.1 or 1
