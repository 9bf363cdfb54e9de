"""Write files so that a name never stands for half a file, and tell files apart by what they hold."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import translated

LONGEST_NAME = 255  # bytes of a file's name on the usual file systems


def write_whole(path: str | Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it: `path` is never half-written.

    Args:
        path: The file.
        write: Writes to the path that it is given.
        shared: Other processes may write the same at the same time: each has a temporary file of its own. Of others
            there is one, which the next try clears where a process was killed.

    Raises:
        SlimError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    partial = partial_of(path, str(os.getpid()) if shared else "")
    with translated():
        try:
            write(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def partial_of(path: Path, mark: str = "") -> Path:
    """Return the name that a file has in the making: its own, hidden; a digest for the end of one that is too long."""
    end = f".partial{mark}{path.suffix}"
    name = f".{path.stem}{end}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:16]
        name = f".{path.stem[:40]}-{digest}{end}"
    return path.with_name(name)


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, where they are missing.

    Raises:
        SlimError: It cannot be made.
    """
    with translated():
        path.mkdir(parents=True, exist_ok=True)
    return path


def move_folder(partial: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process has made the same meanwhile."""
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def write_stand_in(path: Path, kind: str, write: Callable[[Path], object]) -> str:
    """Write what stands for a file, see `stand_in`; return its path."""
    return str(write_whole(stand_in(path, kind), write, shared=True))


def stand_in(path: Path, kind: str) -> Path:
    """Return a path of the same name in the system's temporary folder, for what stands for a file in another form.

    It is another for every user and every file; what is there may be written anew at any time.
    """
    own = hashlib.sha256(f"{Path.home()} {path.resolve()}".encode()).hexdigest()[:12]  # the folder is everybody's
    return Path(tempfile.gettempdir(), f"slim-{kind}-{own}", path.name)


@contextmanager
def scratch_folder(beside: Path, prefix: str) -> Iterator[Path]:
    """A folder for what is in the making, in the one where it will stay; it goes in the end.

    Raises:
        SlimError: It cannot be made.
    """
    with translated():
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=beside)
    with folder as path:
        yield Path(path)


def copy_whole(source: str | Path, path: str | Path) -> Path:
    """Copy a file so that `path` is never half-written."""
    return write_whole(path, lambda partial: shutil.copyfile(source, partial))


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file so that `path` is never half-written."""
    return write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> Path:
    """Write a JSON file so that `path` is never half-written; see `plain`."""
    return write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, default=_nearest))


def plain(value: Any) -> Any:
    """Return a value as a JSON file gives it back: collections and arrays as lists, and in words what it does not know.

    What is given now is compared with what was recorded so.
    """
    return json.loads(json.dumps(value, default=_nearest))


def _nearest(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays, and numbers of NumPy and PyTorch
        return value.tolist()
    return list(value) if isinstance(value, (set, frozenset, range)) else str(value)


def write_csv(path: str | Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    """Write a CSV file so that `path` is never half-written; words that a spreadsheet would compute stay words."""
    table = [[_as_words(cell) for cell in row] for row in (header, *rows)]

    def write(partial: Path) -> None:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(table)

    return write_whole(path, write)


def _as_words(cell: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: with an apostrophe before it, unless it is a number.

    Source: OWASP, "CSV Injection".
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def disk_size(path: str | Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    path = Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
