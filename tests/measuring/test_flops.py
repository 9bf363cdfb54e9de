"""GFLOPs where Ultralytics cannot count them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ultralytics.slim.measuring import flops
from ultralytics.slim.measuring.flops import count_gflops
from ultralytics.utils.torch_utils import get_flops


class Parted(nn.Module):
    """Reads colour alone, of an image of four channels."""

    stride, yaml = torch.tensor([32]), {"channels": 4}

    def __init__(self):
        super().__init__()
        self.cv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

    def forward(self, x):
        return self.cv(x[:, :4][:, -3:]) if x.shape[1] == 4 else self.no_such_thing


def test_an_image_of_more_channels_than_the_first_weight_reads() -> None:
    assert get_flops(Parted(), 64) == 0
    assert count_gflops(Parted(), 64) == pytest.approx(2 * 3 * 8 * 9 * 64 * 64 / 1e9)


def test_both_ways_of_counting_agree() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False))
    assert flops._by_torch(net, 64) == pytest.approx(get_flops(net, 64), rel=0.1) and flops._by_torch(net, 64) > 0


def test_what_fails_once_is_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([0.0, 3.0])
    monkeypatch.setattr(flops, "get_flops", lambda *_: next(counts))
    assert count_gflops(nn.Conv2d(3, 3, 1), 64) == 3.0


def test_a_model_that_does_not_run_has_none() -> None:
    assert count_gflops(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Linear(7, 7)), 64) == 0
