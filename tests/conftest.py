"""Shared by all tests: a quiet, offline Ultralytics, the pristine upstream release, and a tiny data set."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

# YOLO_OFFLINE also keeps Ultralytics from sending anything or looking for updates; subprocesses inherit all of these.
CONFIG_FOLDER = tempfile.mkdtemp(prefix="slim-tests-")
os.environ.update(YOLO_CONFIG_DIR=CONFIG_FOLDER, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", MPLBACKEND="Agg")
# Before torch is imported: two runners whose threads wait for each other by spinning take ten times as long.
CORES = os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import shutil

import pytest

from places import ROOT


def pytest_unconfigure() -> None:
    shutil.rmtree(CONFIG_FOLDER, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_cores():
    """Begin and leave each test with the same threads: commands take all cores, Ultralytics as many as it sees."""
    _set_cores()
    yield
    os.environ["OMP_NUM_THREADS"] = CORES
    _set_cores()


def _set_cores() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(CORES))
    if torch_utils := sys.modules.get("ultralytics.utils.torch_utils"):
        torch_utils.NUM_THREADS = int(CORES)


@pytest.fixture(scope="session")
def stock_ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the pinned wheel, unpacked and unpatched.

    Put it on a subprocess's PYTHONPATH to prove that a file loads in stock Ultralytics, without this project.
    """
    from patches.fetch import fetch_wheel, unpack
    from patches.pin import load_pin

    folder = tmp_path_factory.mktemp("stock")
    unpack(fetch_wheel(load_pin()), folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real diagrams and weights: SLIM_SHARED, or `shared` beside the checkout; skips where absent."""
    folder = Path(os.environ.get("SLIM_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}; set SLIM_SHARED to its place")
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the YAML of a data set of 8 + 4 drawn images (128 px, two classes), for runs of seconds."""
    from tiny_data import CLASSES, draw_sample  # needs OpenCV, as nothing above does

    folder = tmp_path_factory.mktemp("tiny")
    for split, count in (("train", 8), ("val", 4)):
        for index in range(count):
            draw_sample(folder, split, f"{split}{index}", seed=100 * count + index)
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(CLASSES))
    path = folder / "tiny.yaml"
    path.write_text(f"path: {folder.as_posix()}\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained detector of a few layers, as a checkpoint; not to be written beside."""
    from ultralytics import YOLO

    from short_runs import MINI

    path = tmp_path_factory.mktemp("weights") / "start.pt"
    YOLO(MINI).save(path)
    return str(path)


@pytest.fixture(scope="session")
def teacher_path(tiny_data, tmp_path_factory):
    """A trained-for-a-moment checkpoint of two classes, wider than the students so that they need adapters."""
    from ultralytics import YOLO

    from short_runs import MINI, SHORT

    folder = tmp_path_factory.mktemp("teacher")
    (folder / "wide.yaml").write_text(MINI.read_text().replace("width_multiple: 0.25", "width_multiple: 0.5"))
    model = YOLO(folder / "wide.yaml", verbose=False)
    model.train(data=str(tiny_data), project=str(folder), name="run", **SHORT)
    return folder / "run/weights/last.pt"


@pytest.fixture(scope="session", autouse=True)
def quick_timing():
    """Time models in a few rounds, for tests of what is done rather than of how long it takes."""
    from ultralytics.slim.measuring.timing import few_rounds

    with few_rounds(3):
        yield


@pytest.fixture
def log(caplog):
    """What Ultralytics' logger says, also where it does not hand records on."""
    logger = logging.getLogger("ultralytics")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
