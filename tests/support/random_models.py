"""Untrained models whose BatchNorms look trained."""

from __future__ import annotations

import torch

from ultralytics import YOLO
from ultralytics.slim.pruning.architectures import shake, untrained


def randomised(name: str, seed: int = 0, **keys) -> YOLO:
    """Return the model of a YAML with random BatchNorm statistics, scales and shifts; `keys` overwrite its YAML's."""
    torch.manual_seed(seed)
    yolo = untrained(name)
    if keys:
        cfg = {**yolo.model.yaml, **keys}
        yolo.model = type(yolo.model)(cfg, ch=cfg.get("channels", 3), nc=cfg.get("nc"), verbose=False)
    shake(yolo.model, seed)
    return yolo
