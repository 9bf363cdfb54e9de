"""The tiny data set: drawn boxes and discs, two classes, images of a box and a disc each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("box", "disc")


def draw_sample(folder: Path, split: str, name: str, seed: int, size: int = 128) -> None:
    """Draw one image with a box and a disc, one in each half, and write its label file."""
    random = np.random.default_rng(seed)
    image = np.full((size, size, 3), 235, np.uint8) + random.integers(0, 20, (size, size, 3), dtype=np.uint8)
    rows = []
    for number in range(len(CLASSES)):
        radius = int(random.integers(size // 10, size // 5))
        x = int(random.integers(radius, size // 2 - radius)) + number * size // 2
        y = int(random.integers(radius, size - radius))
        color = tuple(int(value) for value in random.integers(0, 160, 3))
        if number == 0:
            cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), color, -1)
        else:
            cv2.circle(image, (x, y), radius, color, -1)
        rows.append(f"{number} {x / size:.6f} {y / size:.6f} {2 * radius / size:.6f} {2 * radius / size:.6f}")
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / split / f"{name}.png"), image)
    (folder / "labels" / split / f"{name}.txt").write_text("\n".join(rows) + "\n")
