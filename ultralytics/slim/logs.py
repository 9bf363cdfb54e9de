"""How slim's lines in Ultralytics' log begin, and how much of the others is let through."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import LOGGER, colorstr, remove_colorstr

PREFIX = colorstr("slim: ")


@contextmanager
def only(level: int = logging.WARNING) -> Iterator[None]:
    """Keep back what is below a level, for the time being: the tables and lines about every export and validation."""
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


@contextmanager
def without(words: str) -> Iterator[None]:
    """Leave words out of what is logged, for the time being."""

    def cut(record: logging.LogRecord) -> bool:
        record.msg = str(record.msg).replace(words, "")
        return True

    LOGGER.addFilter(cut)
    try:
        yield
    finally:
        LOGGER.removeFilter(cut)


# Lines of Ultralytics that say the same in every stage; bars, measures and errors are never kept back.
NOISE = tuple(
    "engine/trainer:|Ultralytics |Overriding model.yaml|Transferred |Freezing layer|Plotting labels|"
    "train: Fast image|val: Fast image|train: New cache|val: New cache|Logging results|Closing dataloader|"
    "Optimizer stripped|Validating |Speed: |Using 0 dataloader|Predict: |Validate: |Visualize: |Results saved|"
    "slim: student layer".split("|")
)


@contextmanager
def quiet(active: bool = True) -> Iterator[None]:
    """Keep out of the log what Ultralytics repeats in every stage, and a warning that was given in the same words."""
    warned: set[str] = set()

    def is_signal(record: logging.LogRecord) -> bool:
        text = remove_colorstr(str(record.msg)).strip()
        if record.levelno >= logging.WARNING:
            is_new = text not in warned
            warned.add(text)
            return is_new or record.levelno > logging.WARNING
        layer_row = "ultralytics.nn.modules" in text or "torch.nn.modules" in text or text.split()[:2] == ["from", "n"]
        summary = " summary" in text and " layers, " in text
        return not (layer_row or summary or text.startswith(NOISE))

    if active:
        LOGGER.addFilter(is_signal)
    try:
        yield
    finally:
        LOGGER.removeFilter(is_signal)
