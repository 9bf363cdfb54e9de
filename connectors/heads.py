"""The ink at the ends of connections, by which arrow heads are known."""

from __future__ import annotations

import cv2
import numpy as np

from .lines import Lines
from .ways import Connection

HEAD = 12  # pixels from a stroke's end that its head is in


def weigh_heads(found: list[Connection], strokes: np.ndarray, lines: Lines) -> None:
    """Weigh the ink at both ends of each connection: what is nearest to its own pieces, or to spurs."""
    if not found:
        return
    own = lines.piece > 0
    _, nearest = cv2.distanceTransformWithLabels(
        (~own).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    piece_of = np.zeros(nearest.max() + 1, np.int32)
    piece_of[nearest[own]] = lines.piece[own]
    owner = np.where(strokes > 0, piece_of[nearest], 0)
    spur = np.concatenate([[False], lines.lengths <= HEAD])
    for c in found:
        widths = np.concatenate([lines.widths[s] for s in c.pieces])
        inked = widths[widths > 0]
        width = max(1.0, float(np.median(inked))) if len(inked) else 1.0
        mine = spur.copy()
        mine[np.array(c.pieces) + 1] = True
        c.heads = tuple(_ink(c.path if end == 0 else c.path[::-1], owner, mine, strokes, width) for end in (0, 1))


def _ink(path: np.ndarray, owner: np.ndarray, mine: np.ndarray, strokes: np.ndarray, width: float) -> float:
    """Return the ink within reach of a path's first point, over what the path alone has there."""
    x, y = path[0].astype(int)
    low, left = max(0, y - HEAD), max(0, x - HEAD)
    part = owner[low : y + HEAD + 1, left : x + HEAD + 1]
    ys, xs = np.nonzero(part)
    near = (ys + low - y) ** 2 + (xs + left - x) ** 2 <= HEAD**2
    ink = mine[part[ys[near], xs[near]]].sum()
    points = path[np.hypot(*(path - path[0]).T) <= HEAD].astype(int)
    plain = strokes[points[:, 1], points[:, 0]].sum() * width
    return float((ink + 4) / (plain + 4))
