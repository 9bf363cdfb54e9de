"""Table of every architecture that the release ships: does it prune, and what is left?

Written by `python -m ultralytics.slim.pruning.architectures [factor]`.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import ultralytics
from ultralytics import RTDETR, YOLO
from ultralytics.engine.model import Model
from ultralytics.nn.tasks import yaml_model_load
from ultralytics.utils import LOGGER

from .prune import prune_model
from .result import PruneResult

MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
SCALED = re.compile(r"^(yolov5|yolov6|yolov8|yolo11|yolo12|yolo26|yoloe-v8|yoloe-11|yoloe-26)(?=[-.])")


def shipped() -> list[str]:
    """Return the name of every model YAML of the release, at its smallest scale where it has scales."""
    return sorted(SCALED.sub(r"\1n", path.name) for path in MODELS.rglob("*.yaml"))


def untrained(name: str) -> Model:
    """Return the model of a YAML; a TorchVision backbone comes without the weights that it would download."""
    if "rtdetr" in name:
        return RTDETR(name)
    cfg = yaml_model_load(name)
    layers = [layer for layer in cfg["backbone"] if layer[2] == "TorchVision"]
    if not layers:
        return YOLO(name, verbose=False)
    for layer in layers:
        layer[3][2] = None
    yolo = YOLO("yolov8n-cls.yaml", verbose=False)
    yolo.model = type(yolo.model)(cfg, verbose=False)
    return yolo


def shake(model: nn.Module, seed: int = 0) -> None:
    """Give every BatchNorm random statistics, scales and shifts: no wrongly cut channel hides behind zeros and ones."""
    random = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.2, generator=random)
            m.running_var.uniform_(0.5, 2, generator=random)
            if m.affine:
                m.weight.data.uniform_(0.3, 1.5, generator=random)
                m.bias.data.normal_(0, 0.3, generator=random)


def row(name: str, result: PruneResult) -> str:
    """Return one line of the table."""
    (p0, p1), (g0, g1) = result.params, result.gflops
    left = f"{p0 / 1e6:.2f} | {p1 / p0:.0%} | {g0:.1f} | {g1 / g0:.0%}"
    return f"| {name} | {left} | {result.frozen_share:.1%} | {result.error:.0e} |"


def main(factor: float = 0.3) -> int:
    """Write the table to standard output; return how many architectures failed."""
    LOGGER.setLevel(logging.ERROR)
    torch.manual_seed(0)
    failed = 0
    head = "architecture | parameters (M) | left | GFLOPs | left | channels fixed | difference to masked"
    sys.stdout.write(f"| {head} |\n|{' --- |' * 7}\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in shipped():
            try:
                yolo = untrained(name)
                shake(yolo.model)
                line = row(name, prune_model(yolo, Path(folder) / "p.pt", factor, imgsz=640))
            except (RuntimeError, ValueError) as error:
                line, failed = f"| {name} | **failed**: {error} | | | | | |", failed + 1
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
