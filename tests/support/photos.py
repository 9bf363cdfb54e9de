"""Unlabelled images, for what learns from images alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ultralytics.slim.diagrams import draw_dataset


def draw_photos(tmp_path_factory: pytest.TempPathFactory, count: int) -> Path:
    """Draw so many diagrams; return a folder of their images, without a label."""
    folder = draw_dataset(tmp_path_factory.mktemp("drawn") / "diagram", train=count, val=1)
    return Path(shutil.copytree(folder / "images/train", tmp_path_factory.mktemp("photos") / "photos"))
