"""A canvas and a pen that shakes: lines, fills, arrow heads and text, drawn with OpenCV at twice the final size."""

from __future__ import annotations

import cv2
import numpy as np

from . import lettering
from .style import Color, Style

ZOOM = 2  # the canvas has this many pixels for one of the drawing
_SHIFT = 4  # fractional bits of OpenCV's coordinates


class Pen:
    """Draws on `canvas` (H, W, 3) BGR uint8; coordinates and widths are pixels of the drawing, not of the canvas."""

    def __init__(self, canvas: np.ndarray, style: Style, rng: np.random.Generator):
        self.canvas, self.style, self.rng = canvas, style, rng
        self.slant = rng.uniform(-0.1, 0.3)

    def shake(self, points: np.ndarray) -> np.ndarray:
        """Return the polyline (K, 2) resampled every 6 pixels and displaced smoothly by the hand's wobble."""
        if not self.style.wobble:
            return points
        points = _resample(points, 6.0)
        knots = max(3, len(points) // 4)
        reach = min(1.0, 0.25 + float(np.ptp(points, axis=0).max()) / 80)  # a small figure is drawn more carefully
        push = self.rng.normal(0, self.style.wobble * reach, (knots, 2))
        place = np.linspace(0, knots - 1, len(points))
        return points + np.column_stack([np.interp(place, np.arange(knots), push[:, i]) for i in (0, 1)])

    def line(self, points: np.ndarray, color: Color | None = None, width: float = 0, line: str = "solid") -> None:
        """Draw a polyline as it is, by default in the style's ink and stroke; a hand's pressure varies."""
        color, width = color or self.style.ink, width or self.style.stroke
        if self.style.hand:
            width *= self.rng.uniform(0.85, 1.15)
        dashes = {"dashed": (5.0, 3.5), "dotted": (1.5, 2.0 + 1.5 * width)}
        pieces = _dashes(points, *dashes[line]) if line in dashes else [points]
        pieces = [_fixed(piece) for piece in pieces]
        cv2.polylines(self.canvas, pieces, False, color, max(1, round(width * ZOOM)), cv2.LINE_AA, _SHIFT)

    def fill(self, points: np.ndarray, color: Color) -> None:
        """Fill a closed polyline; a hand hatches it instead."""
        if not self.style.hand:
            cv2.fillPoly(self.canvas, [_fixed(points)], color, cv2.LINE_AA, _SHIFT)
            return
        view, corner = self._crop(points, 0)
        mask = np.zeros(view.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed(points - corner)], 255, cv2.LINE_AA, _SHIFT)
        hatch, darker = view.copy(), tuple(int(c * 0.8) for c in color)
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        for x in np.arange(x1 - (y2 - y1), x2, self.rng.uniform(3.5, 6)):
            stroke = self.shake(np.array([[x, y2], [x + y2 - y1, y1]])) - corner
            cv2.polylines(hatch, [_fixed(stroke)], False, darker, 2, cv2.LINE_AA, _SHIFT)
        view[mask > 127] = hatch[mask > 127]

    def shade(self, points: np.ndarray) -> None:
        """Darken the canvas under a closed polyline, moved down and to the right, as a soft shadow."""
        view, corner = self._crop(points, 12)
        mask = np.zeros(view.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed(points + 3 - corner)], 90, cv2.LINE_AA, _SHIFT)
        mask = cv2.GaussianBlur(mask, (0, 0), 3)[..., None] / 255.0
        view[:] = (view * (1 - mask)).astype(np.uint8)

    def _crop(self, points: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """Return (the part of the canvas around the points, its corner (2,) in the drawing)."""
        low = np.maximum(((points.min(0) - margin) * ZOOM).astype(int), 0)
        high = np.maximum(((points.max(0) + margin) * ZOOM).astype(int) + 1, low + 1)
        return self.canvas[low[1] : high[1], low[0] : high[0]], low / ZOOM

    def head(self, points: np.ndarray, kind: str, color: Color, size: float) -> None:
        """Draw an arrow head `arrow`, `open`, `hollow`, `diamond` or `dot` at a polyline's end; a hand fills none."""
        tip = points[-1]
        back = points[max(0, len(points) - 3)] - tip
        back = back / max(1e-6, float(np.hypot(*back))) * self.rng.uniform(5.0, 8.0) * max(1.0, size)
        side = np.array([-back[1], back[0]]) * 0.45
        barbs = np.array([tip + back + side, tip, tip + back - side])
        if kind == "diamond":
            barbs = np.array([tip, tip + back / 2 + side * 0.8, tip + back, tip + back / 2 - side * 0.8, tip])
        elif kind == "dot":
            turn = np.linspace(0, 2 * np.pi, 16)[:, None]
            barbs = tip + 0.35 * back + 0.35 * float(np.hypot(*back)) * np.column_stack([np.cos(turn), np.sin(turn)])
        elif kind == "hollow":
            barbs = np.array([*barbs, barbs[0]])
        if kind == "hollow" or kind in ("arrow", "diamond", "dot") and not self.style.hand:
            fill = self.style.paper if kind == "hollow" else color
            cv2.fillPoly(self.canvas, [_fixed(barbs)], fill, cv2.LINE_AA, _SHIFT)
        if kind in ("open", "hollow") or self.style.hand:
            self.line(barbs + self.rng.normal(0, self.style.wobble * 0.3, barbs.shape), color)

    def text(self, text: str, box: tuple[float, float, float, float], size: float, upwards: bool = False) -> None:
        """Write a text into the middle of a box, turned to read upwards if so asked; left out where it cannot fit."""
        (x, y), (wide, high) = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[2] - box[0], box[3] - box[1])
        if upwards:
            wide, high = high, wide
        lines, size = lettering.wrap(text, wide, high, size, 5.0)
        for i, line in enumerate(lines):
            drop = (i - (len(lines) - 1) / 2) * 1.15 * size
            write = self._letter if self.style.hand else self._type
            write(line, (x + drop, y) if upwards else (x, y + drop), size, upwards)

    def _letter(self, line: str, at: tuple[float, float], size: float, upwards: bool) -> None:
        found = lettering.strokes(self.rng, line, 0, 0, size, self.slant)
        found = [np.array(at) + (p[:, ::-1] * [1, -1] if upwards else p) for p in found]
        width = max(1, round(min(self.style.stroke, 0.1 * size) * ZOOM))
        cv2.polylines(self.canvas, [_fixed(p) for p in found], False, self.style.ink, width, cv2.LINE_AA, _SHIFT)

    def _type(self, line: str, at: tuple[float, float], size: float, upwards: bool) -> None:
        mask = lettering.type_mask(line, self.style.font, max(6, round(size * ZOOM * 0.86)))
        mask = np.rot90(mask) if upwards else mask
        high, wide = mask.shape
        x, y = round(at[0] * ZOOM - wide / 2), round(at[1] * ZOOM - high / 2)
        if x < 0 or y < 0 or x + wide > self.canvas.shape[1] or y + high > self.canvas.shape[0]:
            return
        view = self.canvas[y : y + high, x : x + wide]
        view[:] = (view * (1 - mask[..., None]) + np.array(self.style.ink) * mask[..., None]).astype(np.uint8)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return (K, 1, 2) int32 canvas coordinates in OpenCV's fixed point."""
    return np.round(np.asarray(points) * ZOOM * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _resample(points: np.ndarray, step: float) -> np.ndarray:
    """Return points about every `step` along a polyline, its own corners kept."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    place = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.union1d(place, np.arange(0, place[-1], step))
    return np.column_stack([np.interp(wanted, place, points[:, i]) for i in (0, 1)])


def _dashes(points: np.ndarray, on: float, off: float) -> list[np.ndarray]:
    """Cut a polyline into dashes."""
    fine = _resample(np.asarray(points, dtype=float), min(1.5, on / 3))
    place = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(fine, axis=0).T))])
    number = (place // (on + off)).astype(int)
    drawn = place % (on + off) <= on
    return [fine[(number == n) & drawn] for n in range(number[-1] + 1)]
