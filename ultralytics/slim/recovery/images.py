"""Which images a recovery learns from, and which it measures on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.utils import LOGGER

from ..classes import task_of
from ..errors import InputError
from ..inputs.unlabelled import read_square, readable_images, spread
from ..kinds import input_channels

LEAST = 10  # images: of fewer none is kept back


def split_images(source: Any, most: int, tell: bool = True) -> tuple[list, list]:
    """Return (images to learn from, images kept back to measure on), evenly spread: a tenth, `most` at most.

    Images that cannot be read are left out and named in a warning; fewer than `LEAST` images are both.

    Args:
        source: As `given_images` takes it.
        most: Most images to keep back.
        tell: Whether to warn.

    Raises:
        InputError: None can be read.
    """
    items = readable_images(source, tell)
    if len(items) < LEAST:
        if tell:
            LOGGER.warning(
                f"images: only {len(items)} to learn from and to measure on, which says little of others; give a "
                "hundred or more from the place where the model will run"
            )
        return items, items
    held = spread(items, max(1, min(most, len(items) // 10)))
    kept = set(map(id, held))
    return [item for item in items if id(item) not in kept], held


def squares_of(items: list, model: nn.Module, imgsz: int) -> torch.Tensor:
    """Return images as the squares that a model reads: (N, C, imgsz, imgsz), RGB or grey, uint8.

    Raises:
        InputError: It reads neither 1 nor 3 channels, or one of the images cannot be read.
    """
    channels = input_channels(model)
    if channels not in (1, 3):
        raise InputError(f"the model reads {channels} channels; recover reads images of 3, or of 1")
    cover = task_of(model) == "classify"
    return torch.stack([read_square(item, imgsz, channels, cover) for item in items])


def nothing_seen(count: int) -> str:
    """Return the message for images in which the teacher detects nothing."""
    return (
        f"the teacher detects nothing in any of {count} images, so it cannot teach: are these images of the kind that "
        "it was trained on, and imgsz= about its training size?"
    )
