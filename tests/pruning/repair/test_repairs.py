"""Repairs: which are made, and BatchNorm statistics against their definition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair.batchnorm import estimate_statistics
from ultralytics.slim.pruning.repair.repairs import read_repairs

from random_models import randomised


@pytest.mark.parametrize(
    ("repair", "has_images", "made"),
    [
        ("auto", True, ("refit",)),
        ("auto", False, ("fold",)),
        (("bn", "fold"), True, ("fold", "bn")),
        ("refit, bn", True, ("refit", "bn")),
        ("none", True, ()),
        (None, False, ()),
        ((), False, ()),
    ],
)
def test_repairs_are_read(repair, has_images: bool, made: tuple) -> None:
    assert read_repairs(repair, has_images) == made


def test_wrong_repairs_are_named() -> None:
    with pytest.raises(ValueError, match=r"some of fold, refit, bn, got 'fold,refitt'"):
        read_repairs("fold,refitt", True)
    with pytest.raises(ValueError, match=r"repair='bn' needs images"):
        read_repairs(("fold", "bn"), False)


class Net(nn.Module):
    """A convolution, a BatchNorm and a second one that sees what the first makes of its new statistics."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))

    def forward(self, x):
        return self.model(x)


@torch.no_grad()
def test_statistics_are_those_of_what_arrives() -> None:
    torch.manual_seed(0)
    net = Net().eval()
    images = torch.rand(12, 3, 6, 6)
    assert estimate_statistics(net, images) == 2
    first, second = net.model[1:3]
    y = net.model[0](images).transpose(0, 1).flatten(1)
    assert torch.allclose(first.running_mean, y.mean(1), atol=1e-5)
    assert torch.allclose(first.running_var, y.var(1), atol=1e-5)
    assert torch.allclose(second.running_mean, first.bias, atol=1e-4)
    assert first.momentum == 0.1 and not any(m.training for m in net.modules())
    with pytest.raises(ValueError, match="at least two images"):
        estimate_statistics(net, images[:1])


@pytest.mark.slow
def test_every_repair_is_made_and_recorded(tmp_path: Path) -> None:
    yolo, images = randomised("yolov8n.yaml", nc=2), torch.rand(4, 3, 64, 64)
    outputs, x = {}, torch.rand(1, 3, 64, 64)
    for repair in ("none", "fold", "bn", "refit,bn"):
        result = prune_model(yolo, tmp_path / "p.pt", 0.3, score="l1", images=images, repair=repair, imgsz=64)
        record = torch.load(result.path, weights_only=False)["slim"]
        assert record["repairs"] == [name for name in repair.split(",") if name != "none"]
        with torch.no_grad():
            outputs[repair] = result.model(x)[0]
    pairs = [(a, b) for a in outputs for b in outputs if a < b]
    assert all(not torch.allclose(outputs[a], outputs[b]) for a, b in pairs)
