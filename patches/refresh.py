"""Write the patch anew from what was edited in `ultralytics/`, keeping the commentary on top of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from patches.contexts import minimal_diff
from patches.errors import PatchError
from patches.fetch import fetch_wheel, unpack
from patches.materialise import apply_patch, materialise, recipe_of
from patches.pin import HERE, ROOT, Pin, load_pin, patch_for
from patches.seams import verify_seams
from patches.tree import hash_tree, read_manifest
from patches.unified import parse_patch, split_lines


def refresh(root: Path = ROOT, folder: Path = HERE) -> str:
    """Make the patch the difference between the pinned wheel and `root/ultralytics`; returns what was done."""
    pin = load_pin(folder)
    patch, package = patch_for(pin.version, folder), root / "ultralytics"
    if not (package / "__init__.py").is_file():
        raise PatchError(f"{package} is not there yet: run `python -m patches materialise` first.")
    if read_manifest(package)["recipe"] not in (None, recipe_of(pin, patch)):
        materialise(root, merge=True, folder=folder)  # the patch was changed elsewhere: take that in, or refuse, first
    with tempfile.TemporaryDirectory() as scratch:
        pristine = unpack(fetch_wheel(pin), Path(scratch))
        names = changed_files(pristine, package, pin)
        body = b"".join(diff_of(pristine, package, name, pin) for name in names)
        apply_patch(pristine, parse_patch(body, patch))
        verify_seams(pristine)
    write_patch(patch, read_header(patch) + body)
    hunks = body.count(b"\n@@ ")
    materialise(root, folder=folder)
    return f"{patch.name}: {len(names)} file(s), {hunks} hunk(s): {', '.join(names)}"


def changed_files(pristine: Path, package: Path, pin: Pin) -> list[str]:
    """Paths of edited files, sorted; a file added or missing is an error, since an edit to upstream is a seam."""
    before, after = hash_tree(pristine), hash_tree(package)
    stray = sorted(set(before) ^ set(after))
    if stray:
        raise PatchError(
            f"{package}: files added or missing against the wheel: {', '.join(stray[:10])}. "
            "A patch holds edits only; put new code in ultralytics/slim/ and restore what is missing."
        )
    return [name for name in sorted(after) if source_lines(pristine, name, pin) != source_lines(package, name, pin)]


def source_lines(package: Path, name: str, pin: Pin) -> list[bytes]:
    """The lines of a file, with the fork's version stamp taken back."""
    content = (package / name).read_bytes()
    if name == "__init__.py":
        content = content.replace(f'"{pin.fork_version}"'.encode(), f'"{pin.version}"'.encode())
    return split_lines(content)


def diff_of(pristine: Path, package: Path, name: str, pin: Pin) -> bytes:
    """Our edits to one file."""
    return minimal_diff(name, source_lines(pristine, name, pin), source_lines(package, name, pin))


def read_header(patch: Path) -> bytes:
    """Everything before the first `--- a/` line of an existing patch."""
    if not patch.is_file():
        return b""
    content = b"\n" + patch.read_bytes()
    return content[1 : content.index(b"\n--- a/") + 1] if b"\n--- a/" in content else content[1:]


def write_patch(patch: Path, content: bytes) -> None:
    """Write by rename."""
    fresh = patch.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, patch)
