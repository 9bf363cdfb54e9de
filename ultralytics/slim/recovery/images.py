"""Unlabelled images in endless variation: read when they are needed, each time flipped, scaled, shifted, relit anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ultralytics.utils import LOGGER

from ..errors import InputError
from ..hints import few
from ..inputs.images import find_unreadable
from ..inputs.unlabelled import as_tensor, given_images, read_pixels, spread

LEAST = 10  # images: of fewer none is kept back

SCALE = (0.6, 1.4)  # of the largest size that fits the square
SHIFT = 0.15  # of the side
GAIN, OFFSET = (0.6, 1.4), 30  # brightness, in 0..255
GREY = (114, 114, 114)  # what Ultralytics fills borders with


def split_images(source: Any, most: int) -> tuple[list, list]:
    """Return (images to learn from, images kept back to measure on), evenly spread: a tenth, `most` at most.

    Images that cannot be read are left out and named in a warning; fewer than `LEAST` images are both.

    Args:
        source: As `given_images` takes it.
        most: Most images to keep back.

    Raises:
        InputError: None can be read.
    """
    items = _readable(given_images(source))
    if len(items) < LEAST:
        LOGGER.warning(
            f"images: only {len(items)} to learn from and to measure on, which says little of others; give a hundred "
            "or more from the place where the model will run"
        )
        return items, items
    held = spread(items, max(1, min(most, len(items) // 10)))
    kept = set(map(id, held))
    return [item for item in items if id(item) not in kept], held


def _readable(items: list) -> list:
    """Return the images that can be read; say which cannot."""
    bad = find_unreadable([Path(item) for item in items if isinstance(item, (str, Path))])
    if not bad:
        return items
    listed = few(list(bad.values()))
    if len(bad) == len(items):
        raise InputError(f"none of {len(items)} images can be read, for example {listed}")
    LOGGER.warning(f"images: {len(bad)} of {len(items)} cannot be read and are left out: {listed}")
    return [item for item in items if not (isinstance(item, (str, Path)) and Path(item) in bad)]


def nothing_seen(count: int) -> str:
    """Return the message for images in which the teacher detects nothing."""
    return (
        f"the teacher detects nothing in any of {count} images, so it cannot teach: are these images of the kind that "
        "it was trained on, and imgsz= about its training size?"
    )


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
    shrunk = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    square = cv2.warpAffine(image, matrix, (imgsz, imgsz), flags=shrunk, borderValue=GREY)
    relit = square * np.float32(dice.uniform(*GAIN)) + np.float32(dice.uniform(-OFFSET, OFFSET))
    return relit.clip(0, 255).astype(np.uint8)
