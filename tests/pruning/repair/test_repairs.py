"""Repairs: which are made, and BatchNorm statistics against their definition."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import sliced
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair.batchnorm import estimate_statistics
from ultralytics.slim.pruning.repair.repairs import Example, read_repairs, repair_model
from ultralytics.slim.pruning.score.ranking import rank
from ultralytics.slim.pruning.select.narrowing import kept, take_share

from random_models import randomised, shake
from small_modules import ByKeyword, Chain, ChannelsLast, Equalised, Functional, Pointwise, PreActivated, TwoScales


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


# -- layers of the user's own ------------------------------------------------------------------------------------------
def repaired(block: type, repairs: tuple[str, ...]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Cut half the channels around a block; return the model, what was sliced from it, and that repaired."""
    torch.manual_seed(0)
    net, images = Chain(block()).eval(), structured()
    shake(net)
    graph = trace_channels(net)
    ranking = rank(net, graph, "surgeon" if "refit" in repairs else "l1", "layer", batch=images, is_refitted=True)
    taken = take_share(ranking.pools, ranking.narrowings(net, graph, 2, 0.0), "layer", 0.5)
    keep = kept(ranking.book.roots(), ranking.pools, taken)
    plain, pruned = sliced(net, graph, keep), sliced(net, graph, keep)
    repair_model(repairs, net, pruned, graph, keep, Example.of(net, ranking.where, graph.norms), images)
    return net, plain, pruned


def structured() -> torch.Tensor:
    """Smooth images: neighbouring channels of their features depend on each other."""
    small = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(small, size=32, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("repairs", [("fold",), ("refit",)])
@pytest.mark.parametrize("block", [ChannelsLast, ByKeyword])
@torch.no_grad()
def test_what_computes_the_same_is_scored_and_repaired_alike(block: type, repairs: tuple) -> None:
    (*_, plain, want), (*_, got) = repaired(Pointwise, repairs), repaired(block, repairs)
    x = structured()
    assert torch.allclose(got(x), want(x), atol=1e-4) and (want(x) - plain(x)).abs().max() > 1e-2


@pytest.mark.parametrize("repairs", [("fold",), ("refit",)])
@pytest.mark.parametrize(("block", "left"), [(PreActivated, "bn.*"), (Equalised, "cv.*"), (Functional, "weight")])
def test_what_does_not_follow_a_layer_and_weights_not_used_as_stored_are_left(
    block: type, left: str, repairs: tuple
) -> None:
    """A BatchNorm before a convolution, a weight that code scales, or takes for another input than it is given."""
    _, plain, pruned = repaired(block, repairs)
    before, after = plain.model[1].state_dict(), pruned.model[1].state_dict()
    names = fnmatch.filter(before, left)
    assert names and all(torch.equal(before[name], after[name]) for name in names)


@torch.no_grad()
def test_a_layer_that_runs_on_several_maps_is_fitted_to_all_of_them() -> None:
    net, plain, pruned = repaired(TwoScales, ("refit",))
    x = structured()
    assert (net(x) - pruned(x)).norm() < 0.3 * (net(x) - plain(x)).norm()


@torch.no_grad()
def test_a_fit_after_a_fold_is_the_fit() -> None:
    (*_, want), (*_, got) = repaired(PreActivated, ("refit",)), repaired(PreActivated, ("fold", "refit"))
    assert torch.allclose(got(structured()), want(structured()), atol=1e-4)


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
