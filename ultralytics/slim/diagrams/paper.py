"""What is under the ink and what the camera does to it: paper, pattern, dirt, perspective, light, blur and noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np

from ultralytics.utils import ASSETS

from .pen import ZOOM
from .style import CLEAN, Style


def blank(rng: np.random.Generator, style: Style, width: int, height: int) -> np.ndarray:
    """Return an empty canvas (ZOOM * height, ZOOM * width, 3) BGR uint8 of the style's paper."""
    if style.ground != "paper":
        return _ground(rng, style, width * ZOOM, height * ZOOM)
    canvas = np.full((height * ZOOM, width * ZOOM, 3), style.paper, np.uint8)
    if style.pattern != "none":
        step, tone = rng.uniform(11, 17) * ZOOM, rng.uniform(0.72, 0.9)
        color = tuple(int(c * tone) for c in (style.paper[0], style.paper[1] * 0.98, style.paper[2] * 0.93))
        for y in np.arange(rng.uniform(0, step), height * ZOOM, step):
            cv2.line(canvas, (0, round(y)), (width * ZOOM, round(y)), color, 1, cv2.LINE_AA)
        for x in np.arange(rng.uniform(0, step), width * ZOOM, step) if style.pattern == "grid" else ():
            cv2.line(canvas, (round(x), 0), (round(x), height * ZOOM), color, 1, cv2.LINE_AA)
    return canvas


def _ground(rng: np.random.Generator, style: Style, width: int, height: int) -> np.ndarray:
    """Return a smooth change between two light colors, or a part of one of the photographs that are installed."""
    if style.ground == "gradient":
        corners = rng.integers(150, 256, (2, 2, 3)).astype(np.uint8)
        return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    photos = photographs()
    photo = cv2.imread(str(photos[int(rng.integers(len(photos)))]))
    share = rng.uniform(0.6, 1.0) * min(photo.shape[1] / width, photo.shape[0] / height)
    size = (np.array([height, width]) * share).astype(int)
    y, x = (rng.random(2) * (np.array(photo.shape[:2]) - size)).astype(int)
    part = photo[y : y + size[0], x : x + size[1]]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if share > 1 else cv2.INTER_CUBIC)


def photographs() -> list[Path]:
    """Return the photographs that come with Ultralytics and Matplotlib."""
    return [*sorted(ASSETS.glob("*.jpg")), *sorted(Path(matplotlib.get_data_path(), "sample_data").glob("*.jpg"))]


def view(rng: np.random.Generator, style: Style, width: int, height: int) -> np.ndarray:
    """Return the homography (3, 3) from the drawing to the finished image, both `width` x `height` pixels.

    A photo shows the whole sheet, tilted, on its desk; a scan or board is turned a little and kept inside the image.
    """
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    if style.medium in CLEAN:
        shrink, turn, tilt = rng.uniform(0.86, 1.0) if style.ground == "paper" else 1.0, 0.0, 0.0
    elif style.medium == "photo":
        shrink, turn, tilt = rng.uniform(0.66, 0.95), rng.normal(0, 2.5), 0.035
    else:
        shrink, turn, tilt = rng.uniform(0.8, 0.98), rng.normal(0, 1.5), 0.01
    turn = np.radians(np.clip(turn, -7, 7))
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    size = np.array([width, height])
    moved = (corners - size / 2) @ rotate.T * shrink + rng.uniform(-tilt, tilt, (4, 2)) * size
    moved -= (moved.max(0) + moved.min(0)) / 2
    moved *= min(1.0, float((0.985 * size / (moved.max(0) - moved.min(0))).min()))
    room = size - (moved.max(0) - moved.min(0))
    moved += size / 2 + rng.uniform(-0.45, 0.45, 2) * room
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def develop(rng: np.random.Generator, style: Style, canvas: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the finished image (H, W, 3) BGR uint8 of a canvas seen through the homography."""
    height, width = canvas.shape[0] // ZOOM, canvas.shape[1] // ZOOM
    matrix = matrix @ np.diag([1 / ZOOM, 1 / ZOOM, 1.0])
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.8)
    desk_seen = style.medium == "photo" and rng.random() < 0.6
    edge = cv2.BORDER_CONSTANT if desk_seen else cv2.BORDER_REPLICATE
    desk = tuple(int(c) for c in rng.integers(15, 170) * rng.uniform(0.7, 1.0, 3))
    image = cv2.warpPerspective(canvas, matrix, (width, height), borderMode=edge, borderValue=desk)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, {"screen": 0.4, "photo": 1.1}.get(style.medium, 0.7)))
    if style.medium in CLEAN:
        return image
    image = image * _light(rng, height, width, strength=0.4 if style.medium == "photo" else 0.12)[..., None]
    grain = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), 0.7)
    rough = rng.uniform(0.5, 1.0 if style.medium == "photo" else 0.6)
    image += grain[..., None] * 9 * rough**2 + rng.standard_normal(image.shape, np.float32) * 3 * rough
    return np.clip(image, 0, 255).astype(np.uint8)


def stain(rng: np.random.Generator, style: Style, canvas: np.ndarray) -> None:
    """Add what a sheet on a desk has: punch holes, a ring of coffee, a fold."""
    height, width = canvas.shape[:2]
    if style.medium in ("scan", "photo") and rng.random() < 0.25:
        for y in (0.3, 0.7):
            cv2.circle(canvas, (int(0.02 * width), int(y * height)), 9, (60, 60, 60), -1, cv2.LINE_AA)
    if style.medium == "photo" and rng.random() < 0.2:
        ring, middle = np.zeros((height, width), np.float32), rng.uniform(0, [width, height]).astype(int).tolist()
        cv2.circle(ring, middle, int(rng.uniform(60, 110)), 1.0, 7, cv2.LINE_AA)
        ring = cv2.GaussianBlur(ring, (0, 0), 2)[..., None] * rng.uniform(0.1, 0.3)
        canvas[:] = (canvas * (1 - ring * [0.9, 0.6, 0.4])).astype(np.uint8)
    if style.medium in ("scan", "photo") and rng.random() < 0.3:
        x = int(rng.uniform(0.2, 0.8) * width)
        fold = canvas[:, x : x + 40]
        fold[:] = (fold * np.linspace(0.9, 1, 40)[: fold.shape[1], None]).astype(np.uint8)


def _light(rng: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """Return smooth gains (H, W): a slope of light and soft shadows."""
    coarse = 1 - strength * rng.uniform(0, 1, (3, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    slope = np.linspace(0, rng.uniform(-1, 1), width)[None] + np.linspace(0, rng.uniform(-1, 1), height)[:, None]
    return np.clip(smooth * (1 + 0.5 * strength * slope), 0.15, 1.15).astype(np.float32)
