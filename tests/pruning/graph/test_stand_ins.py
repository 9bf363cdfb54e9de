"""Models that rank queries or read texts and prompts: followed on images alone, right with every text and prompt."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.modules.block import MaxSigmoidAttnBlock
from ultralytics.slim.errors import InputError
from ultralytics.slim.fewer_classes import only_classes
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.prompts import VISUAL, lacks_classes
from ultralytics.slim.pruning.graph.raw import raw, run_raw
from ultralytics.slim.pruning.graph.rewrite import sliced
from ultralytics.slim.pruning.graph.stand_ins import stand_ins
from ultralytics.slim.pruning.graph.verify import check_equal, difference, flatten, in_float64, masking
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair import refit as refit_module
from ultralytics.slim.pruning.repair.refit import inputs_of, refit
from ultralytics.slim.pruning.score.blocks import prediction_loss
from ultralytics.slim.pruning.score.magnitude import score_labels
from ultralytics.slim.pruning.score.ranking import rank
from ultralytics.slim.pruning.score.sensitivity import sensitivities
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed, take_share
from ultralytics.slim.pruning.select.pools import make_pools

from random_models import randomised

RTDETR, WORLD, WORLD2, YOLOE, YOLOE26 = (
    "yolov8n-rtdetr.yaml",
    "yolov8n-world.yaml",
    "yolov8n-worldv2.yaml",
    "yoloe-v8n.yaml",
    "yoloe-26n-seg.yaml",
)


def model_of(name: str, nc: int = 3) -> nn.Module:
    return randomised(name, nc=nc).model.float().eval()


def images(n: int = 2, side: int = 64) -> torch.Tensor:
    """Noise of several scales, (n, 3, side, side)."""
    random = torch.Generator().manual_seed(0)
    coarse = [torch.rand(n, 3, k, k, generator=random) for k in (4, 16)]
    return sum(nn.functional.interpolate(t, size=(side, side), mode="bilinear") for t in coarse) / 2


def texts(n: int, seed: int = 1) -> torch.Tensor:
    return nn.functional.normalize(torch.randn(1, n, 512, generator=torch.Generator().manual_seed(seed)), dim=-1)


def cut(model: nn.Module, factor: float = 0.3):
    """Return the graph, which labels stay, and the pruned model."""
    graph = trace_channels(model)
    pools, book = make_pools(graph, score_labels(model, graph, "l1", 0))
    steps = take_share(pools, order_narrowings(pools, "layer", 8), "layer", factor)
    keep = ~np.isin(book.roots(), removed(pools, steps))
    return graph, keep, sliced(model, graph, keep)


@torch.no_grad()
def gap(model: nn.Module, other: nn.Module, work) -> float:
    """Return the largest relative difference of what `work` makes of two models, in float64."""
    found = []
    for net in (model, other):
        with in_float64(net):
            found.append(flatten(work(net)))
    assert all(t.abs().max() > 0 for t in found[0])
    return difference(*found)


def test_nothing_is_left_behind() -> None:
    for name in (RTDETR, WORLD2, YOLOE):
        model = model_of(name)
        before = [(dict(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
        with raw(model):
            pass
        run = [(dict(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
        assert all(a[0].keys() == b[0].keys() and a[1:] == b[1:] for a, b in zip(before, run))
        assert not model.model[-1].training


def test_a_small_change_alters_the_ranks_of_queries_but_little_of_what_is_compared() -> None:
    model, x = model_of(RTDETR), images()
    model.model[-1].num_queries = 20
    other = copy.deepcopy(model)
    weight = other.model[-1].enc_score_head.weight
    weight.data += 0.01 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ranked = difference(flatten(model(x)[0]), flatten(other(x)[0]))
        stable = difference(flatten(run_raw(model, x)), flatten(run_raw(other, x)))
    assert stable < 0.02 < 0.2 < ranked


def test_every_position_proposes_and_queries_are_spread_evenly() -> None:
    model, x = model_of(RTDETR), images(side=160)
    model.model[-1].num_queries = 100
    with torch.no_grad():
        proposed, decoded = run_raw(model, x)
    assert proposed["scores"].shape == (2, 3, 525) and proposed["boxes"].shape == (2, 4, 525)  # 20² + 10² + 5²
    assert decoded["scores"].shape == (2, 3, 88) and decoded["boxes"].shape == (2, 4, 88)  # every sixth
    assert all(0 <= part["boxes"].min() and part["boxes"].max() <= 40 for part in (proposed, decoded))


@pytest.mark.slow
def test_a_decoder_cut_wrongly_is_noticed() -> None:
    model = model_of(RTDETR)
    graph, keep, pruned = cut(model)
    layer = pruned.model[-1].decoder.layers[3]
    assert layer.linear1.out_features < 1024  # the decoder loses channels, too
    with masking(model, graph, keep):
        assert check_equal(model, pruned) <= 1e-12
        layer.linear2.weight.data = layer.linear2.weight.data.roll(1, 1)
        with pytest.raises(RuntimeError, match="pruning is not exact"):
            check_equal(model, pruned)


@pytest.mark.parametrize("name", [WORLD, WORLD2])
def test_a_cut_model_is_right_with_other_texts(name: str) -> None:
    model = model_of(name)
    graph, keep, pruned = cut(model)
    x = images().double()
    blocks = [(m, n) for m, n in zip(model.modules(), pruned.modules()) if isinstance(m, MaxSigmoidAttnBlock)]
    assert len(blocks) == 4 and all(n.hc < m.hc and n.gl.out_features == n.nh * n.hc for m, n in blocks)
    with masking(model, graph, keep):
        model.model[-1].nc = pruned.model[-1].nc = 7
        assert gap(model, pruned, lambda net: net(x, txt_feats=texts(7))[1]) <= 1e-9


def prompts(x: torch.Tensor) -> torch.Tensor:
    """Two rectangles an image at the stride of the finest feature map, as masks (N, 2, H, W)."""
    masks = torch.zeros(len(x), 2, x.shape[2] // 8, x.shape[3] // 8, dtype=x.dtype)
    masks[:, 0, 1:4, 2:7] = 1
    masks[:, 1, 5:7, 0:3] = 1
    return masks


@torch.no_grad()
def embedded(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the embeddings of visual prompts (N, 2, 512); in float64 SAVPE needs it as the default, or gives NaN."""
    torch.set_default_dtype(x.dtype)
    try:
        return net(x, vpe=prompts(x), return_vpe=True)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [YOLOE, YOLOE26])
