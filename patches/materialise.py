"""Make `ultralytics/` from the pinned wheel and the patch: fetch, verify, unpack, patch, check, move into place."""

from __future__ import annotations

import re
from pathlib import Path

from patches.errors import DoesNotFit
from patches.fetch import fetch_wheel, sha256, unpack
from patches.pin import HERE, ROOT, Pin, load_pin, patch_for
from patches.seams import verify_seams
from patches.tree import (
    Hashes,
    find_edits,
    hash_tree,
    move_into_place,
    read_manifest,
    refuse_edits,
    staging_folder,
    write_manifest,
)
from patches.unified import FilePatch, apply_to_bytes, read_patch

VERSION_LINE = re.compile(rb'^__version__ = "([^"]+)"', re.MULTILINE)


def materialise(root: Path = ROOT, force: bool = False, merge: bool = False, folder: Path = HERE) -> str:
    """Bring `root/ultralytics` up to date with pin and patch; returns what was done, in a sentence.

    Raises `LocalEdits` rather than overwrite a changed file, unless `force` drops the changes; `merge` keeps those in
    files that pin and patch leave as they were, and leaves the seams unchecked. `slim/` is never touched.
    """
    pin = load_pin(folder)
    patch, package = patch_for(pin.version, folder), root / "ultralytics"
    recipe = recipe_of(pin, patch)
    last, present = read_manifest(package), hash_tree(package)
    if last == {"recipe": recipe, "files": present}:
        return f"ultralytics {pin.fork_version} is in place, nothing to do"
    with staging_folder(package) as staging:
        new = unpack(fetch_wheel(pin), staging)
        pristine = hash_tree(new)
        build(new, pin, read_patch(patch), checked=not merge)
        after = hash_tree(new)
        kept = set() if force else keep_or_refuse(package, present, last["files"] or pristine, after, pristine, merge)
        move_into_place(new, package, present, after, kept)
    write_manifest(package, recipe, after)
    return f"ultralytics {pin.fork_version} materialised in {package}: {len(after)} files, patch {patch.name}"


def recipe_of(pin: Pin, patch: Path) -> dict[str, str]:
    """What a materialised tree depends on."""
    return {"upstream": pin.version, "wheel": pin.sha256, "patch": sha256(patch), "version": pin.fork_version}


def keep_or_refuse(
    package: Path, present: Hashes, before: Hashes, after: Hashes, pristine: Hashes, merge: bool
) -> set[str]:
    """The edited files that may stay as they are; raises `LocalEdits` if there are others."""
    edits = find_edits(present, before, after, pristine)
    kept = {path for path in edits if merge and before.get(path) == after.get(path)}
    refuse_edits(package, [path for path in edits if path not in kept])
    return kept


def build(package: Path, pin: Pin, patch: list[FilePatch], checked: bool) -> None:
    """Patch and stamp an unpacked upstream tree; check its syntax, and its seams if `checked`."""
    apply_patch(package, patch)
    stamp(package, pin)
    if checked:
        verify_seams(package)
    check_syntax(package, patch)


def apply_patch(package: Path, patch: list[FilePatch]) -> None:
    """Apply every hunk to `package`, which must be a scratch copy."""
    for file in patch:
        path = package / file.inner
        if not path.is_file():
            raise DoesNotFit(f"{file.path}: the patch changes this file, and the tree has none of that name.")
        path.write_bytes(apply_to_bytes(path.read_bytes(), file))


def stamp(package: Path, pin: Pin) -> None:
    """Write the fork's version over upstream's: it stands in `pin.json`, not in the patch, so a bump is one place."""
    path = package / "__init__.py"
    content, wanted = path.read_bytes(), f'__version__ = "{pin.fork_version}"'.encode()
    if [match.decode() for match in VERSION_LINE.findall(content)] != [pin.version]:
        raise DoesNotFit(f'{path}: expected one line __version__ = "{pin.version}".')
    path.write_bytes(VERSION_LINE.sub(wanted, content))


def check_syntax(package: Path, patch: list[FilePatch]) -> None:
    """Compile every patched Python file, in memory."""
    for file in patch:
        path = package / file.inner
        if path.suffix == ".py":
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                where = f"{file.path}:{error.lineno}"
                raise DoesNotFit(f"{where}: the patched file does not compile: {error.msg}.") from error
