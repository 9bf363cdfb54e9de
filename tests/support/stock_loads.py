"""Run by test_architectures.py with a stock release on the path: python stock_loads.py PACKAGE FOLDER OUT NAME...

Loads the named checkpoints of FOLDER that are of a family that the release ships, runs them in float64, and writes
{file name: what the head reads, then its first output} to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import ultralytics
from ultralytics import YOLO


def known(path: Path, package: Path) -> bool:
    """Return whether the release ships the family: a folder of cfg/models is named like it, '11', 'v8' or 'rt-detr'."""
    families = [f.name.replace("-", "") for f in (package / "ultralytics" / "cfg" / "models").iterdir() if f.is_dir()]
    name = path.stem.removeprefix("yoloe-").removeprefix("yolo")
    return any(name.startswith(family) for family in families)


def run(path: Path) -> list[torch.Tensor]:
    """Return the tensors that the head of a checkpoint reads on a grey image, and its first output."""
    model, read = YOLO(path).model.double().eval(), []
    model.model[-1].register_forward_pre_hook(lambda _, args: read.extend(tensors(args)))
    size = 160 if hasattr(model.model[-1], "num_queries") else max(64, int(max(model.stride)))  # as many positions
    with torch.no_grad():
        out = tensors(model(torch.full((1, 3, size, size), 0.5).double()))
    return [t.clone() for t in (*read, out[0])]


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for inner in values for t in tensors(inner)]


if __name__ == "__main__":
    package, folder, out = map(Path, sys.argv[1:4])
    assert Path(ultralytics.__file__).is_relative_to(package), ultralytics.__file__
    paths = [folder / name for name in sys.argv[4:]]
    torch.save({path.name: run(path) for path in paths if known(path, package)}, out)
