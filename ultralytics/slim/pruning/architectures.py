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

import ultralytics
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from .prune import PruneResult, prune_model

MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
SCALED = re.compile(r"^(yolov5|yolov6|yolov8|yolo11|yolo12|yolo26|yoloe-v8|yoloe-11|yoloe-26)(?=[-.])")
REFUSED = {  # by pattern of the file's name: why `YOLO(...)` cannot build it here, or why it is not ours to prune
    r"rtdetr": "RT-DETR is a family of its own (its class is RTDETR, its decoder no convolution)",
    r"world|yoloe": "needs text embeddings of its classes",
    r"resnet18": "its TorchVision backbone downloads weights when it is built",
}


def shipped() -> list[str]:
    """Return the name of every model YAML of the release, at its smallest scale where it has scales."""
    return sorted(SCALED.sub(r"\1n", path.name) for path in MODELS.rglob("*.yaml"))


def reason_against(name: str) -> str | None:
    """Return why an architecture is left out, or None."""
    return next((why for pattern, why in REFUSED.items() if re.search(pattern, name)), None)


def shaken(name: str, seed: int = 0) -> YOLO:
    """Return an untrained model with random BatchNorm statistics, which hide no wrongly cut channel."""
    torch.manual_seed(seed)
    yolo, random = YOLO(name, verbose=False), torch.Generator().manual_seed(seed)
    for m in yolo.model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2, generator=random)
            m.running_var.uniform_(0.5, 2, generator=random)
            m.weight.data.uniform_(0.3, 1.5, generator=random)
            m.bias.data.normal_(0, 0.3, generator=random)
    return yolo


def row(name: str, result: PruneResult) -> str:
    """Return one line of the table."""
    (p0, p1), (g0, g1) = result.params, result.gflops
    left = f"{p0 / 1e6:.2f} | {p1 / p0:.0%} | {g0:.1f} | {g1 / g0:.0%}"
    return f"| {name} | {left} | {result.frozen_share:.1%} | {result.error:.0e} |"


def main(factor: float = 0.3) -> int:
    """Write the table to standard output; return how many architectures failed."""
    LOGGER.setLevel(logging.ERROR)
    failed = 0
    head = "architecture | parameters (M) | left | GFLOPs | left | channels fixed | difference to masked"
    sys.stdout.write(f"| {head} |\n|{' --- |' * 7}\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in shipped():
            why = reason_against(name)
            if why is None:
                try:
                    line = row(name, prune_model(shaken(name), Path(folder) / "p.pt", factor, imgsz=640))
                except (RuntimeError, ValueError) as error:
                    line, failed = f"| {name} | **failed**: {error} | | | | | |", failed + 1
            else:
                line = f"| {name} | left out: {why} | | | | | |"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
