"""Somebody's own Ultralytics: where the package is, which release, which patch, and whether it can be edited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from patches.errors import DoesNotFit, LocalEdits, PatchError
from patches.pin import HERE, Range, choose_patch, load_series, version_key
from patches.unified import FilePatch, apply_to_bytes, read_patch

VERSION = re.compile(rb'^(?:\xef\xbb\xbf)?__version__ *= *["\']([^"\']+)["\']', re.MULTILINE)
UNKNOWN = "unknown"


class Checkout(NamedTuple):
    """A package folder, the release found in it, and the patch for that; `warning` is empty or for the user."""

    package: Path
    version: str
    patch: Path
    warning: str

    @property
    def release(self) -> str:
        return "Ultralytics" if self.version == UNKNOWN else f"Ultralytics {self.version}"


def find_checkout(place: Path, folder: Path = HERE) -> Checkout:
    """Look for an Ultralytics package at or right below `place`: a git checkout, an unpacked sdist, a site-packages."""
    package = find_package(Path(os.path.abspath(place)))
    version = find_version(package)
    if not is_release(version, folder):
        found = "no version is read" if version == UNKNOWN else f"{version} is no release of Ultralytics"
        patch = closest_patch(package, folder)
        return Checkout(package, UNKNOWN, patch, f"{package / '__init__.py'}: {found}; {patch.name} is the closest.")
    return Checkout(package, version, *choose_patch(version, folder))


def is_release(version: str, folder: Path) -> bool:
    """Whether a version is of upstream's numbering, rather than the owner's own."""
    try:
        return version_key(version)[0] >= version_key(load_series(folder)[0].first)[0]
    except PatchError:
        return False


def closest_patch(package: Path, folder: Path) -> Path:
    """The patch of which most files fit a package as they are, the newest of equals."""

    def fitting(entry: Range) -> int:
        return sum(fits_as_text(package, file) for file in read_patch(folder / entry.patch))

    return folder / max(reversed(load_series(folder)), key=fitting).patch


def fits_as_text(package: Path, file: FilePatch) -> bool:
    path = package / file.inner
    try:
        return path.is_file() and bool(apply_to_bytes(path.read_bytes(), file))
    except DoesNotFit:
        return False


def find_package(place: Path) -> Path:
    """`place` itself, or `place/ultralytics`; refuses a symbolic link, behind which lies what others use."""
    for package in (place, place / "ultralytics"):
        if (package / "__init__.py").is_file() and (package / "engine" / "trainer.py").is_file():
            break
    else:
        raise PatchError(f"{place}: no Ultralytics here; give the folder that holds ultralytics/engine/trainer.py.")
    if package.is_symlink():
        real = package.resolve()
        raise PatchError(f"{package} is a symbolic link: all that uses {real} would change. Give that if you mean it.")
    return package


def find_version(package: Path) -> str:
    """The `__version__` of a package, read without importing it; "unknown" where there is not one such line."""
    found = VERSION.findall((package / "__init__.py").read_bytes())
    return found[0].decode("utf-8", "replace") if len(found) == 1 else UNKNOWN


def refuse_unwritable(paths: Iterable[Path], package: Path) -> None:
    """Raise unless every file can be replaced: it and its folder must be writable, and lie in the package itself."""
    for path in paths:
        for folder in path.relative_to(package).parents:
            if (package / folder).is_symlink() and folder.parts:
                real = (package / folder).resolve()
                raise PatchError(f"{package / folder} is a symbolic link to {real}; replace it with a copy first.")
        for place in (path, path.parent):
            if place.exists() and not os.access(place, os.W_OK):
                raise PatchError(f"{place} is read-only for you; change its permissions, or work on a copy.")
        if path.is_symlink():
            raise PatchError(f"{path} is a symbolic link to {path.resolve()}; replace it with a copy first.")


def refuse_uncommitted(package: Path, paths: Iterable[Path]) -> None:
    """Raise if git tracks one of `paths` and it has uncommitted changes, which would be mixed up with the patch's.

    Without git, or outside a repository, there is nothing to ask; whether the hunks fit is checked anyway.
    """
    names = [path.relative_to(package).as_posix() for path in paths]
    if not names or not shutil.which("git"):
        return
    command = ["git", "-C", str(package), "status", "--porcelain", "--untracked-files=no", "--", *names]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0 and done.stdout.strip():
        listed = "\n".join(f"  {line}" for line in done.stdout.splitlines())
        raise LocalEdits(f"uncommitted changes in files that the patch edits:\n{listed}\nCommit or stash them first.")
