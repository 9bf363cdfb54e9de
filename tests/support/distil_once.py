"""Distil a tiny model for an epoch, by features and by predictions, after the check: python distil_once.py DATA OUT.

Printed are the modules that are there at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ultralytics.slim.trainer  # noqa: F401 (first of all: it may need nothing that was imported before)
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

DATA, OUT = sys.argv[1:]
teacher = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
teacher.names = {0: "box", 1: "disc"}
YOLO("yolov8n.yaml").train(
    data=DATA, project=OUT, imgsz=32, epochs=1, batch=8, workers=0, device="cpu", plots=False, val=False, verbose=False,
    Distillation=teacher, loss_type="cwd+logit+sparse",
    unlabelled=str(Path(DATA).parent / "images/val"),
)  # fmt: skip
print("imported:", *sorted(sys.modules))
