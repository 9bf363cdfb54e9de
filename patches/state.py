"""The note that `apply` leaves in a patched package, from which `status` and `revert` work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patches.errors import PatchError

STATE = ".slim-patch.json"
Contents = dict[Path, bytes]


class State(NamedTuple):
    """`patch` is the patch's whole text, so that it can be taken back after the patches have moved on.

    `edited` maps a path in the package to the hashes before and after; `added` to the hash of the file.
    """

    name: str
    version: str
    patch: str
    edited: dict[str, list[str]]
    added: dict[str, str]


def make_state(
    package: Path, name: str, patch: bytes, version: str, before: Contents, after: Contents, added: Contents
) -> bytes:
    """The note as JSON; `patch` is the whole text of the patch called `name`."""
    edited = {inner(package, path): [digest(before[path]), digest(after[path])] for path in before}
    new = {inner(package, path): digest(content) for path, content in added.items()}
    state = State(name, version, patch.decode("utf-8", "surrogateescape"), edited, new)
    return (json.dumps(state._asdict(), indent=1) + "\n").encode()


def read_state(package: Path) -> State | None:
    """The note, or None where `apply` left none."""
    path = package / STATE
    if not path.is_file():
        return None
    try:
        return _checked(package, State(**json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged(package, STATE, error) from error


def damaged(package: Path, name: str, error: Exception) -> PatchError:
    """What to say of a note that cannot be read: pip knows neither the notes nor `slim/`."""
    notes = " and ".join(str(package / note) for note in dict.fromkeys((name, STATE)))
    return PatchError(
        f"{package / name} is damaged ({error}): delete {notes} and {package / 'slim'}, and put Ultralytics' own files "
        "back, from git or by reinstalling it."
    )


def _checked(package: Path, state: State) -> State:
    """Return the note if it is of the right types and names files in the package alone; raise ValueError if not."""
    if not all(isinstance(word, str) for word in (state.name, state.version, state.patch)):
        raise ValueError("name, version and patch should be texts")
    if not all(isinstance(files, dict) for files in (state.edited, state.added)):
        raise ValueError("edited and added should be tables of files")
    hashes = [*state.added.values(), *(digest for pair in state.edited.values() for digest in _pair(pair))]
    if not all(isinstance(digest, str) for digest in hashes):
        raise ValueError("edited and added should hold hashes")
    for name in (*state.edited, *state.added):
        place_in(package, name)
    return state


def _pair(value: object) -> list:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("edited should hold two hashes for each file")
    return value


def place_in(package: Path, name: str) -> Path:
    """Return a file of the package by its relative name; raise ValueError where that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"{name!r} is no file in the package")
    return package / path


def inner(package: Path, path: Path) -> str:
    return path.relative_to(package).as_posix()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
