"""Build hook: before anything is installed, make `ultralytics/` from the pinned release and the patch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MaterialiseHook(BuildHookInterface):
    """Found by hatchling through `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Materialise, or stop the build with one message; a traceback would bury it."""
        sys.path.insert(0, self.root)
        from patches.errors import PatchError
        from patches.materialise import materialise

        try:
            self.app.display_info(materialise(Path(self.root)))
        except PatchError as error:
            sys.exit(f"\nultralytics/ cannot be made: {error}\n")
