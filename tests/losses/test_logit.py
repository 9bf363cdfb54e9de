"""The response loss against hand-computed values and its properties."""

import math

import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.losses.logit import LogitLoss, check_heads, raw_predictions


def predictions(n=2, classes=3, anchors=8, bins=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        "scores": torch.randn(n, classes, anchors, generator=g),
        "boxes": torch.randn(n, 4 * bins, anchors, generator=g),
    }


def test_equal_predictions_cost_nothing():
    x = predictions()
    assert LogitLoss(bins=4)(x, x).item() == pytest.approx(0.0, abs=1e-6)


def test_classes_by_hand():
    # One class, one anchor: p = 0.8, q = 0.5: |p − q| · KL(p‖q) / p.
    teacher = {"scores": torch.tensor([[[math.log(4.0)]]]), "boxes": torch.zeros(1, 4, 1)}
    student = {"scores": torch.zeros(1, 1, 1), "boxes": torch.zeros(1, 4, 1)}
    kl = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert LogitLoss(bins=1)(student, teacher).item() == pytest.approx(0.3 * kl / 0.8, rel=1e-5)


def test_boxes_by_hand():
    # Two bins, p = (3/4, 1/4) on the left side and equal to q elsewhere: KL / 4 sides · confidence / confidence.
    boxes = torch.zeros(1, 8, 1)
    boxes[0, 0, 0] = math.log(3.0)
    scores = torch.zeros(1, 1, 1)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    loss = LogitLoss(bins=2)({"scores": scores, "boxes": torch.zeros(1, 8, 1)}, {"scores": scores, "boxes": boxes})
    assert loss.item() == pytest.approx(kl / 4, rel=1e-5)


def test_independent_of_batch_and_number_of_anchors():
    s, t = predictions(), predictions(seed=1)
    wide = {k: torch.cat([v, v], 2) for k, v in s.items()}, {k: torch.cat([v, v], 2) for k, v in t.items()}
    deep = {k: torch.cat([v, v]) for k, v in s.items()}, {k: torch.cat([v, v]) for k, v in t.items()}
    loss = LogitLoss(bins=4)
    assert loss(*wide).item() == pytest.approx(loss(s, t).item(), rel=1e-5)
    assert loss(*deep).item() == pytest.approx(loss(s, t).item(), rel=1e-5)


def test_following_the_gradient_reaches_the_teacher():
    t = predictions(seed=1)
    s = {k: v.requires_grad_() for k, v in predictions().items()}
    optimizer = torch.optim.Adam(s.values(), lr=0.05)
    loss = LogitLoss(bins=4)
    start = loss(s, t).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss(s, t).backward()
        optimizer.step()
    assert loss(s, t).item() < 0.05 * start


@pytest.mark.parametrize("config", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-seg.yaml", "yolov8n-obb.yaml"])
def test_raw_predictions_of_both_modes_agree(config):
    model = YOLO(config, verbose=False).model
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for train in (True, False):
            raw = raw_predictions(model.train(train)(images))
            assert raw["scores"].shape[0] == 1 and raw["boxes"].shape[1] % 4 == 0


def test_heads_that_cannot_be_compared_are_named():
    v8, v26 = DetectionModel("yolov8n.yaml", nc=2, verbose=False), DetectionModel("yolo26n.yaml", nc=2, verbose=False)
    assert check_heads(v8, v8) == 16
    assert check_heads(v8, v26) == 1  # YOLO26 has no bins: classes only
    with pytest.raises(ValueError, match="student has 2 and the teacher 80"):
        check_heads(v8, DetectionModel("yolov8n.yaml", verbose=False))
    with pytest.raises(ValueError, match="needs equal strides"):
        check_heads(v8, DetectionModel("yolov8n-p2.yaml", nc=2, verbose=False))
    with pytest.raises(ValueError, match="needs detection heads"):
        check_heads(v8, YOLO("yolov8n-cls.yaml", verbose=False).model)
    with pytest.raises(ValueError, match="needs a head"):
        raw_predictions(torch.zeros(1))
    with pytest.raises(ValueError, match="tau"):
        LogitLoss(tau=0)
