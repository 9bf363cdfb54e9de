"""Re-fitting on unlabelled images: selection by the surgeon and least squares."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair.refit import patches, refit, solve
from ultralytics.slim.pruning.score.sensitivity import judged, pick_positions, sensitivities

from random_models import randomised
from small_modules import Chain


def test_patches_are_what_a_convolution_reads() -> None:
    m = nn.Conv2d(3, 5, 3, stride=2, padding=1, dilation=1, bias=False)
    x = torch.rand(2, 3, 9, 7)
    at = (torch.tensor([0, 1, 1]), torch.tensor([0, 2, 4]), torch.tensor([1, 0, 3]))
    with torch.no_grad():
        assert torch.allclose(patches(x, m, at) @ m.weight.flatten(1).T, m(x).permute(0, 2, 3, 1)[at], atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_solve_finds_the_weights_and_the_constant(bias: bool) -> None:
    torch.manual_seed(0)
    x, truth = torch.randn(4000, 6), torch.randn(6, 3)
    y = x @ truth + torch.tensor([1.0, -2.0, 3.0])
    m, norm = nn.Conv2d(6, 3, 1, bias=bias), nn.BatchNorm2d(3)
    m.weight.copy_(truth.T[..., None, None] + 0.1)
    solve(m, None if bias else norm, x, y)
    constant = m.bias if bias else -norm.running_mean
    assert torch.allclose(m.weight.flatten(1).T, truth, atol=0.02)
    assert torch.allclose(constant, torch.tensor([1.0, -2.0, 3.0]), atol=0.02)


def test_sensitive_positions_are_drawn_more_often() -> None:
    where = torch.zeros(1000)
    where[:100] = 1.0
    picked = pick_positions(where, 200, torch.Generator().manual_seed(0))
    assert len(picked.unique()) == 200 and (picked < 100).sum() > 85


def test_sensitivity_of_a_linear_model_by_hand() -> None:
    """Of softmax(z) over two classes the squared gradient with random signs is (2 p q)² or 0, whatever the signs."""
    logits = torch.tensor([[0.3, -0.2]], requires_grad=True)
    judged(logits, torch.Generator().manual_seed(1)).backward()
    p = logits.detach().softmax(1)[0, 0]
    assert logits.grad.abs().max().item() in (
        pytest.approx(0, abs=1e-6),
        pytest.approx((2 * p * (1 - p)).item(), rel=1e-4),
    )


def test_sensitivities_cover_the_layers_and_leave_the_model_alone() -> None:
    model = randomised("yolov8n.yaml", nc=2).model.eval()
    found = sensitivities(model, torch.rand(2, 3, 64, 64))
    assert found["model.0.conv"].where.shape == (2, 32 * 32) and found["model.0.conv"].channels.shape == (16,)
    assert "model.22.dfl.conv" not in found
    assert all(not m._forward_hooks for m in model.modules()) and not model.training and not model.model[-1].training


@pytest.fixture(scope="module")
def structured() -> torch.Tensor:
    """Smooth random images: neighbouring channels of their features depend on each other."""
    torch.manual_seed(0)
    return nn.functional.interpolate(torch.rand(16, 3, 8, 8), size=128, mode="bicubic").clamp(0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolov8n-seg.yaml", "yolov8n-cls.yaml"]
)
def test_refit_comes_closer_than_slicing(structured: torch.Tensor, tmp_path: Path, name: str) -> None:
    yolo = randomised(name, nc=3)
    keys = dict(score="l1", scope="layer", imgsz=128)
    plain = prune_model(yolo, tmp_path / "plain.pt", 0.3, **keys).model
    fitted = prune_model(yolo, tmp_path / "fitted.pt", 0.3, images=structured, **keys)
    assert fitted.images == 16

    def raw(model: nn.Module) -> torch.Tensor:
        model.eval().model[-1].training = True
        with torch.no_grad():
            y = model(structured[:4])
        model.model[-1].training = False
        y = y.get("one2many", y) if isinstance(y, dict) else y
        return y["scores"] if isinstance(y, dict) else y

    want = raw(yolo.model)
    assert (raw(fitted.model) - want).norm() < 0.8 * (raw(plain) - want).norm()
    assert not any(m.training for m in fitted.model.modules())


@pytest.mark.slow
def test_surgeon_is_the_default_with_images_and_meets_a_target(structured: torch.Tensor, tmp_path: Path) -> None:
    result = prune_model(randomised("yolov8n.yaml", nc=2), tmp_path / "p.pt", flops=0.6, images=structured, imgsz=128)
    assert result.score == "surgeon" and 0.588 <= result.gflops[1] / result.gflops[0] <= 0.6
    record = torch.load(result.path, weights_only=False)["slim"]
    assert record["images"] == 16 and record["scope"] == "global" and record["target"] == ["flops", 0.6]
    again = prune_model(randomised("yolov8n.yaml", nc=2), tmp_path / "q.pt", flops=0.6, images=structured, imgsz=128)
    assert again.widths == result.widths


def test_images_from_everywhere(tmp_path: Path, tiny_data: Path) -> None:
    folder = tmp_path / "bilder ä"
    folder.mkdir()
    for i in range(5):
        image = np.full((40, 60, 3), (10, 20, 200), np.uint8)
        folder.joinpath(f"{i}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    batch = load_images(folder, 64)
    assert batch.shape == (5, 3, 64, 64) and batch.dtype == torch.float32
    assert torch.allclose(batch[0, :, 32, 32] * 255, torch.tensor([200.0, 20.0, 10.0]))  # RGB
    assert load_images(sorted(folder.iterdir()), 64, limit=3).shape[0] == 3
    assert load_images(folder / "0.png", 64, channels=1).shape == (1, 1, 64, 64)
    assert load_images(tiny_data, 64).shape == (8, 3, 64, 64)
    assert load_images([folder, str(folder / "0.png")], 64).shape[0] == len(list(folder.iterdir()))  # each once
    assert load_images(torch.rand(9, 3, 32, 32), 64, limit=4).shape == (4, 3, 32, 32)


def test_bad_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none in"):
        load_images(tmp_path, 64)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.png"):
        load_images(tmp_path, 64)
    with pytest.raises(ValueError, match="shape"):
        load_images(torch.rand(3, 64, 64), 64)
    with pytest.raises(ValueError, match="reads 10 channels: give images= as a tensor"):
        load_images(tmp_path, 64, channels=10)


def test_one_image_of_a_classifier_is_enough(tmp_path: Path) -> None:
    """Its last layer then sees a single vector, whose covariance is no number."""
    yolo = randomised("yolov8n-cls.yaml")
    assert prune_model(yolo, tmp_path / "p.pt", 0.5, images=torch.rand(1, 3, 32, 32), imgsz=32).ratio > 0.3


@pytest.mark.slow
def test_real_diagrams_survive_half_the_flops(shared: Path, tmp_path: Path) -> None:
    """Right after cutting half the GFLOPs, without training, the predictions still resemble the original's."""
    yolo = YOLO(shared / "weights" / "diagram_yolov8n.pt")
    folder = shared / "data" / "diagram" / "images"
    result = prune_model(
        yolo, tmp_path / "p.pt", flops=0.5, images=sorted((folder / "train").iterdir())[::20], imgsz=320
    )
    x = load_images(sorted((folder / "val").iterdir())[::20], 320)
    with torch.no_grad():
        want, got = (m.eval()(x)[1]["scores"].sigmoid() for m in (yolo.model.float(), result.model))
    assert (want - got).norm() < 0.5 * want.norm()


