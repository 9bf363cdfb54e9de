"""Runs are of stages, files and records: they are tested on a small network."""

from __future__ import annotations

import pytest

from places import SUPPORT


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained detector, as a checkpoint; not to be written beside."""
    from ultralytics import YOLO

    path = tmp_path_factory.mktemp("weights") / "start.pt"
    YOLO(SUPPORT / "mini.yaml").save(path)
    return str(path)
