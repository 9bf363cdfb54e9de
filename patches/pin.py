"""The pin (which upstream release, which hash, which version of ours) and the table of patches.

`pin.json` and `series.json` are the only places where these facts stand; tool, build and tests read them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from patches.errors import PatchError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FORK = "+slim."  # in the version of a fork that this project made


class Pin(NamedTuple):
    """One upstream release by hash, and our own version on top of it."""

    version: str
    sha256: str
    slim: str

    @property
    def fork_version(self) -> str:
        """The version of the fork: a PEP 440 local version, so `ultralytics==8.4.*` is still satisfied."""
        return f"{self.version}{FORK}{self.slim}"

    @property
    def wheel_name(self) -> str:
        return f"ultralytics-{self.version}-py3-none-any.whl"


def load_pin(folder: Path = HERE) -> Pin:
    """Read and check `pin.json`."""
    path = folder / "pin.json"
    try:
        pin = Pin(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        wanted = "expected JSON with version, sha256 and slim"
        raise PatchError(f"{path}: {wanted}; {error}. Restore it from git.") from error
    if not re.fullmatch(r"[0-9a-f]{64}", pin.sha256):
        raise PatchError(f"{path}: sha256 must be 64 hexadecimal digits, got {pin.sha256!r}.")
    return pin


def version_key(version: str) -> tuple[int, ...]:
    """`8.4.190+slim.0.1.0` -> (8, 4, 190): the release numbers, for comparing."""
    match = re.match(r"\d+(\.\d+)*", version)
    if not match:
        raise PatchError(f"expected a version such as 8.4.190, got {version!r}.")
    return tuple(int(part) for part in match[0].split("."))


class Range(NamedTuple):
    """The releases from `first` to `last`, and the patch for all of them."""

    patch: str
    first: str
    last: str

    def holds(self, version: str) -> bool:
        return version_key(self.first) <= version_key(version) <= version_key(self.last)


def load_series(folder: Path = HERE) -> list[Range]:
    """The table of ranges, oldest first."""
    path = folder / "series.json"
    try:
        return [Range(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise PatchError(f"{path}: expected a list of patch, first, last; {error}. Restore it from git.") from error


def patch_for(version: str, folder: Path = HERE) -> Path:
    """The patch file whose range of releases holds `version`; an error where there is none."""
    patch, warning = choose_patch(version, folder)
    if warning:
        raise PatchError(f"{warning} Widen the range in {folder / 'series.json'} once it has been tried.")
    return patch


def choose_patch(version: str, folder: Path = HERE) -> tuple[Path, str]:
    """The patch for `version` and a warning; a release newer than the table gets the newest patch and a warning."""
    series = load_series(folder)
    for entry in series:
        if entry.holds(version):
            return folder / entry.patch, ""
    newest = series[-1]
    if version_key(version) > version_key(newest.last):
        return folder / newest.patch, f"Ultralytics {version} is newer than {newest.last}, the last release tried."
    key, ranges = version_key(version), ", ".join(f"{entry.first} to {entry.last}" for entry in series)
    older = [entry.last for entry in series if version_key(entry.last) < key][-1:]
    newer = [entry.first for entry in series if version_key(entry.first) > key][:1]
    nearest = " or ".join(older + newer)
    raise PatchError(f"no patch for Ultralytics {version}: there are patches for {ranges}. The nearest is {nearest}.")
