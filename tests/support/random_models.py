"""Untrained models whose BatchNorms look trained."""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics import YOLO
from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.pruning.architectures import shake, untrained
from ultralytics.slim.pruning.checkpoint import save_checkpoint
from ultralytics.slim.pruning.graph.raw import run_raw

from short_runs import MINI


def randomised(name: str, seed: int = 0, **keys) -> YOLO:
    """Return the model of a YAML with random BatchNorm statistics, scales and shifts; `keys` overwrite its YAML's."""
    torch.manual_seed(seed)
    yolo = untrained(name)
    if keys:
        cfg = {**yolo.model.yaml, **keys}
        yolo.model = type(yolo.model)(cfg, ch=cfg.get("channels", 3), nc=cfg.get("nc"), verbose=False)
    shake(yolo.model, seed)
    return yolo


@torch.no_grad()
def seeing(photos: Path, path: Path) -> Path:
    """Save a detector of a few layers that finds boxes in these images, here and there, as a checkpoint; return it."""
    yolo = randomised(str(MINI), nc=4)
    yolo.model.names = dict(enumerate(("box", "decision", "event", "data")))
    net = yolo.model.float().eval()
    best = run_raw(net, load_images(str(photos), 160))["scores"].amax(1)  # logits
    for branch in net.model[-1].cv3:
        branch[-1].bias += 0.5 - best.quantile(0.98)
    save_checkpoint(net, path, {}, {"train_args": {"imgsz": 160}})
    return path
