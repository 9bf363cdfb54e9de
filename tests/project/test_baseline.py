"""The shipped checkpoint: fits the data set, loads as stock, and tells nothing about the machine that made it."""

from __future__ import annotations

import re
import zipfile

import torch
import yaml

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from places import ROOT

WEIGHTS = ROOT / "weights/diagram-yolov8n.pt"


def test_it_is_small_and_knows_the_classes():
    names = yaml.safe_load((ROOT / "diagram.yaml").read_text(encoding="utf-8"))["names"]
    model = YOLO(WEIGHTS)
    assert model.names == names and model.task == "detect"
    assert WEIGHTS.stat().st_size < 7e6


def test_it_is_stripped():
    checkpoint = torch.load(WEIGHTS, map_location="cpu", weights_only=False)
    assert type(checkpoint["model"]) is DetectionModel and next(checkpoint["model"].parameters()).dtype is torch.half
    assert all(checkpoint[key] is None for key in ("ema", "optimizer", "updates"))
    assert not any(module._forward_hooks for module in checkpoint["model"].modules())
    assert not {"Distillation", "loss_type"} & set(checkpoint["train_args"])


def test_it_holds_no_path_of_a_machine():
    with zipfile.ZipFile(WEIGHTS) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    assert re.findall(rb"(?:/(?:home|root|tmp|work|Users|mnt)/|[A-Z]:\\\\)[\w./-]*", text) == []
