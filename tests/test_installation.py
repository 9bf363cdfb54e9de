"""Two packages named ultralytics: noticed where this fork is imported, silent where there is one."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ultralytics import __version__
from ultralytics.slim.installation import tell_mixed

from places import ROOT


def dist_info(folder: Path, version: str) -> Path:
    """Make what pip leaves of an installed ultralytics: its metadata."""
    info = folder / f"ultralytics-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ultralytics\nVersion: {version}\n")
    return folder


def test_one_package_is_no_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(dist_info(tmp_path, __version__)), *sys.path])
    assert tell_mixed(__version__, tmp_path / "ultralytics") is None
    monkeypatch.setattr(
        metadata, "distribution", lambda name: (_ for _ in ()).throw(metadata.PackageNotFoundError(name))
    )
    assert tell_mixed("1.0", tmp_path) is None  # nothing is installed: a checkout on the path is all there is


@pytest.mark.slow
def test_a_stock_package_installed_over_the_fork_is_named_at_import(tmp_path):
    """From the checkout's folder Python takes the fork, while the `yolo` command would run the stock release."""
    paths = os.pathsep.join([str(ROOT), str(dist_info(tmp_path, "8.4.190"))])
    done = subprocess.run(
        [sys.executable, "-c", "from ultralytics import YOLO; YOLO; print('imported')"],
        env={**os.environ, "PYTHONPATH": paths}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert f"runs {__version__} from {ROOT / 'ultralytics'}, but 8.4.190 is installed ({tmp_path})" in said
    assert "`pip install -e" in said and "yolo command" in said and "imported" in said
