"""Taps, layer choice, alignment and schedule, without a trainer."""

import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.distillation import matching
from ultralytics.slim.distillation.matching import choose_layers, match_layers
from ultralytics.slim.distillation.schedule import schedule_weight
from ultralytics.slim.distillation.taps import FeatureTaps, Tap, probe
from ultralytics.slim.losses.feature_loss import FeatureLoss


@pytest.fixture(scope="module")
def yolov8n():
    return YOLO("yolov8n.yaml", verbose=False).model


@pytest.mark.parametrize(
    "config, expected",
    [
        ("yolov8n.yaml", [6, 8, 12, 15, 18, 21]),
        ("yolov8n-seg.yaml", [6, 8, 12, 15, 18, 21]),
        ("yolov8n-p2.yaml", [6, 8, 12, 15, 18, 21, 24, 27]),
        ("yolov5n.yaml", [6, 8, 13, 17, 20, 23]),
        ("yolo11n.yaml", [6, 8, 13, 16, 19, 22]),
        ("yolo12n.yaml", [6, 8, 11, 14, 17, 20]),
        ("yolo26n.yaml", [6, 8, 13, 16, 19, 22]),
    ],
)
def test_layers_are_chosen_from_the_model(config, expected):
    assert choose_layers(YOLO(config, verbose=False).model) == expected


def test_probe_measures_channels_and_stride_and_restores_the_mode(yolov8n):
    yolov8n.train()
    yolov8n.model[3].eval()
    taps = probe(yolov8n, [6, 15, 21])
    assert [(t.index, t.kind, t.channels, t.stride) for t in taps] == [
        (6, "C2f", 128, 16),
        (15, "C2f", 64, 8),
        (21, "C2f", 256, 32),
    ]
    assert yolov8n.training and not yolov8n.model[3].training
    yolov8n.model[3].train()


@pytest.mark.parametrize("layer", [22, 99])
def test_layers_that_cannot_be_tapped_are_named_with_candidates(yolov8n, layer):
    with pytest.raises(ValueError, match=rf"layer {layer} cannot be tapped.*6 \(C2f\)"):
        probe(yolov8n, [layer])


def test_taps_hold_the_outputs_and_leave_nothing_behind(yolov8n):
    yolov8n.eval()
    taps = FeatureTaps(yolov8n, [4, 9])
    x = torch.rand(1, 3, 64, 64)
    with pytest.raises(RuntimeError, match=r"\[4, 9\]"):
        taps.pop()
    taps.attach()
    taps.attach()  # idempotent
    assert sum(len(m._forward_hooks) for m in yolov8n.modules()) == 2
    with torch.no_grad():
        yolov8n(x)
        expected = yolov8n.model[:5](x)
    features = taps.pop()
    assert torch.allclose(features[0], expected) and not taps.features
    taps.detach()
    taps.detach()
    assert not any(m._forward_hooks for m in yolov8n.modules())


def test_the_teacher_runs_only_as_deep_as_needed_and_keeps_no_graph(yolov8n):
    ran = []
    handle = yolov8n.model[22].register_forward_hook(lambda *a: ran.append(22))
    try:
        features = FeatureTaps(yolov8n, [15, 18], stop_after_last=True).run(torch.rand(1, 3, 64, 64))
    finally:
        handle.remove()
    assert not ran and not any(f.requires_grad for f in features)


def test_pairs_across_families_and_scales_have_equal_strides(yolov8n):
    for config in ("yolov8s.yaml", "yolo11n.yaml", "yolo26n.yaml"):
        pairs = match_layers(yolov8n, YOLO(config, verbose=False).model)
        assert len(pairs) >= 3 and all(s.stride == t.stride for s, t in pairs)


def test_unequal_strides_name_both_layers(yolov8n):
    teacher = YOLO("yolov8n-p2.yaml", verbose=False).model
    with pytest.raises(ValueError, match=r"student layer 18 \(C2f.*stride 16.*teacher layer 18 \(C2f.*stride 4\)"):
        match_layers(yolov8n, teacher, layers=[18])


