"""Run by test_releases.py in its own process, with a patched release on the path: python release_smoke.py DATA OUT.

Each step trains for real, on the tiny data set; the first that fails ends the process with its traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ultralytics import YOLO
from ultralytics.slim.pruning.prune import prune_model

DATA, OUT = sys.argv[1], Path(sys.argv[2])
TEACHER, PRUNED = OUT / "plain" / "weights" / "last.pt", OUT / "pruned.pt"


def train(model: YOLO, name: str, epochs: int = 2, **arguments) -> YOLO:
    fixed = {"data": DATA, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}
    model.train(name=name, project=str(OUT), epochs=epochs, **fixed, **arguments)
    return model


def parameters(model: YOLO) -> int:
    return sum(parameter.numel() for parameter in model.model.parameters())


def resume() -> None:
    """A run with the two overrides, stopped after its first epoch, goes on with both."""
    model = YOLO("yolov8n.yaml")

    def stop(trainer) -> None:
        trainer.stop = trainer.epoch == 0

    model.add_callback("on_train_epoch_end", stop)
    train(model, "stopped", epochs=3, Distillation=str(TEACHER), loss_type="cwd", save_period=1)
    again = YOLO(OUT / "stopped" / "weights" / "epoch0.pt")
    again.train(resume=True)
    assert (again.trainer.args.Distillation, again.trainer.args.loss_type) == (str(TEACHER), "cwd")
    assert again.trainer.epoch == 2


train(YOLO("yolov8n.yaml"), "plain")
train(YOLO("yolov8n.yaml"), "cwd", Distillation=str(TEACHER), loss_type="cwd")
train(YOLO("yolov8n.yaml"), "mgd", Distillation=YOLO(TEACHER), loss_type="mgd")
train(YOLO(TEACHER), "sparse", loss_type="sparse")
prune_model(YOLO(TEACHER), str(PRUNED), 0.5)
pruned = YOLO(PRUNED)
before = parameters(pruned)
assert before < parameters(YOLO("yolov8n.yaml"))
assert parameters(train(pruned, "retrain")) == before, "retraining lost the pruned widths"
resume()
print("every step ran")
