"""Text in a drawing: type from the fonts that matplotlib ships, and an own alphabet of single strokes for lettering."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

# Strokes of each letter on a grid 4 wide and 6 high, y down; a blank lifts the pen.
ALPHABET = {
    "A": "06 20 46|14 34", "B": "06 00 30 41 32 03|32 44 36 06", "C": "41 20 01 05 26 45", "D": "00 06 25 43 21 00",
    "E": "40 00 06 46|03 33", "F": "40 00 06|03 33", "G": "41 20 01 05 26 45 43 23", "H": "00 06|40 46|03 43",
    "I": "20 26", "J": "30 35 16 05", "K": "00 06|40 03 46", "L": "00 06 46", "M": "06 00 23 40 46",
    "N": "06 00 46 40", "O": "20 01 05 26 45 41 20", "P": "06 00 30 42 33 03", "Q": "20 01 05 26 45 41 20|34 46",
    "R": "06 00 30 42 33 03|23 46", "S": "41 20 01 02 43 45 26 05", "T": "00 40|20 26", "U": "00 05 26 45 40",
    "V": "00 26 40", "W": "00 16 22 36 40", "X": "00 46|40 06", "Y": "00 23 40|23 26", "Z": "00 40 06 46",
}  # fmt: skip


def wrap(text: str, width: float, height: float, size: float, smallest: float) -> tuple[list[str], float]:
    """Break a text into lines that fit a box, shrinking the letters if need be.

    Args:
        size, smallest: Height of a line in pixels, as wished and at least.

    Returns:
        (lines, size); no lines where even the smallest letters do not fit.
    """
    words = text.split()
    while words and size >= smallest:
        lines = [words[0]]
        for word in words[1:]:
            if (len(lines[-1]) + 1 + len(word)) * 0.62 * size <= width:
                lines[-1] += " " + word
            else:
                lines.append(word)
        if max(map(len, lines)) * 0.62 * size <= width and len(lines) * 1.15 * size <= height:
            return lines, size
        size *= 0.88
    return [], size


def strokes(rng: np.random.Generator, line: str, x: float, y: float, size: float, slant: float) -> list[np.ndarray]:
    """Return the strokes, each (K, 2), of a hand-lettered line centred on (x, y)."""
    step = 0.62 * size
    left, high = x - len(line) * step / 2, 0.72 * size
    found = []
    for i, letter in enumerate(line.upper()):
        for stroke in filter(None, ALPHABET.get(letter, "").split("|")):
            grid = np.array([[int(p[0]), int(p[1])] for p in stroke.split()], dtype=float)
            points = grid * [0.42 * size / 4, high / 6] + rng.normal(0, 0.035 * size, grid.shape)
            points[:, 0] += slant * (high - points[:, 1]) + left + i * step
            points[:, 1] += y - high / 2 + rng.normal(0, 0.03 * size)
            found.append(points)
    return found


def type_mask(line: str, font: str, size: int) -> np.ndarray:
    """Return the coverage (h, w) in [0, 1] of a line of type."""
    mask = _load(font, size).getmask(line, mode="L")
    return np.asarray(mask, dtype=np.float32).reshape(mask.size[::-1]) / 255


@lru_cache(maxsize=64)
def _load(font: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font), size)
