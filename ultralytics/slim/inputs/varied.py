"""Unlabelled images in endless variation: read when they are needed, each time flipped, scaled, shifted, relit anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from .unlabelled import as_tensor, read_pixels

SCALE = (0.6, 1.4)  # of the largest size that fits the square
SHIFT = 0.15  # of the side
GAIN, OFFSET = (0.6, 1.4), 30  # brightness, in 0..255
GREY = (114, 114, 114)  # what Ultralytics fills borders with


class VariedImages(Dataset):
    """Sample n is image n of an endless sequence of shuffled passes over all images, varied by its own dice.

    What a sample is depends on its number and the seed alone, whichever process makes it: an interrupted recovery goes
    on with the same samples.

    Args:
        items: Paths or arrays (H, W, 3), BGR.
        imgsz: Side of the square in pixels.
        channels: 3 or 1.
        count: How many samples there are.
        seed: Of order and variation.
        first: Number of the first sample.
        cover: Whether an image covers the square, as for a classifier, and not fits into it.
    """

    def __init__(
        self,
        items: Sequence[Any],
        imgsz: int,
        channels: int,
        count: int,
        seed: int,
        first: int = 0,
        cover: bool = False,
    ):
        self.items, self.imgsz, self.channels, self.count = items, imgsz, channels, count
        self.seed, self.first, self.cover = seed, first, cover
        self._pass, self._order = -1, np.arange(0)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a sample (C, imgsz, imgsz), RGB, uint8."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        number = self.first + index
        image = read_pixels(self.items[self._place(number)])
        return as_tensor(
            varied(image, self.imgsz, np.random.default_rng((self.seed, 1, number)), self.cover), self.channels
        )

    def _place(self, number: int) -> int:
        passed, place = divmod(number, len(self.items))
        if passed != self._pass:
            self._pass = passed
            self._order = np.random.default_rng((self.seed, 0, passed)).permutation(len(self.items))
        return int(self._order[place])


def varied(image: np.ndarray, imgsz: int, dice: np.random.Generator, cover: bool = False) -> np.ndarray:
    """Return an image (H, W, 3), uint8, on a square, flipped, scaled, shifted and relit at random."""
    height, width = image.shape[:2]
    scale = imgsz / (min if cover else max)(height, width) * dice.uniform(*SCALE)
    across, down = scale * dice.choice((-1, 1), 2)
    x, y = imgsz * (0.5 + dice.uniform(-SHIFT, SHIFT, 2))
    matrix = np.array([[across, 0, x - across * width / 2], [0, down, y - down * height / 2]])
    square = cv2.warpAffine(image, matrix, (imgsz, imgsz), borderValue=GREY)  # not averaged, as in validation
    relit = np.arange(256, dtype=np.float32) * dice.uniform(*GAIN) + dice.uniform(-OFFSET, OFFSET)
    return cv2.LUT(square, relit.clip(0, 255).astype(np.uint8))
