"""`status` and `revert`: what `apply` did to somebody's own Ultralytics, and back again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from patches.apply import check
from patches.checkout import UNKNOWN, find_package, find_version, refuse_unwritable
from patches.edit import swap
from patches.errors import DoesNotFit, LocalEdits, PatchError
from patches.journal import hash_or_none, is_interrupted, noted, recover
from patches.pin import HERE
from patches.state import STATE, Contents, State, damaged, digest, inner, place_in, read_state
from patches.unified import apply_to_bytes, parse_patch, reversed_patch


def status(place: Path, folder: Path = HERE) -> str:
    """Patched or not, with what, and what changed since; where not patched, whether it would fit."""
    package = find_package(Path(os.path.abspath(place)))
    if is_interrupted(package):
        return f"{package}: an apply or revert was interrupted; run either of them, which undoes it first."
    state = read_state(package)
    if state is None:
        return f"{package}: Ultralytics {find_version(package)}, not patched.\n{check(place, folder)}"
    found = find_version(package)
    since = "" if state.version in (found, UNKNOWN) else f" when it was {state.version}"
    lines = [f"{package}: Ultralytics {found}, patched with {state.name}{since}."]
    lines += [f"  changed since: {path}" for path in changed_since(package, state)]
    return "\n".join(lines)


def changed_since(package: Path, state: State) -> list[str]:
    """Files of the patch, or in `slim/`, that are not as `apply` left them."""
    wanted = {**{path: after for path, (_, after) in state.edited.items()}, **state.added}
    present = [inner(package, path) for path in sorted((package / "slim").rglob("*")) if is_source(path)]
    stray = [path for path in present if path not in wanted]
    return [path for path, after in wanted.items() if hash_or_none(package / path) != after] + stray


def is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def revert(place: Path) -> str:
    """Take patch and `slim/` back, byte for byte; edits made since elsewhere in the patched files stay."""
    package = find_package(Path(os.path.abspath(place)))
    if recover(package):
        return f"An interrupted apply or revert of {package} was undone: it is as it was without the patch."
    state = read_state(package)
    if state is None:
        raise PatchError(f"{package} was not patched by this tool ({STATE} is not there), so nothing was changed.")
    changed = changed_since(package, state)
    refuse_changed_slim(package, changed)
    before, after = take_back(package, state)
    stock = [path for path in state.edited if package / path not in before]
    for path in [*state.added, STATE]:
        if (package / path).is_file():
            before[package / path], after[package / path] = (package / path).read_bytes(), None
    refuse_unwritable(after, package)
    with noted(package, after, before):
        swap(before, after)
    kept = [path for path in changed if path in state.edited and path not in stock]
    note = f"; your own later edits in {', '.join(kept)} were kept" if kept else ", byte for byte"
    note += f"; {len(stock)} of {len(state.edited)} files were without it already" if stock else ""
    return f"{state.name} taken back from {package}{note}."


def refuse_changed_slim(package: Path, changed: list[str]) -> None:
    """Raise if `slim/` holds somebody's work, which taking it back would delete."""
    work = [path for path in changed if path.startswith("slim/") and (package / path).is_file()]
    if work:
        listed = "\n".join(f"  {package / path}" for path in work)
        raise LocalEdits(f"changed or added since the patch was applied:\n{listed}\nMove them away first.")


def take_back(package: Path, state: State) -> tuple[Contents, Contents]:
    """The patched files as they are, and without the patch; those that are without it already are left out."""
    before, after = {}, {}
    for file in parse_patch(state.patch.encode("utf-8", "surrogateescape"), package / STATE):
        try:
            path = place_in(package, file.inner)
        except ValueError as error:
            raise damaged(package, STATE, error) from error
        if not path.is_file():
            raise PatchError(f"{path}: patched, and gone since; put it back first.")
        content = path.read_bytes()
        if is_stock(content, state.edited.get(file.inner)):
            continue
        try:
            before[path], after[path] = content, apply_to_bytes(content, reversed_patch(file))
        except DoesNotFit as error:
            raise DoesNotFit(f"{error} Take the lines with slim in them out of {path} by hand, then revert.") from error
    return before, after


def is_stock(content: bytes, hashes: list[str] | None) -> bool:
    """Whether a patched file is as before again, or another release's: git or pip put it there, without our lines.

    Each of these says slim.
    """
    return (hashes is not None and digest(content) == hashes[0]) or not re.search(rb"\bslim\b", content)
