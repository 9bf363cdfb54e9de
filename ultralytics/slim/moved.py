"""Modules that programs of users import by the names they had before slim/ was put in order; each still imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

SLIM = __name__.rpartition(".")[0]
MOVED = {"pipeline": "logs", "pruning.analyse": "pruning.analysis.scan"}  # earlier -> now, both below slim


class _Alias(Loader):
    """Loads a module under an earlier name: the module itself, not a copy."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return import_module(f"{SLIM}.{MOVED[spec.name.removeprefix(f'{SLIM}.')]}")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Alias()) if fullname.removeprefix(f"{SLIM}.") in MOVED else None


def keep_earlier_names() -> None:
    """Let the earlier names be imported in this process."""
    if not any(type(finder).__name__ == _Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
