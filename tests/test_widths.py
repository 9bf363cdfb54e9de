"""A pruned model keeps its widths when a freshly built model loads it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    RTDETRDetectionModel,
    SegmentationModel,
    WorldModel,
    YOLOEModel,
)
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.widths import is_narrower, keep_widths

from random_models import randomised

NAME = "yolov8n.yaml"


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    yolo = randomised(NAME, nc=3)
    yolo.model.names = {0: "cat", 1: "dog", 2: "cow"}
    path = prune_model(yolo, tmp_path_factory.mktemp("widths") / "p.pt", 0.5, imgsz=64).path
    return YOLO(path).model


def fresh(kind: type = DetectionModel, name: str = NAME, **keys) -> torch.nn.Module:
    return kind(name, verbose=False, **keys)


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def predictions(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).float().eval()(x)[0]


@pytest.mark.parametrize("form", ["module", "model", "ema"])
def test_widths_and_weights_are_taken_over(pruned: torch.nn.Module, form: str) -> None:
    weights = pruned if form == "module" else {"ema": None, "model": None, form: pruned}
    model = fresh(nc=3)
    before = torch.get_rng_state()
    assert keep_widths(model, weights) is True
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(predictions(model, x), predictions(pruned, x))
    assert model.training and all(p.dtype == torch.float32 for p in model.parameters())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, p in fresh(nc=3).named_parameters() if not p.requires_grad}
    assert model.names == pruned.names and model.model[0] is not pruned.model[0]


def test_another_class_count_replaces_only_the_last_class_layers(pruned: torch.nn.Module) -> None:
    model = fresh(nc=5)
    model.names = dict(enumerate(["dog", "owl", "cat", "hen", "bee"]))
    start = fresh(nc=5).model[-1].cv3[0][-1].bias[1].item()
    assert keep_widths(model, pruned)
    head = model.model[-1]
    assert (head.nc, head.no) == (5, 69) and [b[-1].out_channels for b in head.cv3] == [5, 5, 5]
    old, new = pruned.float().state_dict(), model.state_dict()
    changed = {k for k, v in new.items() if v.shape != old[k].shape or not torch.equal(v, old[k])}
    assert changed == {f"model.22.cv3.{i}.2.{p}" for i in range(3) for p in ("weight", "bias")}
    assert torch.equal(new["model.22.cv3.0.2.weight"][0], old["model.22.cv3.0.2.weight"][1])  # dog
    assert torch.equal(new["model.22.cv3.0.2.weight"][2], old["model.22.cv3.0.2.weight"][0])  # cat
    assert new["model.22.cv3.0.2.bias"][1].item() == pytest.approx(start)


@pytest.mark.parametrize("channels", [1, 4])
def test_another_number_of_input_channels(pruned: torch.nn.Module, channels: int) -> None:
    model = fresh(nc=3, ch=channels)
    assert keep_widths(model, pruned)
    old, new = pruned.float().model[0].conv.weight, model.model[0].conv.weight
    assert new.shape[1] == channels
    assert torch.allclose(new[:, :1], old.sum(1, keepdim=True)) if channels == 1 else torch.equal(new[:, :3], old)
    assert predictions(model, torch.rand(1, channels, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    "other",
    [
        lambda: fresh(name="yolov8s.yaml", nc=3),
        lambda: fresh(name="yolo11n.yaml", nc=3),
        lambda: fresh(SegmentationModel, "yolov8n-seg.yaml", nc=3),
    ],
)
def test_another_architecture_or_scale_is_left_alone(pruned: torch.nn.Module, other) -> None:
    model = other()
    before = count(model)
    assert keep_widths(model, pruned) is False and count(model) == before


def test_only_pruned_models_are_narrower_than_their_yaml(pruned: torch.nn.Module) -> None:
    assert is_narrower(pruned) and not is_narrower(fresh()) and not is_narrower(torch.nn.Sequential())


def test_what_is_not_pruned_is_left_to_ultralytics() -> None:
    for source in (fresh(nc=3), fresh(nc=80), fresh(nc=3, ch=1)):
        model = fresh(nc=6)
        assert keep_widths(model, source) is False
    assert keep_widths(fresh(nc=3), {"ema": None, "model": None}) is False
    assert keep_widths(fresh(nc=3), torch.nn.Linear(2, 2)) is False


def test_a_model_yaml_written_out_otherwise_is_recognised(pruned: torch.nn.Module) -> None:
    cfg = copy.deepcopy(pruned.yaml)
    depth, width, most = cfg.pop("scales")[cfg.pop("scale")]
    cfg.update(depth_multiple=depth, width_multiple=width)
    source = copy.deepcopy(pruned)
    source.yaml = cfg
    assert keep_widths(fresh(nc=3), source)


def test_pruned_and_fused_is_refused(pruned: torch.nn.Module) -> None:
    fused = copy.deepcopy(pruned).float().eval().fuse(verbose=False)
    with pytest.raises(ValueError, match="unfused checkpoint"):
        keep_widths(fresh(nc=3), fused)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ClassificationModel, "yolov8n-cls.yaml"),
        (DetectionModel, "yolo26n.yaml"),
        (SegmentationModel, "yolo26n-seg.yaml"),
    ],
)
@pytest.mark.parametrize("nc", [4, 7])
def test_other_heads(tmp_path_factory: pytest.TempPathFactory, kind: type, name: str, nc: int) -> None:
    path = prune_model(randomised(name, nc=4), tmp_path_factory.mktemp("heads") / "p.pt", 0.5, imgsz=64).path
    source, model = YOLO(path).model, fresh(kind, name, nc=nc)
    whole = count(model)
    assert keep_widths(model, source)
    assert count(model) < 0.6 * whole
    out = model.train()(torch.rand(2, 3, 64, 64))
    raw = out if isinstance(out, torch.Tensor) else out["one2many"]["scores"]
    assert raw.shape[1] == nc
    if "one2one" in (out if isinstance(out, dict) else {}):
        assert out["one2one"]["scores"].shape[1] == nc


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (RTDETRDetectionModel, "yolov8n-rtdetr.yaml"),
        (WorldModel, "yolov8n-worldv2.yaml"),
        (YOLOEModel, "yoloe-v8n.yaml"),
    ],
)
def test_heads_that_decode_queries_or_read_texts(kind: type, name: str) -> None:
    """Another class count: RT-DETR's rows are carried over by name, and texts have none."""
    source = randomised(name, nc=4).model.float()
    source.names = dict(enumerate("abcd"))
    graph = trace_channels(source)
    keep = np.ones(len(graph.book) + 1, bool)
    keep[graph.layers["model.0.conv"][:8]] = False
    slice_model(source, graph, keep)
    assert is_narrower(source)
    model = fresh(kind, name, nc=3)
    model.names = dict(enumerate("dax"))
    assert keep_widths(model, source)
    assert model.model[0].conv.out_channels == source.model[0].conv.out_channels == 8
    assert {n: t.shape for n, t in model.state_dict().items() if t.shape != source.state_dict()[n].shape} == {
        n: torch.Size([3, *t.shape[1:]])
        for n, t in source.state_dict().items()
        if "rtdetr" in name and any(part in n for part in ("score_head", "class_embed"))
    }
    if "rtdetr" in name:
        rows, before = model.model[-1].enc_score_head.weight, source.model[-1].enc_score_head.weight
        assert torch.equal(rows[0], before[3]) and torch.equal(rows[1], before[0])
        assert model.model[-1].nc == 3 and model.model[-1].denoising_class_embed.num_embeddings == 3
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 64, 64))
    if "yoloe" in name:  # as its trainers for texts alone build it
        model = fresh(kind, name, nc=3)
        del model.model[-1].savpe
        assert keep_widths(model, source) and not hasattr(model.model[-1], "savpe")
        assert model.model[0].conv.out_channels == 8
