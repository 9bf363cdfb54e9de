"""Outlines of the nodes: polylines from a box; the first is the silhouette, which is what the label's box bounds."""

from __future__ import annotations

import numpy as np

Polylines = list[np.ndarray]  # each (K, 2) float, xy; closed lines repeat their first point


def outline(shape: str, box: tuple[float, float, float, float]) -> Polylines:
    """Return the polylines of a shape that fills a box xyxy; raises KeyError for an unknown shape."""
    unit = SHAPES[shape](((box[2] - box[0]) / max(1e-6, box[3] - box[1])))
    origin, size = np.array(box[:2]), np.array([box[2] - box[0], box[3] - box[1]])
    return [origin + size * np.asarray(line) for line in unit]


def border(shape: str, box: tuple[float, float, float, float], toward: tuple[float, float]) -> np.ndarray:
    """Return where (2,) the line from the box's middle to a point outside leaves the shape's silhouette."""
    line = outline(shape, box)[0]
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    way, sides = np.array(toward) - middle, np.diff(line, axis=0)
    across = way[0] * sides[:, 1] - way[1] * sides[:, 0]
    off = line[:-1] - middle
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (off[:, 0] * sides[:, 1] - off[:, 1] * sides[:, 0]) / across  # in lengths of the way
        at = (off[:, 0] * way[1] - off[:, 1] * way[0]) / across  # in lengths of the side
    hit = (along > 0) & (at >= 0) & (at <= 1)
    return middle + way * (along[hit].max() if hit.any() else 0.0)


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float, steps: int = 16) -> list:
    angles = np.radians(np.linspace(start, end, steps))
    return np.column_stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)]).tolist()


def _rect(aspect: float) -> list:
    return [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]]


def _round(aspect: float, share: float = 0.22) -> list:
    """Return a rectangle with corners rounded by a share of its shorter side."""
    rx, ry = share * min(1, 1 / aspect), share * min(1, aspect)
    line = _arc(1 - rx, ry, rx, ry, -90, 0, 6) + _arc(1 - rx, 1 - ry, rx, ry, 0, 90, 6)
    line += _arc(rx, 1 - ry, rx, ry, 90, 180, 6) + _arc(rx, ry, rx, ry, 180, 270, 6)
    return [line + line[:1]]


def _ellipse(aspect: float) -> list:
    return [_arc(0.5, 0.5, 0.5, 0.5, -100, 262, 32)]


def _double(aspect: float) -> list:
    return [*_ellipse(aspect), _arc(0.5, 0.5, 0.36, 0.36, 0, 360, 24)]


def _mail(aspect: float) -> list:
    flap = [(0.25, 0.35), (0.5, 0.53), (0.75, 0.35)]
    return [*_ellipse(aspect), [(0.25, 0.35), (0.75, 0.35), (0.75, 0.67), (0.25, 0.67), *flap]]


def _diamond(aspect: float) -> list:
    return [[(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5), (0.5, 0)]]


def _diamond_x(aspect: float) -> list:
    return [*_diamond(aspect), [(0.36, 0.36), (0.64, 0.64)], [(0.64, 0.36), (0.36, 0.64)]]


def _diamond_plus(aspect: float) -> list:
    return [*_diamond(aspect), [(0.5, 0.3), (0.5, 0.7)], [(0.3, 0.5), (0.7, 0.5)]]


def _document(aspect: float) -> list:
    return [[(0, 0), (0.65, 0), (1, 0.28), (1, 1), (0, 1), (0, 0)], [(0.65, 0), (0.65, 0.28), (1, 0.28)]]


def _cylinder(aspect: float) -> list:
    top = _arc(0.5, 0.14, 0.5, 0.14, 180, 360)
    side = top + _arc(0.5, 0.86, 0.5, 0.14, 0, 180)
    return [side + side[:1], _arc(0.5, 0.14, 0.5, 0.14, 0, 180)]


def _cloud(aspect: float) -> list:
    angles = np.linspace(0, 2 * np.pi, 80)
    radius = 0.44 + 0.06 * np.abs(np.sin(4.5 * angles))
    return [np.column_stack([0.5 + radius * np.cos(angles), 0.5 + radius * np.sin(angles)]).tolist()]


def _card(aspect: float) -> list:
    return [*_rect(aspect), [(0, 0.5), (1, 0.5)]]


def _badge(aspect: float) -> list:
    wide = min(0.3, 0.7 / aspect)
    head = _arc(wide / 2, 0.33, 0.28 * wide, 0.17, 0, 360, 14)
    body = _arc(wide / 2, 0.9, 0.4 * wide, 0.34, 180, 360, 10)
    return [*_rect(aspect), [(wide, 0), (wide, 1)], head, body]


def _underline(aspect: float) -> list:
    return [*_rect(aspect), [(0, 1), (1, 1)]]


SHAPES = {
    "rect": _rect,
    "pool": _rect,
    "dashed": _rect,
    "rounded": _round,
    "pill": lambda aspect: _round(aspect, 0.5),
    "ellipse": _ellipse,
    "circle": _ellipse,
    "double": _double,
    "mail": _mail,
    "diamond": _diamond,
    "diamond_x": _diamond_x,
    "diamond_plus": _diamond_plus,
    "document": _document,
    "cylinder": _cylinder,
    "cloud": _cloud,
    "card": _card,
    "badge": _badge,
    "underline": _underline,
}
