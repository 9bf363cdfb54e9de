"""Strokes told from their background by thinness; on busy pictures by their colours as well."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from . import inks
from .thin import AROUND, CONTRAST, THICK, THIN, largest, thinness

SIZE = 36  # pixels: the shorter side of a usual box at the zoom that strokes are looked for at
MOST_ZOOM, LEAST_PIXELS, MOST_PIXELS = 2.0, 2.5e5, 8e5  # and the limits of that zoom
NOISE = 2.2  # how far a stroke stands out of what is around it
COARSE = 4  # pixels of the picture in one that the background is estimated at
BUSY = 0.1  # share of the picture outside boxes with such responses above which it is busy
HOLE = 60  # pixels; smaller holes in strokes (hollow arrow heads, letters) are filled


def zoom(shape: tuple[int, ...], boxes: np.ndarray) -> float:
    """Return the zoom at which boxes are of the usual size, thin strokes are left, and there is time for all pixels."""
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1)
    size = max(1.0, float(np.median(sides))) if len(sides) else SIZE
    least, most = ((pixels / (shape[0] * shape[1])) ** 0.5 for pixels in (LEAST_PIXELS, MOST_PIXELS))
    return min(MOST_ZOOM, max(SIZE / size, min(1.0, least)), most)


def stroke_masks(image: np.ndarray, boxes: np.ndarray, inside: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (H, W) uint8 masks of what may be the strokes, the likeliest first: one, and more for a busy picture.

    What is thin and unlike what is around it, in any channel, is a stroke; on a busy picture, such as a photograph, so
    is much else. There, what is thin in one of the likeliest inks comes before it.

    Args:
        image: (H, W, 3) BGR uint8.
        boxes: (N, 4) xyxy.
        inside: (H, W) bool, what lies in a box.
    """
    unlike_all = cv2.absdiff(image, _background(image, inside))
    response = thinness(image, THIN)
    unlike = largest(cv2.min(response, unlike_all))
    if ((unlike > CONTRAST) & ~inside).sum() > BUSY * (~inside).sum():
        for mask in inks.masks(image, largest(response), boxes, inside):
            yield _without(mask, inside)
    else:
        unlike = largest(cv2.min(thinness(image, THICK), unlike_all))
    mask = unlike > np.maximum(CONTRAST, NOISE * cv2.blur(unlike, (AROUND, AROUND)))
    yield _without(mask.astype(np.uint8), inside)


def _without(mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    mask[inside] = 0
    _fill_holes(mask)
    return mask


def _background(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the picture without boxes and strokes: what most pixels around each are like."""
    size = tuple(max(1, side // COARSE) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    free = cv2.resize((~inside).astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    size = (2 * AROUND // COARSE + 1,) * 2
    mean = cv2.blur(small * free[..., None], size) / np.maximum(cv2.blur(free, size), 1e-3)[..., None]
    known = (free > 0.99)[..., None]
    filled = np.where(known, small, mean.round().astype(np.uint8))
    return cv2.resize(cv2.medianBlur(filled, AROUND // COARSE // 2 * 2 + 1), image.shape[1::-1])


def _fill_holes(strokes: np.ndarray) -> None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - strokes, connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < HOLE)
    keep = np.zeros(count, np.uint8)
    keep[small] = 1
    if len(small):
        strokes |= keep[labels] & (1 - strokes)