def test_a_cut_model_is_right_with_texts_and_visual_prompts_set_later(name: str) -> None:
    model = model_of(name)
    graph, keep, pruned = cut(model)
    x = images().double()
    with masking(model, graph, keep):
        assert gap(model, pruned, lambda net: embedded(net, x)) <= 1e-9
        assert gap(model, pruned, lambda net: net(x, vpe=embedded(net, x))[1]) <= 1e-9
        assert gap(model, pruned, lambda net: net(x, tpe=texts(5).double())[1]) <= 1e-9  # through reprta


@pytest.mark.slow
def test_texts_are_fused_into_a_cut_model_and_it_is_cut_again(tmp_path) -> None:
    yolo, x = YOLO(prune_model(randomised(YOLOE, nc=3), tmp_path / "p.pt", 0.3, imgsz=64).path), images()
    net = yolo.model.float().eval()
    net.set_classes(["a", "b", "c"], texts(3))
    with torch.no_grad():
        apart = net(x)[0]
        net.model[-1].fuse(net.pe)
        fused = net(x)[0]
    assert torch.allclose(apart, fused, atol=1e-4 * float(apart.abs().max()))
    again = prune_model(yolo, tmp_path / "q.pt", 0.3, imgsz=64)
    assert again.error <= 1e-8 and again.ratio > 0.2


@pytest.mark.parametrize("name", [YOLOE, YOLOE26])
@pytest.mark.parametrize("fused", [True, False])
def test_a_prompt_free_model_is_cut(name: str, fused: bool) -> None:
    """With the vocabulary of its own embeddings, or that of another model beside its own."""
    model, x = model_of(name), images().double()
    model.args = {"imgsz": 64}
    other = copy.deepcopy(model)
    other.set_classes(list("abcdef"), texts(6))
    other.model[-1].fuse(other.pe)
    branch = other.model[-1].one2one_cv3 if other.model[-1].end2end else other.model[-1].cv3
    model = other if fused else model
    model.set_vocab(nn.ModuleList(level[-1] for level in branch), list("abcdef"))
    graph, keep, pruned = cut(model)
    assert any(len(labels) > keep[labels].sum() > 0 for n, labels in graph.layers.items() if "cv3.0.1" in n)
    with masking(model, graph, keep):
        assert check_equal(model, pruned) <= 1e-8
        for net in (model, pruned):
            net.model[-1].export = True  # everywhere, as here
        assert gap(model, pruned, lambda net: net(x)) <= 1e-9
        pruned.model[-1].lrpc[1].pf.weight.data *= 2
        with pytest.raises(RuntimeError, match="pruning is not exact"):
            check_equal(model, pruned)


