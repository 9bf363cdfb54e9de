"""Output where nobody watches: in a pipe, a file or CI there are no colours and no bars that redraw themselves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ultralytics.utils import LOGGER, remove_colorstr

from ..compat import own_bars


class PlainStream:
    """A text stream that hands on what is written to it without colours and cursor movements."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(remove_colorstr(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def plain_where_piped() -> Iterator[None]:
    """Write plain lines unless standard output is a terminal; of each progress bar only its end.

    Bars of releases that take them from tqdm stay as they are: they go to standard error.
    """
    if sys.stdout.isatty():
        yield
        return
    stdout, bars = sys.stdout, own_bars()
    bars_redraw = bars.is_noninteractive_console
    ours = {h: h.stream for h in LOGGER.handlers if type(h) is logging.StreamHandler and h.stream is stdout}
    sys.stdout = plain = PlainStream(stdout)
    bars.is_noninteractive_console = lambda: True  # Ultralytics' bars know CI by the name of one service alone
    for handler in ours:
        handler.setStream(plain)
    try:
        yield
    finally:
        sys.stdout, bars.is_noninteractive_console = stdout, bars_redraw
        for handler, stream in ours.items():
            handler.setStream(stream)
