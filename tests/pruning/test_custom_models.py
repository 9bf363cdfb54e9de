"""A user's own block in an Ultralytics model: ordinary operations prune, what is not understood stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.pruning.graph.refusals import Refusal
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.result import PruneResult

from random_models import randomised, shake
from small_modules import Grouped, Ordinary, Strange

AT = 4  # the layer that is replaced: 64 channels in and out, read by the next layer and by the neck


class Idle(nn.Module):
    """A branch that runs only when it is asked for, and so never in a trace."""

    def __init__(self, c: int):
        super().__init__()
        self.cv, self.aside, self.asked = nn.Conv2d(c, c, 1), nn.Conv2d(c, 7, 1), False

    def forward(self, x):
        return self.cv(x) + (self.aside(x).mean() if self.asked else 0)


def with_block(block: type) -> YOLO:
    """Return a YOLOv8n whose fourth layer is a plain `nn.Module`."""
    yolo = randomised("yolov8n.yaml", nc=3)
    old, new = yolo.model.model[AT], block(64)
    new.i, new.f, new.type, new.np = old.i, old.f, block.__name__, 0
    yolo.model.model[AT] = new
    shake(yolo.model)
    return yolo


def pruned(block: type, folder: Path) -> tuple[PruneResult, dict[str, tuple[int, int]]]:
    result = prune_model(with_block(block), folder / "p.pt", 0.5, imgsz=64)
    with torch.no_grad():
        YOLO(result.path).model.float().eval()(torch.rand(1, 3, 64, 96))
    return result, {name: (before, after) for name, before, after in result.widths}


def test_a_block_of_ordinary_operations_prunes(tmp_path: Path) -> None:
    result, widths = pruned(Ordinary, tmp_path)
    assert result.error <= 1e-8 and result.frozen_share == 0
    assert widths[f"model.{AT}.up"] == widths[f"model.{AT}.down"] == widths["model.3.conv"] == (64, 32)
    assert result.model.model[AT].dw.groups == 32 and result.model.model[AT].scale.shape == (1, 32, 1, 1)


@pytest.mark.parametrize(
    ("block", "why", "fixed"),
    [(Strange, "cumsum", {"model.3.conv"}), (Grouped, "grouped convolution", {"model.3.conv", f"model.{AT}.cv"})],
)
def test_an_unknown_operation_fixes_its_own_channels_only(tmp_path: Path, block: type, why: str, fixed: set) -> None:
    result, widths = pruned(block, tmp_path)
    assert result.error <= 1e-8
    reasons = dict(line.split(": ", 1) for line in result.frozen if "model output" not in line)
    assert set(reasons) == fixed and all(why in reason for reason in reasons.values())
    assert all(widths[name] == (64, 64) for name in fixed)
    predictions = {line.split(": ")[0] for line in result.frozen if "model output" in line}
    assert all(after < before for name, (before, after) in widths.items() if name not in fixed | predictions)


def test_a_layer_that_never_ran_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=rf"model\.{AT}\.aside \(Conv2d\) never ran"):
        prune_model(with_block(Idle), tmp_path / "p.pt", 0.5)
    assert not list(tmp_path.iterdir())
