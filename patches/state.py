"""The note that `apply` leaves in a patched package, from which `status` and `revert` work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from patches.edit import Contents
from patches.errors import PatchError

STATE = ".slim-patch.json"


class State(NamedTuple):
    """`patch` is the patch's whole text, so that it can be taken back after the patches have moved on.

    `edited` maps a path in the package to the hashes before and after; `added` to the hash of the file.
    """

    name: str
    version: str
    patch: str
    edited: dict[str, list[str]]
    added: dict[str, str]


def make_state(package: Path, patch: Path, version: str, before: Contents, after: Contents, added: Contents) -> bytes:
    """The note as JSON."""
    edited = {inner(package, path): [digest(before[path]), digest(after[path])] for path in before}
    new = {inner(package, path): digest(content) for path, content in added.items()}
    state = State(patch.name, version, patch.read_text(encoding="utf-8"), edited, new)
    return (json.dumps(state._asdict(), indent=1) + "\n").encode()


def read_state(package: Path) -> State | None:
    """The note, or None where `apply` left none."""
    path = package / STATE
    if not path.is_file():
        return None
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise PatchError(f"{path} is damaged ({error}); reinstall this Ultralytics.") from error


def inner(package: Path, path: Path) -> str:
    return path.relative_to(package).as_posix()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
