"""Which images a recovery learns from, and which it measures on."""

from __future__ import annotations

from typing import Any

from ultralytics.utils import LOGGER

from ..inputs.unlabelled import readable_images, spread

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


def nothing_seen(count: int) -> str:
    """Return the message for images in which the teacher detects nothing."""
    return (
        f"the teacher detects nothing in any of {count} images, so it cannot teach: are these images of the kind that "
        "it was trained on, and imgsz= about its training size?"
    )
