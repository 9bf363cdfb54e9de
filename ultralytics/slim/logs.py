"""How much of Ultralytics' log is let through."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import LOGGER


@contextmanager
def only(level: int = logging.WARNING) -> Iterator[None]:
    """Keep back what is below a level, for the time being: the tables and lines about every export and validation."""
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)
