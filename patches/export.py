"""`diff` and `export`: the edits and `slim/` as patches for `git apply`, for people who want no tool."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from pathlib import Path

from patches.apply import SLIM, make_plan, slim_files
from patches.checkout import find_package
from patches.errors import PatchError
from patches.pin import HERE, load_series
from patches.revert import is_source, take_back
from patches.state import STATE, Contents, State, inner, read_state
from patches.unified import split_lines

EDITS, ADDED = "edits.patch", "slim.patch"


def diff(place: Path, folder: Path = HERE, slim: Path = SLIM) -> bytes:
    """What `apply` would do to the Ultralytics at `place`, or has done, as a patch for the folder that holds it."""
    package = find_package(Path(os.path.abspath(place)))
    state = read_state(package)
    if state:
        return b"".join(_of_patched(package, state))
    return b"".join(_of_unpatched(place, folder, slim))


def export(folder: Path, place: Path | None = None, patches: Path = HERE, slim: Path = SLIM) -> str:
    """Write patches for `git apply` into `folder`: the edits and, in a file of its own, `slim/`.

    The edits are those of the Ultralytics at `place`; without it, there is a file for each range of releases.
    """
    if place is None:
        series = load_series(patches)
        edits = {f"edits-{entry.first}-to-{entry.last}.patch": (patches / entry.patch).read_bytes() for entry in series}
        added = _diffs(Path("ultralytics"), {}, slim_files(slim, Path("ultralytics")))
        which = f"the edits for your release and {ADDED}"
    else:
        package = find_package(Path(os.path.abspath(place)))
        state = read_state(package)
        edited, added = _of_patched(package, state) if state else _of_unpatched(place, patches, slim)
        edits = {EDITS: edited}
        which = f"{EDITS} and {ADDED}"
    _write(folder, {**edits, ADDED: added})
    return (
        f"Written to {folder}: {', '.join([*edits, ADDED])}.\n"
        f"In the folder that holds ultralytics/, `git apply` {which}; `git apply -R` takes them back."
    )


def _of_unpatched(place: Path, folder: Path, slim: Path) -> tuple[bytes, bytes]:
    """The edits that `apply` would make, with the commentary on them, and what it would add."""
    plan = make_plan(place, folder, slim)
    package = plan.checkout.package
    edits = {path: content for path, content in plan.after.items() if path in plan.before}
    added = {path: content for path, content in plan.after.items() if path not in plan.before and path.name != STATE}
    why = plan.checkout.patch.read_bytes().split(b"--- a/")[0]
    return why + _diffs(package, plan.before, edits), _diffs(package, {}, added)


def _of_patched(package: Path, state: State) -> tuple[bytes, bytes]:
    """The edits as they stand, without those that the owner made elsewhere in the files; and `slim/` as it is."""
    patched, unpatched = take_back(package, state)
    added = [path for path in sorted((package / "slim").rglob("*")) if is_source(path)]
    return _diffs(package, unpatched, patched), _diffs(package, {}, {path: path.read_bytes() for path in added})


def _diffs(package: Path, before: Contents, after: Contents) -> bytes:
    return b"".join(
        file_diff(f"ultralytics/{inner(package, path)}", before.get(path), content) for path, content in after.items()
    )


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files or none; raises where one is there already."""
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise PatchError(f"{folder / there[0]} is there already; remove it, or name another folder.")
    fresh = {name: folder / f"{name}.new" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            fresh[name].write_bytes(content)
        for name, path in fresh.items():
            os.replace(path, folder / name)
    except OSError as error:
        raise PatchError(f"{error.filename or folder}: {error.strerror}; name another folder.") from error
    finally:
        for path in fresh.values():
            with suppress(OSError):
                path.unlink()


def file_diff(name: str, old: bytes | None, new: bytes) -> bytes:
    """The diff of one file in git's dialect; `old` is None for a file that is added."""
    head = f"diff --git a/{name} b/{name}\n" + ("new file mode 100644\n" if old is None else "")
    before = "/dev/null" if old is None else f"a/{name}"
    lines = difflib.diff_bytes(
        difflib.unified_diff, split_lines(old or b""), split_lines(new), before.encode(), f"b/{name}".encode(), n=3
    )
    return head.encode() + b"".join(terminated(line) for line in lines)


def terminated(line: bytes) -> bytes:
    """A line of a diff; where the file lacks its last newline, the diff says so."""
    return line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
