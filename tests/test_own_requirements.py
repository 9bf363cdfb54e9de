"""A patched checkout needs no package that its own release does not require; for older ones see test_releases.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from own_requirements import closure, needed, not_required
from places import SUPPORT


def test_requirements_are_followed(tmp_path: Path):
    """An extra's are none; what is installed and required by none of them is absent."""
    info = tmp_path / "ultralytics-1.0.dist-info"
    info.mkdir()
    lines = ("numpy>=1.23; platform_system != 'Darwin'", "PyYAML (>=5)", "scipy>=1 ; extra == 'all'")
    (info / "METADATA").write_text(
        "Name: ultralytics\nVersion: 1.0\n" + "".join(f"Requires-Dist: {x}\n" for x in lines)
    )
    absent = not_required(tmp_path)
    assert needed(lines) == {"numpy", "pyyaml"} and "filelock" in closure({"torch"})
    assert {"scipy", "torch", "pytest"} <= absent and absent.isdisjoint({"numpy", "yaml", "ultralytics", "os"})


@pytest.mark.slow
def test_a_distillation_needs_no_package_that_upstream_does_not(
    tmp_path: Path, tiny_data: Path, stock_ultralytics: Path
):
    """Of the pinned release, which does without SciPy; nor is RT-DETR's loss imported, which takes it in others."""
    command = [sys.executable, SUPPORT / "own_requirements.py", stock_ultralytics, SUPPORT / "distil_once.py"]
    done = subprocess.run([*command, tiny_data, tmp_path], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "not measured" not in done.stdout + done.stderr  # a package that the check lacked is one, too
    imported = set(done.stdout.splitlines()[-1].split())
    absent = not_required(stock_ultralytics)
    assert "scipy" in absent and absent.isdisjoint(name.partition(".")[0] for name in imported)
    assert "ultralytics.utils.loss" in imported and "ultralytics.models.utils.loss" not in imported
