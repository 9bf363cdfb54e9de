"""How many channels a network reads, whatever its first layer makes of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.kinds import input_channels
from ultralytics.slim.pruning.graph.channels import input_size, trace_channels


class Stacked(nn.Module):
    """Reads four shifted copies of the image, stacked, as YOLOv5's Focus does."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([x, x.roll(1, 2), x.roll(1, 3), x.roll(2, 2)], 1))


def stacked(channels: int = 3) -> nn.Module:
    model = YOLO("yolov8n.yaml").model
    first = model.model[0]
    wide = nn.Conv2d(4 * channels, first.conv.out_channels, 3, 2, 1, bias=False)
    first.conv, model.yaml["channels"] = wide, channels
    block = Stacked(first)
    block.i, block.f, block.type, block.np = 0, -1, "Stacked", 0
    model.model[0] = block
    return model


def test_a_convolution_says_it_itself():
    model = YOLO("yolov8n.yaml").model
    model.model[0].conv = nn.Conv2d(1, 16, 3, 2, 1, bias=False)  # made grey by hand: its YAML still says 3
    assert input_channels(model) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_of_stacked_copies_the_yaml_says_it(channels):
    model = stacked(channels)
    assert input_channels(model) == channels and input_size(model)[1] == channels
    assert trace_channels(model).total() > 1000


def test_older_releases_call_it_ch():
    model = stacked(1)
    model.yaml["ch"] = model.yaml.pop("channels")
    assert input_channels(model) == 1


def test_without_either_it_is_the_first_weight():
    assert input_channels(nn.Sequential(nn.Conv2d(5, 2, 1))) == 5
