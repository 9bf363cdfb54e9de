"""The older releases that the patches claim, trained for real under the installed torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_series import MIDDLE, SERIES

from patches.apply import apply
from patches.fetch import fetch_release, unpack
from patches.pin import load_pin

VERSIONS = [version for entry in SERIES for version in (entry.first, MIDDLE[entry.first], entry.last)]


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != load_pin().version])
def test_a_patched_release_trains_prunes_and_resumes(tmp_path: Path, tiny_data: Path, version: str):
    """cwd, mgd, sparse, prune, retrain at the pruned widths, resume: each for two epochs or so."""
    unpack(fetch_release(version), tmp_path)
    apply(tmp_path)
    script = Path(__file__).with_name("release_smoke.py")
    done = subprocess.run(
        [sys.executable, script, tiny_data, tmp_path / "runs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.rstrip().endswith("every step ran")