@pytest.mark.parametrize(("student", "teacher"), [("", "-p6"), ("-p6", ""), ("", "-p2"), ("-p2", "-p6")])
def test_heads_of_other_levels_are_compared_where_their_strides_agree(student, teacher):
    models = [YOLO(f"yolov8n{level}.yaml", verbose=False).model for level in (student, teacher)]
    pairs = match_layers(*models)
    assert [(s.stride, t.stride) for s, t in pairs] == [(8, 8), (16, 16), (32, 32)]
    assert all(tap.index in model.model[-1].f for pair in pairs for tap, model in zip(pair, models))


def test_heads_without_a_common_stride_are_refused(yolov8n, monkeypatch):
    taps = [[Tap(1, "C2f", 8, 8)], [Tap(2, "C2f", 8, 16)]] * 2  # of the chosen layers, then of those that feed the head
    monkeypatch.setattr(matching, "probe", lambda *args: taps.pop(0))
    monkeypatch.setattr(matching, "choose_layers", lambda model: [])
    with pytest.raises(ValueError, match=r"no stride that both have. student: 1 \(C2f.*stride 8\); teacher: 2 \(C2f"):
        match_layers(yolov8n, yolov8n)


@pytest.mark.parametrize("name", ["cwd", "mimic", "pkd"])
def test_a_student_equal_to_its_teacher_starts_at_zero(name):
    x = [torch.randn(2, 8, 4, 4), torch.randn(2, 16, 2, 2)]
    assert FeatureLoss([8, 16], [8, 16], name)(x, x).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ["cwd", "mgd", "mimic", "pkd"])
def test_adapters_get_gradients_and_the_teacher_none(name):
    loss = FeatureLoss([8], [12], name, strides=[8])
    s, t = torch.randn(2, 8, 4, 4, requires_grad=True), torch.randn(2, 12, 4, 4, requires_grad=True)
    loss([s], [t]).backward()
    parameters = list(loss.parameters())
    # A constant added to a channel vanishes in the standardising, so an adapter's bias alone has no gradient.
    assert parameters and all(p.grad.abs().sum() > 0 for p in parameters if p.ndim > 1)
    assert s.grad.abs().sum() > 0 and t.grad is None


@pytest.mark.parametrize("name", ["cwd", "mgd", "mimic", "pkd"])
def test_the_loss_depends_neither_on_batch_nor_on_image_size(name):
    """The same statistics at twice the batch or size give the same loss, to within sampling noise."""
    torch.manual_seed(0)
    loss = FeatureLoss([8], [8], name, strides=[8])
    if name == "mgd":  # a generator's border effect is the one thing that depends on the size
        loss.losses[0].mask_ratio = 0.0
    with torch.no_grad():
        small = loss([torch.randn(4, 8, 40, 40)], [torch.randn(4, 8, 40, 40)]).item()
        batch = loss([torch.randn(16, 8, 40, 40)], [torch.randn(16, 8, 40, 40)]).item()
        large = loss([torch.randn(4, 8, 80, 80)], [torch.randn(4, 8, 80, 80)]).item()
    assert batch == pytest.approx(small, rel=0.05) and large == pytest.approx(small, rel=0.05)


def test_mgd_equals_its_formula_at_640():
    loss = FeatureLoss([4], [4], "mgd", strides=[8])
    assert loss._position_scale(0, torch.zeros(1, 4, 80, 80)) == 1.0
    assert FeatureLoss([4], [4], "mgd")._position_scale(0, torch.zeros(1, 4, 7, 7)) == 1.0


def test_feature_loss_names_what_is_wrong():
    with pytest.raises(ValueError, match="cwd, mgd"):
        FeatureLoss([4], [4], "CWDLoss")
    with pytest.raises(ValueError, match="same layers"):
        FeatureLoss([4, 8], [4], "cwd")


def test_schedules():
    assert schedule_weight("run", 0.0, 0.7) == 1.0
    assert schedule_weight("run", 1.0, 0.0) == pytest.approx(0.1)
    assert schedule_weight("run", 0.5, 0.0) == pytest.approx(0.55)
    assert schedule_weight("epoch", 0.9, 0.5) == pytest.approx(0.55)
    assert schedule_weight("constant", 0.9, 0.5) == 1.0