class _Unnormed(nn.Module):
    """A BatchNorm that keeps no statistics."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 1, bias=False), nn.Conv2d(c, c, 1)
        self.n = nn.BatchNorm2d(c, track_running_stats=False)

    def forward(self, x):
        return self.b(torch.relu(self.n(self.a(x))))


class _Gated(nn.Module):
    """A layer that runs on a single position first, which no sample may fall on, and on the map then."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.a, self.n = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x):
        one = self.n(self.a(nn.functional.adaptive_avg_pool2d(x, 1)))
        return self.n(self.a(x)) + one


@pytest.mark.parametrize(("block", "side", "count"), [(_Unnormed, 32, 8), (_Gated, 128, 4)])
def test_what_cannot_be_moved_or_sampled_is_left_out(block: type, side: int, count: int) -> None:
    torch.manual_seed(0)
    model, images = Chain(block()).eval(), torch.rand(count, 3, side, side)
    graph, found = trace_channels(model), sensitivities(model, images)
    kept, where = {name: range(len(labels)) for name, labels in graph.layers.items()}, {}
    for name, one in found.items():
        where[name] = one.where.clone()
        if block is _Gated and name == "model.1.a":
            where[name][:, 0] = 0  # the predictions do not depend on the single position
    fresh = copy.deepcopy(model)
    assert refit(model, fresh, kept, where, graph.norms, images) > 0
    assert all(value.isfinite().all() for value in fresh.state_dict().values())
