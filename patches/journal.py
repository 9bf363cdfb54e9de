"""What `apply` and `revert` are about to do, noted before they begin: a kill at any point leaves what can be undone.

Every file is then as it was or as it will be, since each is renamed into place. Both commands lead back to the package
without the patch from wherever the other, or they themselves, stopped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from patches.errors import LocalEdits, PatchError
from patches.state import STATE, damaged, digest, inner, place_in

JOURNAL = ".slim-patch.journal"
SUFFIX = ".slim-new"  # of files that are written beside those that they will replace


@contextmanager
def noted(
    package: Path, unpatched: Mapping[Path, bytes | None], patched: Mapping[Path, bytes | None]
) -> Iterator[None]:
    """Keep a journal while files are swapped: every file without the patch, whole, and with it, by its hash.

    None is no file. Where swapping fails with a PatchError, it has put everything back.
    """
    try:
        _write(package, unpatched, patched)
    except OSError as error:
        (package / (JOURNAL + SUFFIX)).unlink(missing_ok=True)
        raise PatchError(f"{error.filename or package}: {error.strerror}. Nothing was changed.") from error
    try:
        yield
    except PatchError:
        (package / JOURNAL).unlink(missing_ok=True)
        raise
    (package / JOURNAL).unlink(missing_ok=True)


def _write(package: Path, unpatched: Mapping[Path, bytes | None], patched: Mapping[Path, bytes | None]) -> None:
    files = {
        inner(package, path): {
            "unpatched": None if content is None else base64.b64encode(content).decode(),
            "patched": None if patched.get(path) is None else digest(patched[path]),
        }
        for path, content in unpatched.items()
    }
    fresh = package / (JOURNAL + SUFFIX)
    fresh.write_text(json.dumps(files), encoding="utf-8")
    os.replace(fresh, package / JOURNAL)


def is_interrupted(package: Path) -> bool:
    return (package / JOURNAL).is_file()


def recover(package: Path) -> bool:
    """Take back what an interrupted `apply` or `revert` had done; return whether there was one.

    Raises:
        LocalEdits: A file is neither as it was nor as it was to be.
        PatchError: The journal cannot be read.
    """
    (package / (JOURNAL + SUFFIX)).unlink(missing_ok=True)
    if not is_interrupted(package):
        return False
    unpatched, patched = _read(package)
    for path in unpatched:
        path.with_name(path.name + SUFFIX).unlink(missing_ok=True)
    if hash_or_none(package / STATE) and all(hash_or_none(path) == after for path, after in patched.items()):
        (package / JOURNAL).unlink()  # it was all done
        return False
    changed = [path for path in unpatched if _is_foreign(path, unpatched[path], patched[path])]
    if changed:
        listed = "\n".join(f"  {path}" for path in changed)
        raise LocalEdits(f"changed since an apply or revert was interrupted:\n{listed}\nMove your changes away first.")
    for path, content in unpatched.items():
        fresh = path.with_name(path.name + SUFFIX)
        if content is None:
            path.unlink(missing_ok=True)
        elif hash_or_none(path) != digest(content):
            fresh.write_bytes(content)
            if path.exists():
                os.chmod(fresh, path.stat().st_mode)
            os.replace(fresh, path)
    remove_empty(path.parent for path in unpatched)
    (package / JOURNAL).unlink()
    return True


def hash_or_none(path: Path) -> str | None:
    return digest(path.read_bytes()) if path.is_file() else None


def _is_foreign(path: Path, unpatched: bytes | None, patched: str | None) -> bool:
    return hash_or_none(path) not in (None if unpatched is None else digest(unpatched), patched)


def _read(package: Path) -> tuple[dict[Path, bytes | None], dict[Path, str | None]]:
    unpatched, patched = {}, {}
    try:
        files = json.loads((package / JOURNAL).read_text(encoding="utf-8"))
        for name, (content, after) in ((name, (file["unpatched"], file["patched"])) for name, file in files.items()):
            path = place_in(package, name)
            unpatched[path] = None if content is None else base64.b64decode(content)
            patched[path] = after
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(package, JOURNAL, error) from error
    return unpatched, patched


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders left with nothing but bytecode."""
    for folder in sorted(set(folders), key=lambda path: -len(path.parts)):
        if folder.is_dir() and all(entry.name == "__pycache__" for entry in folder.iterdir()):
            shutil.rmtree(folder)
