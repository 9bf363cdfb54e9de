"""The older releases that the patches claim, trained for real under the installed torch.

Releases before 8.3 read checkpoints with torch's old default; what the environment variable brings back is that
default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patches.apply import apply
from patches.fetch import fetch_release, unpack
from patches.pin import load_pin

from places import SUPPORT
from releases import MIDDLE, SERIES

VERSIONS = [version for entry in SERIES for version in (entry.first, MIDDLE[entry.first], entry.last)]


@pytest.fixture(scope="session")
def older_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the older releases need beside today's torch: a numpy that has `trapz`, and some imports.

    They ask py-cpuinfo for the processor's name whenever they look for a device, which takes a second: here one stands
    in.
    """
    folder = tmp_path_factory.mktemp("older")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    needed = ["pandas", "python-dateutil", "pytz", "hub-sdk", *([] if hasattr(np, "trapz") else ["numpy>=2.0,<2.4"])]
    subprocess.run([*command, "--target", str(folder), *needed], check=True, capture_output=True, text=True)
    (folder / "cpuinfo.py").write_text("def get_cpu_info():\n    return {'brand_raw': 'any'}\n")
    return folder


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != load_pin().version])
def test_a_patched_release_trains_prunes_and_resumes(
    tmp_path: Path, tiny_data: Path, older_packages: Path, version: str
):
    """cwd, mgd+logit, sparse, prune, retrain at the pruned widths, resume: each for an epoch or two.

    On one release of each patch also the commands, a whole run among them.

    No package can be imported that the release does not require, directly or by way of another.
    """
    unpack(fetch_release(version), tmp_path)
    apply(tmp_path)
    script = SUPPORT / "release_smoke.py"
    commands = ["commands"] if version in MIDDLE.values() else []
    done = subprocess.run(
        [sys.executable, SUPPORT / "own_requirements.py", tmp_path, script, tiny_data, tmp_path / "runs", *commands],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, older_packages))),
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.rstrip().endswith("every step ran")
