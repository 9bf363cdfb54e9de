"""The images that int8 takes its ranges from, as the exported network reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ultralytics.utils import LOGGER

from ...errors import InputError
from ...inputs.unlabelled import read_square, readable_images, spread

MOST = 300  # images for the ranges, as many as Ultralytics recommends
JUDGED = 48  # further images on which the files are judged
FEWEST, FEW = 2, 32


class RangeImages:
    """Images as a network of fixed size reads them, read anew at each pass.

    Args:
        items: Paths or BGR arrays (H, W, 3).
        sides: Height and width in pixels.
        channels: 3, or 1 for grey.
        batch: How often each is repeated, for a network of a fixed batch.
        cover: Whether the middle is cut out, as for a classifier, instead of letterboxed.
    """

    def __init__(
        self, items: Sequence[Any], sides: tuple[int, int], channels: int = 3, batch: int = 1, cover: bool = False
    ):
        self.items, self.sides, self.channels, self.batch, self.cover = list(items), sides, channels, batch, cover

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield images (batch, C, H, W), RGB, float32 in 0..1."""
        for item in self.items:
            image = read_square(item, self.sides, self.channels, self.cover)
            yield np.repeat(image[None].float().numpy() / 255, self.batch, 0)


def split_for_ranges(source: Any) -> tuple[list, list]:
    """Return the images to take ranges and learn from, and others to judge by, of any source of images.

    Where there are too few to keep some back, the files are judged by those that gave the ranges.

    Raises:
        InputError: There are less than `FEWEST`.
    """
    items = readable_images(source)
    if len(items) < FEWEST:
        raise InputError(
            f"int8 needs images to take its ranges from: {len(items)} is too few, give at least {FEW}, of the kind "
            "that the model will see"
        )
    if len(items) < FEW:
        LOGGER.warning(
            f"int8: its ranges come from {len(items)} images; with less than {FEW} what is rare in them is cut off: "
            f"give more, up to {MOST}"
        )
        return items, items
    judged = spread(items, min(JUDGED, len(items) // 4))
    known = set(map(id, judged))
    return [item for item in items if id(item) not in known], judged
