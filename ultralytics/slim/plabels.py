"""Write nodes and their parents in the format that `relation.read_plabels` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plabels_text(classes: Sequence[int], boxes, parents: Sequence[int], image_size: tuple[int, int]) -> str:
    """Return one line `cls x y w h px py pw ph p` a node.

    Args:
        classes: N class numbers.
        boxes: (N, 4) xyxy in pixels; what lies outside the image is cut off, as the format allows shares of it alone.
        parents: N indices of parents, -1 for a root.
        image_size: (width, height) in pixels.
    """
    size = np.tile(np.asarray(image_size, dtype=float), 2)
    shares = np.clip(np.asarray(boxes, dtype=float).reshape(-1, 4) / size, 0, 1)
    centred = np.hstack([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]])
    texts = [" ".join(f"{value:.6f}" for value in row) for row in centred]
    root = " ".join(["0.000000"] * 4)
    rows = zip(classes, texts, parents)
    return "".join(f"{int(number)} {text} {texts[p] if p >= 0 else root} {p}\n" for number, text, p in rows)
