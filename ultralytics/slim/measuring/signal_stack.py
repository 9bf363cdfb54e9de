"""Signals after OpenVINO: its engine changes on which stack they are handled, and may leave one that is freed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Leave this thread on the stack for signals that it had before; around whatever compiles a model with OpenVINO.

    Each engine sets one of its own, at least where there is AVX-512, and frees it when it is deleted, but sets back the
    one before only on the thread that made it, and only where the last made is the first deleted (seen in OpenVINO
    2026.4). In any other order the next signal that Python handles, Ctrl-C as well, ends the process with SIGSEGV.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    known = libc.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            libc.sigaltstack(ctypes.byref(before), None)
