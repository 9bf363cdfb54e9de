"""Run the work of a command: on how many cores, and how it ends."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ultralytics import __version__
from ultralytics.utils import torch_utils

from ..errors import SlimError, UsageError, is_out_of_memory, is_refused_path

MOST_CORES = 8  # more gain little for one small network
OUT_OF_MEMORY = "out of memory; a smaller batch= or imgsz=, or fewer images=, needs less"
UNEXPECTED = (
    "what follows was not expected, so it is a fault of the program and not yours; please report it, with your "
    f"command, where you got the program from (Ultralytics {__version__}, PyTorch {torch.__version__}, "
    f"Python {sys.version.split()[0]}, {sys.platform})"
)


def use_cores(asked: str | None = None) -> None:
    """Compute on so many cores, here and in processes that are started from here.

    On import Ultralytics asks for one, and on a CPU it leaves one idle, which is half of a machine with two.

    Args:
        asked: What the user set as OMP_NUM_THREADS; by default all cores are used, `MOST_CORES` at most.
    """
    count = int(asked) if asked and asked.isdecimal() else min(MOST_CORES, os.cpu_count() or 1)
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)
    torch_utils.NUM_THREADS = count


def asked_cores() -> str | None:
    """Return what the user set as OMP_NUM_THREADS, which Ultralytics sets itself on import; None where that is unknown.

    Linux remembers the environment that a process began with; elsewhere a 1 is most likely Ultralytics'.
    """
    try:
        began_with = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None if (now := os.environ.get("OMP_NUM_THREADS")) == "1" else now
    return dict(pair.partition("=")[::2] for pair in began_with).get("OMP_NUM_THREADS")


def run_command(program: str, work: Callable[[], object]) -> int:
    """Do the work of a command and return its exit status: 0, 1 failed, 2 misused, 130 stopped by Ctrl-C.

    What the user can mend is told in one line; any other error is a fault of the program, which is said, and goes on
    with its traceback.
    """
    try:
        with interrupts_kept():
            work()
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 1
    except Exception as error:
        if not (isinstance(error, SlimError) or is_out_of_memory(error) or is_refused_path(error)):
            print(f"\n{program}: {UNEXPECTED}", file=sys.stderr)
            raise
        if os.environ.get("TRACEBACK"):
            traceback.print_exc()
        told = f"{OUT_OF_MEMORY} ({message(error)})" if is_out_of_memory(error) else message(error)
        print(f"\n{program}: {told}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Let no Ctrl-C be lost: one that arrives while Python runs a `__del__` is printed there, and the work goes on."""
    report = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if not (unraisable.exc_type and issubclass(unraisable.exc_type, KeyboardInterrupt)):
            report(unraisable)
            return
        threading.Timer(0.1, _thread.interrupt_main).start()  # once this hook, which can raise nothing either, is left

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = report


def message(error: BaseException) -> str:
    """Return what an error says on one line, or its kind where it says nothing."""
    said = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error  # which shows it in quotes
    words = " ".join(str(said).split())
    return words.removeprefix("ERROR ❌️ ") or type(error).__name__
