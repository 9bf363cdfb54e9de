"""A made-up upstream of four files with a patch for it, so that the patch tool is tested in milliseconds."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from patches.fetch import WHEEL_VARIABLE
from patches.materialise import materialise
from patches.refresh import refresh
from patches.seams import Seam

UPSTREAM = {
    "__init__.py": b'__version__ = "1.2.3"\n',
    "engine/__init__.py": b"",
    "engine/trainer.py": b"class Trainer:\n    def train(self):\n        loss = 1\n        return loss\n",
    "cfg/default.yaml": b"epochs: 100\nbatch: 16\n",
}
PATCH = b"""Why each seam is there.

--- a/ultralytics/engine/trainer.py
+++ b/ultralytics/engine/trainer.py
@@ -3,2 +3,3 @@
         loss = 1
+        loss += slim.loss(self)
         return loss
"""
SEAM = Seam("engine/trainer.py", "Trainer.train", "loss += slim.loss(self)", after=("loss = 1",))


class Project:
    """A root folder with `ultralytics/slim`, a `patches` folder, and an upstream wheel."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.folder, self.package = root, root / "patches", root / "ultralytics"
        self.wheel, self.monkeypatch = root / "upstream.whl", monkeypatch
        self.folder.mkdir()
        (self.package / "slim").mkdir(parents=True)
        (self.package / "slim" / "__init__.py").write_text("ours = True\n")
        self.write_patch(PATCH)
        self.release(UPSTREAM)
        self.expect_seams(SEAM)

    def expect_seams(self, *seams: Seam) -> None:
        self.monkeypatch.setattr("patches.seams.SEAMS", seams)

    def write_patch(self, content: bytes) -> None:
        (self.folder / "x.patch").write_bytes(content)

    def release(self, files: dict[str, bytes], version: str = "1.2.3", slim: str = "0.1.0") -> None:
        """Build a wheel, pin it, name it in the environment."""
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"ultralytics/{name}", content)
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        (self.folder / "pin.json").write_text(json.dumps({"version": version, "sha256": digest, "slim": slim}))
        (self.folder / "series.json").write_text(json.dumps([{"patch": "x.patch", "first": "1.2", "last": "1.9"}]))
        self.monkeypatch.setenv(WHEEL_VARIABLE, str(self.wheel))

    def materialise(self, **options) -> str:
        return materialise(self.root, folder=self.folder, **options)

    def refresh(self) -> str:
        return refresh(self.root, folder=self.folder)

    def snapshot(self) -> dict[str, bytes]:
        files = (path for path in self.package.rglob("*") if path.is_file())
        return {path.relative_to(self.package).as_posix(): path.read_bytes() for path in files}
