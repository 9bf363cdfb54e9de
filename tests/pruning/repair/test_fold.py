"""Constants of removed channels live on in the layers that read them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import ChannelGraph, trace_channels
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.graph.verify import flatten
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair.fold import fold_constants
from ultralytics.slim.pruning.select.pools import make_pools

from random_models import randomised, shake


def layer(a: int, b: int, k: int = 3, **keys) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, k, padding=k // 2, **keys), nn.BatchNorm2d(b), nn.SiLU())


def replicate(net: nn.Module) -> nn.Module:
    """Let every convolution of `net` repeat the border instead of padding it with zeros."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            m.padding_mode = "replicate"
            m._reversed_padding_repeated_twice = [n for n in reversed(m.padding) for _ in range(2)]
    return net


class Net(nn.Module):
    """A concatenation, a sum, a pool, an enlargement and a channelwise convolution between maker and readers."""

    stride = torch.tensor([8.0])

    def __init__(self, c: int = 16):
        super().__init__()
        self.a, self.b, self.dw = layer(3, c), layer(3, c), layer(c, c, groups=c)
        self.c = layer(2 * c, c)
        self.end = nn.Conv2d(c, 4, 3, padding=1)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        y = self.dw(a) + nn.functional.max_pool2d(b, 3, 1, 1)
        y = self.c(torch.cat([y, nn.functional.interpolate(b, scale_factor=1.0)], 1))
        return self.end(y)


def zero_gammas(net: nn.Module, share: float = 0.3) -> tuple[ChannelGraph, np.ndarray]:
    """Set γ of a share of the channels of every tied group to 0; return the graph and which labels to keep."""
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    gone = [pool.weakest(round((1 - share) * len(pool.units))) for pool in pools]
    keep = ~np.isin(book.roots(), np.concatenate(gone))
    tensors = dict(net.named_parameters())
    with torch.no_grad():
        for slot in graph.slots:
            if slot.role == "norm" and slot.names[0].endswith("weight"):
                tensors[slot.names[0]][torch.from_numpy(~keep[slot.labels])] = 0
    return graph, keep


def differences(net: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Cut the channels whose γ is 0, without and with the fold; return how far each output is off, in its largest."""
    graph, keep = zero_gammas(net.double().eval())
    sliced = copy.deepcopy(net)
    slice_model(sliced, graph, keep)
    folded = copy.deepcopy(sliced)
    assert fold_constants(net, folded, graph, keep) >= 1
    with torch.no_grad():
        want, plain, repaired = (flatten(m(x.double())) for m in (net, sliced, folded))
    scales = [t.abs().max() for t in want]
    return tuple([(t - w).abs() / s for t, w, s in zip(got, want, scales)] for got in (plain, repaired))


def small_net() -> Net:
    torch.manual_seed(0)
    net = Net()
    shake(net)
    return net


def test_channels_with_zero_scale_go_without_a_trace() -> None:
    (sliced,), (folded,) = differences(replicate(small_net()), torch.rand(2, 3, 24, 24))
    assert sliced.max() > 1e-2 and folded.max() <= 1e-8


def test_with_zero_padding_only_the_border_changes() -> None:
    (sliced,), (folded,) = differences(small_net(), torch.rand(2, 3, 24, 24))
    reach = 3  # convolutions between a removed channel's first reader and the output, one pixel each
    assert folded[..., reach:-reach, reach:-reach].max() <= 1e-8 < folded.max()
    assert sliced[..., reach:-reach, reach:-reach].max() > 1e-2


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov9t.yaml", "yolo12n.yaml", "yolo26n.yaml"])
def test_architectures_lose_zero_scales_without_a_trace(name: str) -> None:
    """Through attention, gates, pools, channelwise convolutions and enlargement."""
    sliced, folded = differences(replicate(randomised(name, nc=3).model), torch.rand(1, 3, 128, 192))
    assert max(t.max() for t in sliced) > 1e-2 and max(t.max() for t in folded) <= 1e-8


def test_without_images_the_fold_is_part_of_pruning(tmp_path) -> None:
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
        plain = prune_model(yolo, tmp_path / "q.pt", 0.15, imgsz=64, repair="none").model.eval()
        assert folded < 0.5 * (plain(x)[0] - want).abs().mean()
