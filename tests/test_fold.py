"""Constants of removed channels live on in the layers that read them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from random_models import randomised, shake
from torch import nn

from ultralytics.slim.pruning.channels import trace_channels
from ultralytics.slim.pruning.fold import fold_constants
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.rewrite import slice_model


def layer(a: int, b: int, k: int = 3, **keys) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, k, padding=k // 2, padding_mode="replicate", **keys), nn.BatchNorm2d(b), nn.SiLU()
    )


class Net(nn.Module):
    """A concatenation, a sum, a pool, an enlargement and a channelwise convolution between maker and readers."""

    stride = torch.tensor([8.0])

    def __init__(self, c: int = 16):
        super().__init__()
        self.a, self.b, self.dw = layer(3, c), layer(3, c), layer(c, c, groups=c)
        self.c = layer(2 * c, c)
        self.end = nn.Conv2d(c, 4, 3, padding=1, padding_mode="replicate")

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        y = self.dw(a) + nn.functional.max_pool2d(b, 3, 1, 1)
        y = self.c(torch.cat([y, nn.functional.interpolate(b, scale_factor=1.0)], 1))
        return self.end(y)


def zero_gammas(net: Net) -> np.ndarray:
    """Set γ of the first six channels of every tied group to 0 and return the labels that are kept."""
    shake(net)
    for norm in (net.a[1], net.b[1], net.dw[1], net.c[1]):
        norm.weight.data[:6] = 0
    graph = trace_channels(net)
    roots = graph.book.roots()
    gone = np.concatenate([roots[graph.layers[name][:6]] for name in ("a.0", "b.0", "c.0")])
    return graph, ~np.isin(roots, gone)


def test_channels_with_zero_scale_go_without_a_trace() -> None:
    torch.manual_seed(0)
    net = Net().double().eval()
    graph, keep = zero_gammas(net)
    sliced = copy.deepcopy(net)
    slice_model(sliced, graph, keep)
    folded = copy.deepcopy(sliced)
    assert fold_constants(net.float(), folded.float(), graph, keep) >= 1
    net, folded, sliced = net.double(), folded.double(), sliced.double()
    assert sliced.a[0].out_channels == 10
    x = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        want = net(x)
        scale = want.abs().max()
        assert (sliced(x) - want).abs().max() > 1e-2 * scale
        assert (folded(x) - want).abs().max() <= 1e-6 * scale  # folded in float32


def test_without_images_the_fold_is_part_of_pruning(tmp_path, monkeypatch) -> None:
    yolo = randomised("yolov8n.yaml", nc=2)
    for m in yolo.model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data[::4] = 1e-6
    result = prune_model(yolo, tmp_path / "p.pt", 0.15, imgsz=64)
    assert result.score == "gamma"
    x = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        want = yolo.model.eval()(x)[0]
        folded = (result.model.eval()(x)[0] - want).abs().mean()
        monkeypatch.setattr("ultralytics.slim.pruning.prune.fold_constants", lambda *args: 0)
        plain = prune_model(yolo, tmp_path / "q.pt", 0.15, imgsz=64).model.eval()
        assert folded < 0.5 * (plain(x)[0] - want).abs().mean()
