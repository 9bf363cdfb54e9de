"""Shared by the tests of pruning: models of random weights and statistics, behind which no wrong cut hides."""

import pytest

from ultralytics import YOLO

from random_models import randomised


@pytest.fixture(scope="module")
def yolo() -> YOLO:
    """A YOLOv8n of three classes."""
    return randomised("yolov8n.yaml", nc=3)


@pytest.fixture(scope="module")
def yolo_of_two() -> YOLO:
    """A YOLOv8n of two classes, as the tiny data set has."""
    return randomised("yolov8n.yaml", nc=2)
