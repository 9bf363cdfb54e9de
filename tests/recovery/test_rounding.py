"""What int8 leaves of weights and activations: by hand, as ONNX Runtime has it, and the gradient through it."""

import copy

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.errors import InputError
from ultralytics.slim.recovery.recover import MEASUREMENTS, recover_model
from ultralytics.slim.recovery.rounding import Int8Rounding, round_weight, rounded_layers

from photos import draw_photos
from places import ROOT

SHORT = {"imgsz": 160, "batch": 4, "device": "cpu"}


def rounding_of(model: nn.Module, *images: torch.Tensor) -> Int8Rounding:
    return Int8Rounding(model, (model(x) for x in images))


def test_weights_by_hand():
    """The largest of an output channel is 127 steps; a channel of zeros stays."""
    weight = torch.tensor([[127.0, 3.4, -3.6], [0.0, 0.0, 0.0], [-1.27, 0.004, 0.006]])
    expected = torch.tensor([[127.0, 3.0, -4.0], [0.0, 0.0, 0.0], [-1.27, 0.0, 0.01]])
    assert torch.allclose(round_weight(weight), expected)


def test_the_gradient_goes_through_rounding():
    weight = torch.randn(4, 3, requires_grad=True)
    (round_weight(weight) * torch.arange(12.0).view(4, 3)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(12.0).view(4, 3))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return YOLO(ROOT / "weights/diagram-yolov8n.pt").model.float().eval()


def test_all_but_the_ends_are_rounded(model):
    names = rounded_layers(model)
    assert "model.0.conv" not in names and {"model.0.bn", "model.1.conv", "model.22.cv2.0.0.conv"} <= names
    assert not {"model.22.cv2.0.2", "model.22.cv3.1.2", "model.22.dfl.conv"} & names


@torch.no_grad()
def test_it_rounds_for_the_time_being_alone(model):
    """Also a copy with other weights; whose gradient knows of it."""
    x, state = torch.rand(1, 3, 64, 64), copy.deepcopy(model.state_dict())
    plain = model(x)[0]
    rounding = rounding_of(model, x)
    with rounding.on(model):
        rounded = model(x)[0]
    assert 0 < (rounded - plain).abs().mean() < 0.1 * plain.abs().mean()
    assert torch.equal(model(x)[0], plain)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_what_a_silu_reads_is_cut_off_where_it_puts_out_nothing(model):
    wide = copy.deepcopy(model)
    wide.model[1].bn.bias -= 100
    rounding = rounding_of(wide, torch.rand(1, 3, 64, 64))
    scale, zero = rounding.ranges["model.1.bn"]
    assert -zero * scale == pytest.approx(-8, abs=scale)


def test_values_by_hand():
    """A range of 0 .. 255 is 256 whole numbers, means of the extremes of two batches."""
    net = nn.Module()
    net.model = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in range(3)))
    net.forward = net.model.forward
    for layer, weight in zip(net.model, (1, 2, 0.5)):
        nn.init.constant_(layer.weight, weight)
    low, high = (torch.tensor([0.0, end]).view(1, 1, 1, 2) for end in (155.0, 355.0))
    rounding = Int8Rounding(net, (net(x) for x in (low, high)))
    assert rounding.ranges["model.1"] == (1.0, 0)
    with rounding.on(net):
        found = net(torch.tensor([3.4, 3.6, 300.0]).view(1, 1, 1, 3))
    assert found.flatten().tolist() == pytest.approx([3.0, 4.0, 255.0])  # the last one cut off at the range's end


@pytest.mark.slow
def test_a_model_learns_to_do_with_int8(tmp_path_factory, tmp_path, monkeypatch):
    """It rounds in every step and measurement, and agrees no less afterwards; what is saved is a stock checkpoint."""
    rounded, on = [], Int8Rounding.on
    monkeypatch.setattr(Int8Rounding, "on", lambda self, model: rounded.append(model) or on(self, model))
    images = draw_photos(tmp_path_factory, 20)
    weights = ROOT / "weights/diagram-yolov8n.pt"
    done = recover_model(
        YOLO(weights), YOLO(weights), str(images), tmp_path / "r.pt", int8=True, iterations=30, **SHORT
    )
    assert done.before.value < 1 and done.after.value >= done.before.value
    measured = done.steps // (30 // MEASUREMENTS)
    assert len(rounded) == done.steps + measured + 2, "steps, measurements, the first of them, the distance"
    assert type(YOLO(tmp_path / "r.pt").model.model[1].conv) is nn.Conv2d


def test_int8_is_true_or_false(tmp_path):
    with pytest.raises(InputError, match="int8=1: expected True or False"):
        recover_model(nn.Identity(), nn.Identity(), [], tmp_path / "r.pt", int8=1)
