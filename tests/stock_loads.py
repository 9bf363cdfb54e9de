"""Run by test_architectures.py with a stock release on the path: python stock_loads.py PACKAGE FOLDER OUT NAME...

Loads the named checkpoints of FOLDER that are of a family that the release ships, runs them in float64, and writes
{file name: outputs} to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import ultralytics
from ultralytics import YOLO

package, folder, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
assert Path(ultralytics.__file__).is_relative_to(package), ultralytics.__file__
torch.set_num_threads(1)


def known(path: Path) -> bool:
    """Return whether the release ships the family: a folder of cfg/models named like it."""
    families = {f.name for f in (package / "ultralytics" / "cfg" / "models").iterdir()}
    digits = path.stem.removeprefix("yolo").removeprefix("v")
    return any(digits.startswith(family.removeprefix("v")) for family in families if family[-1].isdigit())


def tensors(output) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return [t for value in values for t in tensors(value)]


found = {}
for path in (folder / name for name in sys.argv[4:]):
    if known(path):
        model = YOLO(path).model.double().eval()
        size = max(64, int(max(model.stride)))
        with torch.no_grad():
            found[path.name] = [t.clone() for t in tensors(model(torch.ones(1, 3, size, size).double()))]
torch.save(found, out)
