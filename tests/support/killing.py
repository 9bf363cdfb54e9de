"""Kill a process at any of its writes, as SIGKILL would: nothing is cleaned up, and a file may be half-written.

The work is done in a child that was forked from a server with everything imported. Every call that makes, renames,
copies or removes a file below a folder is a point, counted from 1; at the chosen one the process ends at once: before
the call, or, where a file's content is written, with half of it.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

KILLED = 137
TURN = threading.Lock()  # starting a process asks all others for their exit code, which can be read but once
FORKS = multiprocessing.get_context("forkserver")
PATHLIB = getattr(pathlib, "_NormalAccessor", None)  # which has kept the functions of `os` for itself
FORKS.set_forkserver_preload(["torch", "ultralytics", "ultralytics.slim.runs.stage_work", "prune_model"])


class Points:
    """Counts the writes below a folder, and ends the process at one of them."""

    def __init__(self, folder: str, kill_at: int):
        self.folder, self.kill_at, self.count = os.path.realpath(folder), kill_at, 0

    def here(self, path: object) -> bool:
        """Count a write; return whether it is the one to die at."""
        if not isinstance(path, (str, os.PathLike)) or not os.path.realpath(path).startswith(self.folder):
            return False
        self.count += 1
        return self.count == self.kill_at

    def install(self) -> None:
        import torch

        for name in ("replace", "rename", "unlink", "remove", "mkdir"):
            self._before(os, name)
            if hasattr(PATHLIB, name):  # Python 3.10
                setattr(PATHLIB, name, staticmethod(getattr(os, name)))
        self._before(shutil, "rmtree")
        self._copying(shutil.copyfile)
        self._saving(torch)
        self._opening(builtins.open)

    def _before(self, owner: object, name: str) -> None:
        work = getattr(owner, name)

        def counted(*args, **kwargs):
            if self.here(args[0]):
                os._exit(KILLED)
            return work(*args, **kwargs)

        setattr(owner, name, counted)

    def _copying(self, copy: Callable) -> None:
        def copyfile(source, target, *args, **kwargs):
            if self.here(target):
                Path(target).write_bytes(Path(source).read_bytes()[: os.path.getsize(source) // 2])
                os._exit(KILLED)
            return copy(source, target, *args, **kwargs)

        shutil.copyfile = copyfile

    def _saving(self, torch) -> None:
        save = torch.save

        def save_half(value, file, *args, **kwargs):
            last = self.here(file)
            save(value, file, *args, **kwargs)
            if last:
                os.truncate(file, os.path.getsize(file) // 2)
                os._exit(KILLED)

        torch.save = save_half

    def _opening(self, plain: Callable) -> None:
        def opened(file, mode="r", *args, **kwargs):
            stream = plain(file, mode, *args, **kwargs)
            return _Halving(stream) if set(mode) & set("wax+") and self.here(file) else stream

        builtins.open = io.open = opened
        if PATHLIB:
            PATHLIB.open = staticmethod(opened)


class _Halving:
    """A file of which half of the first write is the last thing that the process does."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, content) -> None:
        self._stream.write(content[: len(content) // 2])
        self._stream.flush()
        os._exit(KILLED)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os._exit(KILLED)  # nothing was written


def _run(work: Callable, args: tuple, folder: str, kill_at: int, counts) -> None:
    import torch

    torch.set_num_threads(1)
    points = Points(folder, kill_at)
    points.install()
    work(*args)
    counts.put(points.count)


def run_killed(work: Callable, args: tuple, folder: Path, kill_at: int = 0) -> int:
    """Do `work(*args)` in a child that dies at its write number `kill_at` below `folder`; 0 for none.

    Returns:
        How many writes there were, 0 if it was killed.
    """
    counts = FORKS.SimpleQueue()
    child = FORKS.Process(target=_run, args=(work, args, str(folder), kill_at, counts))
    with TURN:
        child.start()
    wait([child.sentinel])
    with TURN:
        child.join()
    if child.exitcode == KILLED:
        return 0
    assert child.exitcode == 0, f"the work failed: exit code {child.exitcode}"
    return counts.get()
