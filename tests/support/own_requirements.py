"""Run a script as if nothing were installed but what a release requires: own_requirements.py FOLDER SCRIPT ARGUMENTS…

FOLDER is that of the release's unpacked wheel, whose metadata says what it requires; what these require counts, too.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

STAND_INS = {"opencv-python": "opencv-python-headless", "thop": "ultralytics-thop"}  # the same modules


class Without:
    """A finder of modules that does not find some."""

    def __init__(self, finder: Any, modules: set[str]):
        self.finder, self.modules = finder, modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self.modules else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def plain(name: str) -> str:
    """Return the name of a distribution as all tools write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirements: Iterable[str] | None) -> set[str]:
    """Return the names in requirements, those of extras left out."""
    found = {plain(re.match(r"[\w.-]+", line)[0]) for line in requirements or () if not re.search(r"extra\s*==", line)}
    return {STAND_INS.get(name, name) for name in found}


def closure(names: set[str]) -> set[str]:
    """Return the names of distributions and of all that they require in turn."""
    known, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        known.add(name)
        try:
            waiting += needed(metadata.requires(name))
        except metadata.PackageNotFoundError:
            continue
    return known


def not_required(folder: Path) -> set[str]:
    """Return the installed modules that the release unpacked in a folder does without."""
    (info,) = folder.glob("ultralytics-*.dist-info")
    allowed = closure(needed(metadata.Distribution.at(info).requires)) | {"ultralytics"}
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if allowed.isdisjoint(map(plain, distributions)) and module not in sys.stdlib_module_names
    }


if __name__ == "__main__":
    absent = not_required(Path(sys.argv[1]))
    sys.meta_path[:] = [Without(finder, absent) for finder in sys.meta_path]
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
