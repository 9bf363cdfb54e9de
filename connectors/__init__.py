"""Which boxes of a drawing are joined by a stroke, read from the picture.

    boxes    which hold others, what lies in them, which of them a point has reached
    strokes  what is a stroke: thin, and unlike its background (thin.py); on busy pictures in one of its inks (inks.py)
    lines    strokes thinned to lines, and parted into pieces between ends, junctions and boxes
    ways     ways along the pieces: straight on at crossings, over gaps, round bends; heads.py weighs the ink at ends
    forest   the most probable forest of parents

Pure functions of NumPy, SciPy and OpenCV; networkx finds the forest.
"""

from __future__ import annotations

import cv2
import numpy as np

from .boxes import covered, leaves
from .forest import joined_share, most_probable_forest
from .heads import weigh_heads
from .lines import read_lines
from .strokes import stroke_masks, zoom
from .ways import Connection, Ways

__all__ = ("Connection", "find_connections", "most_probable_forest")

ENOUGH = 0.8  # share of a tree's edges that strokes must join for no others to be looked for


def find_connections(image: np.ndarray, boxes: np.ndarray) -> list[Connection]:
    """Return the strokes that join two boxes each.

    Args:
        image: (H, W, 3) BGR uint8.
        boxes: (N, 4) xyxy in its pixels; those that hold others are passed over.
    """
    kept = np.flatnonzero(leaves(boxes))
    if len(kept) < 2:
        return []
    scale = zoom(image.shape, boxes[kept])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
    found, most = [], -1.0
    inside = covered(boxes[kept] * scale, image.shape[:2])
    for strokes in stroke_masks(image, boxes[kept] * scale, inside):
        tried = _between(image, boxes[kept] * scale, strokes)
        share = joined_share(tried, len(kept))
        if share > most:
            found, most = tried, share
        if most > ENOUGH:
            break
    for connection in found:
        connection.a, connection.b = int(kept[connection.a]), int(kept[connection.b])
        connection.path = connection.path / scale
    return found


def _between(image: np.ndarray, boxes: np.ndarray, strokes: np.ndarray) -> list[Connection]:
    lines = read_lines(strokes, boxes)
    found = Ways(lines, boxes, image).between()
    weigh_heads(found, strokes, lines)
    return found
