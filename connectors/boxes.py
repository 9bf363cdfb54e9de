"""Where boxes are: which hold others, what lies in them, which of them a point has reached."""

from __future__ import annotations

import numpy as np

MARGIN, REACH = 3, 5  # pixels: a box's outline ends there; strokes that come so near have arrived


def covered(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool: what lies in a box or on its outline."""
    found, margin = np.zeros(shape, bool), np.minimum(MARGIN, room(boxes))[:, None]
    for x1, y1, x2, y2 in (
        np.column_stack([np.floor(boxes[:, :2] - margin), np.ceil(boxes[:, 2:] + margin)]).astype(int).clip(0)
    ):
        found[y1:y2, x1:x2] = True
    return found


def gaps(boxes: np.ndarray) -> np.ndarray:
    """Return (N, N, 2): how far each two boxes lie apart along x and along y, negative where they overlap there."""
    return np.maximum(boxes[:, None, :2] - boxes[None, :, 2:], boxes[None, :, :2] - boxes[:, None, 2:])


def room(boxes: np.ndarray) -> np.ndarray:
    """Return a quarter of the gap between each box and its nearest neighbour, 1 pixel at least."""
    off = gaps(boxes).max(2)
    np.fill_diagonal(off, np.inf)
    return np.maximum(1, off.min(1, initial=np.inf) / 4)


def leaves(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes hold no others."""
    middles, areas = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).prod(1)
    held = ((middles[None] > boxes[:, None, :2]) & (middles[None] < boxes[:, None, 2:])).all(2)
    return ~(held & (areas[None] < 0.8 * areas[:, None])).any(1)


def arrived(points: np.ndarray, half: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the nearest box to each point (K, 2) of a stroke so wide (half), -1 where it does not reach one."""
    if not len(points) or not len(boxes):
        return np.full(len(points), -1)
    off = np.maximum(np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:]), 0)
    far = np.hypot(off[..., 0], off[..., 1])
    nearest = far.argmin(1)
    reach = half + MARGIN + np.minimum(REACH, room(boxes))[nearest]
    return np.where(far[np.arange(len(points)), nearest] <= reach, nearest, -1)
