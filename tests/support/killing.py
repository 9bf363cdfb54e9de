"""What a process leaves that is killed at any of its writes, as SIGKILL would: nothing is cleaned up, files are halved.

The work is done in a child that was forked from a server with everything imported. Every call that makes, renames,
copies or removes a file below a folder is a point, counted from 1. The state at a point is that before the call or,
where a file's content is written, with half of it. Either the process ends there at once, or the folder is copied as it
would be left, and the work goes on: one process then shows many ends.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
import pathlib
import shutil
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

KILLED = 137
TURN = threading.Lock()  # starting a process asks all others for their exit code, which can be read but once
FORKS = multiprocessing.get_context("forkserver")
PATHLIB = getattr(pathlib, "_NormalAccessor", None)  # which has kept the functions of `os` for itself
SLOW = "torch._dynamo torchvision matplotlib.pyplot scipy.optimize polars onnx onnxruntime onnxslim thop".split()
FORKS.set_forkserver_preload(["ultralytics.slim.runs.stage_work", "prune_model", *SLOW])  # else imported by every child


class Points:
    """Counts the writes below a folder, and ends the process at one of them or keeps what it would leave at some."""

    def __init__(self, folder: Path, at: range, states: Path | None = None):
        self.folder, self.at, self.states = Path(os.path.realpath(folder)), at, states
        self.count, self.is_copying = 0, False

    def here(self, path: object) -> bool:
        """Count a write; return whether its state is asked for."""
        if self.is_copying or not isinstance(path, (str, os.PathLike)):
            return False
        if not os.path.realpath(path).startswith(str(self.folder)):
            return False
        self.count += 1
        return self.count in self.at

    def end(self, path: object = None, content: bytes = b"") -> None:
        """End the process, or copy the folder, with this as the content of a file below it."""
        self.is_copying, folder = True, self.folder
        if self.states:
            folder = self.states / str(self.count)
            shutil.copytree(self.folder, folder) if self.folder.exists() else folder.mkdir(parents=True)
        if path is not None:
            (folder / Path(os.path.realpath(path)).relative_to(self.folder)).write_bytes(content)
        if not self.states:
            os._exit(KILLED)
        self.is_copying = False

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
                self.end()
            return work(*args, **kwargs)

        setattr(owner, name, counted)

    def _copying(self, copy: Callable) -> None:
        def copyfile(source, target, *args, **kwargs):
            if self.here(target):
                self.end(target, half(Path(source).read_bytes()))
            return copy(source, target, *args, **kwargs)

        shutil.copyfile = copyfile

    def _saving(self, torch) -> None:
        save = torch.save

        def saved(value, file, *args, **kwargs):
            if self.here(file):
                whole = io.BytesIO()
                save(value, whole, *args, **kwargs)
                self.end(file, half(whole.getvalue()))
            save(value, file, *args, **kwargs)

        torch.save = saved

    def _opening(self, plain: Callable) -> None:
        def opened(file, mode="r", *args, **kwargs):
            stream = plain(file, mode, *args, **kwargs)
            return _Halved(stream, file, self) if set(mode) & set("wax+") and self.here(file) else stream

        builtins.open = io.open = opened
        if PATHLIB:
            PATHLIB.open = staticmethod(opened)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


class _Halved:
    """A file that was opened to be written; the state is that with half of the first write, or as it is closed."""

    def __init__(self, stream, path: object, points: Points):
        self._stream, self._path, self._points = stream, path, points

    def write(self, content) -> int:
        self._end(content)
        return self._stream.write(content)

    def _end(self, content: str | bytes = b"") -> None:
        if points := self._points:
            self._points = None
            self._stream.flush()
            content = content.encode() if isinstance(content, str) else bytes(content)
            points.end(self._path, Path(self._path).read_bytes() + half(content))

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end()  # nothing was written
        self._stream.close()


def _run(work: Callable, args: tuple, points: Points, counts) -> None:
    import torch

    torch.set_num_threads(1)
    points.install()
    work(*args)
    counts.put(points.count)


def run_killed(work: Callable, args: tuple, folder: Path, kill_at: int = 0) -> int:
    """Do `work(*args)` in a child that dies at its write number `kill_at` below `folder`; 0 for none.

    Returns:
        How many writes there were, 0 if it was killed.
    """
    return _run_in_child(work, args, Points(folder, range(kill_at, kill_at + 1)))


def run_leaving(work: Callable, args: tuple, folder: Path, states: Path, step: int) -> int:
    """Do `work(*args)` in a child, and keep in `states` what `folder` would be if it were killed.

    Args:
        step: How far apart the points are whose states are kept, from the first; all of them with SLIM_EVERY_POINT=1 in
            the environment, as once a week.

    Returns:
        How many writes there were.
    """
    step = 1 if os.environ.get("SLIM_EVERY_POINT") else step
    return _run_in_child(work, args, Points(folder, range(1, sys.maxsize, step), states))


def states_in(folder: Path) -> list[Path]:
    """Return the folders that `run_leaving` kept, which are named by the number of the write."""
    return sorted(folder.iterdir(), key=lambda state: int(state.name))


def _run_in_child(work: Callable, args: tuple, points: Points) -> int:
    counts = FORKS.SimpleQueue()
    child = FORKS.Process(target=_run, args=(work, args, points, counts))
    with TURN:
        child.start()
    wait([child.sentinel])
    with TURN:
        child.join()
    if child.exitcode == KILLED:
        return 0
    assert child.exitcode == 0, f"the work failed: exit code {child.exitcode}"
    return counts.get()