def test_without_classes_random_texts_stand_for_them() -> None:
    model, finest = model_of(YOLOE), slice(0, 64)
    with torch.no_grad():
        blind, seen = model(images())[1]["scores"], run_raw(model, images())["scores"]
        visual = run_raw(model, images())[VISUAL]
    assert lacks_classes(model)
    assert blind[..., finest].std(2).max() < 1e-5 < 1e-3 < seen[..., finest].std(2).min()
    assert visual.shape == (2, 1, 512) and visual.norm(dim=2).sub(1).abs().max() < 1e-5
    model.set_classes(["a", "b"], texts(2))
    with torch.no_grad():
        set_later = model.eval()(images())[1]["scores"]
        assert torch.equal(run_raw(model, images())["scores"], set_later) and not lacks_classes(model)


@pytest.mark.parametrize("name", [WORLD, YOLOE26, RTDETR])
def test_layers_run_one_by_one_give_what_the_model_gives(name: str) -> None:
    """As the re-fit runs them; twice, as nothing of one pass may reach the next."""
    model, x = model_of(name), images()
    with torch.no_grad():
        wanted = flatten(run_raw(model, x))
        with raw(model):
            for _ in range(2):
                out, saved = x, []
                for layer in model.model:
                    out = layer(inputs_of(layer, out, saved))
                    saved.append(out if layer.i in model.save else None)
                assert difference(wanted, flatten(out)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [WORLD, YOLOE, RTDETR])
def test_images_make_up_for_what_went(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = model_of(name), images(4)
    graph, keep, pruned = cut(model)
    without = prediction_loss(model, pruned, x)
    where = {layer: found.where for layer, found in sensitivities(model, x).items()}
    kept = {layer: np.flatnonzero(keep[labels]) for layer, labels in graph.layers.items()}
    of_texts = {n: p.clone() for n, p in pruned.named_parameters() if ".gl." in n}  # scaled for their new width
    solved, work = [], refit_module.solve
    monkeypatch.setattr(refit_module, "solve", lambda m, *args: solved.append(m) or work(m, *args))
    assert refit(model, pruned, kept, where, graph.norms, x, quiet=True) > 50
    assert prediction_loss(model, pruned, x) < 0.1 * without
    often = set(pruned.model[-1].query_pos_head.modules()) if name == RTDETR else set()
    times = Counter(solved)  # by all calls so far at each of them: six for what every decoder layer runs
    assert len(times) > 50 and all(count == (6 if m in often else 1) for m, count in times.items())
    assert all(torch.equal(p, pruned.get_parameter(n)) for n, p in of_texts.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [WORLD2, YOLOE])
def test_channels_are_scored_on_images(name: str) -> None:
    model, x = model_of(name), images(4)
    pools = rank(model, trace_channels(model), "surgeon", "global", batch=x).pools
    assert all(np.isfinite(pool.scores).all() and (pool.scores >= 0).all() for pool in pools)
    assert all(pool.scores.max() > 0 for pool in pools)  # also what embeds visual prompts, and reads texts


@pytest.mark.parametrize(
    ("name", "why"), [(RTDETR, "score best of all classes"), (WORLD, r"set_classes\("), (YOLOE26, r"set_classes\(")]
)
def test_classes_that_cannot_go_alone_stay(name: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        only_classes(model_of(name), [0])


def test_what_runs_on_prompts_alone_costs_no_time_an_image() -> None:
    graph = trace_channels(model_of(YOLOE))
    prompted = [name for name in graph.layers if ".savpe." in name]
    assert prompted and not any(f"{name}.weight" in graph.positions for name in prompted)
    kept = [name for name in graph.layers if ".reprta." in name]
    frozen, roots = graph.book.frozen(), graph.book.roots()
    assert all("once for all images" in frozen[roots[graph.layers[name][0]]] for name in kept) and len(kept) == 2


def test_stand_ins_of_what_needs_none_do_nothing() -> None:
    model, x = model_of("yolov8n.yaml"), images()
    with torch.no_grad(), stand_ins(model):
        out = flatten(model(x))
    with torch.no_grad():
        assert difference(out, flatten(model(x))) == 0
