"""Untrained models whose BatchNorms look trained, so that a wrongly cut channel cannot hide behind zeros and ones."""

from __future__ import annotations

import torch

from ultralytics import YOLO


def randomised(name: str, seed: int = 0, **keys) -> YOLO:
    """Return `YOLO(name)` with random BatchNorm statistics, scales and shifts; `keys` overwrite its YAML's."""
    torch.manual_seed(seed)
    yolo = YOLO(name, verbose=False)
    if keys:
        cfg = {**yolo.model.yaml, **keys}
        yolo.model = type(yolo.model)(cfg, ch=cfg.get("channels", 3), verbose=False)
    shake(yolo.model, seed)
    return yolo


def shake(model: torch.nn.Module, seed: int = 0) -> None:
    """Give every BatchNorm random statistics, scales and shifts."""
    random = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.2, generator=random)
            m.running_var.uniform_(0.5, 2, generator=random)
            if m.affine:
                m.weight.data.uniform_(0.3, 1.5, generator=random)
                m.bias.data.normal_(0, 0.3, generator=random)
