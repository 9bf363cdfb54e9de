"""Untrained checkpoints for tests: of any YAML, and of a classifier whose answer is known."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.tasks import ClassificationModel


def checkpoint(config, path, **yaml):
    """Save an untrained model as a checkpoint."""
    model = YOLO(config, verbose=False)
    if yaml:
        model.model = type(model.model)({**model.model.yaml, **yaml}, ch=yaml.get("channels", 3), verbose=False)
    model.model.args = {"imgsz": 64}
    model.save(path)
    return path


def always(answer: int, path: Path) -> Path:
    """Save a classifier that says one of two classes whatever it sees."""
    model = YOLO("yolov8n-cls.yaml", verbose=False)
    model.model = ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False)
    head = model.model.model[-1].linear
    nn.init.zeros_(head.weight)
    head.bias.data = torch.eye(2)[answer]
    model.model.args, model.model.task = {"imgsz": 64}, model.task
    model.save(path)
    return path
