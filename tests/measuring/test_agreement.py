"""Agreement without labels: one with itself, less for worse, and right by hand."""

from functools import partial

import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.measuring.agreement import Reference, _compared
from ultralytics.utils.metrics import box_iou

from places import ROOT
from random_models import randomised

IOU = partial(box_iou, eps=0)


def found(*rows):
    """Detections x1 y1 x2 y2 score class."""
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


ONE, TWO = (0, 0, 100, 100, 0.9, 0), (200, 0, 300, 100, 0.4, 1)


def test_the_same_detections_agree_wholly():
    same = _compared([found(ONE, TWO)], [found(ONE, TWO)], IOU, 1)
    assert (same.value, same.matched, same.flips, same.extra, same.truths) == (pytest.approx(0.995), (1, 1, 1), 0, 0, 2)
    assert [(band.count, band.matched) for band in same.bands] == [(1, (1, 1, 1)), (0, ()), (1, (1, 1, 1))]


def test_shifted_flipped_missed_and_new_by_hand():
    shifted = (0, 0, 100, 80, 0.8, 0)  # IoU 0.8
    flipped = (200, 0, 300, 100, 0.7, 0)
    new = (500, 0, 600, 100, 0.6, 0)
    other = _compared([found(ONE, TWO)], [found(shifted, flipped, new)], IOU, 1)
    assert other.matched == (0.5, 0.5, 0.0) and other.flips == 0.5 and other.extra == pytest.approx(2 / 3)
    assert other.value == pytest.approx(0.995 * 7 / 10 / 2)  # class 0 at IoU 0.5 to 0.8; class 1 never
    nothing = _compared([found(ONE, TWO)], [found()], IOU, 1)
    assert (nothing.value, nothing.matched, nothing.flips, nothing.extra) == (0, (0, 0, 0), 0, 0)


def test_a_partner_is_taken_once_and_weak_ones_are_no_truth():
    twice = _compared([found(ONE, (1, 0, 101, 100, 0.8, 0), (0, 500, 50, 600, 0.2, 0))], [found(ONE)], IOU, 1)
    assert twice.truths == 2 and twice.matched == (0.5, 0.5, 0.5)
    assert _compared([found()], [found()], IOU, 0).value == 0


def seeing(name):
    """An untrained model whose scores are lifted so that it sees something."""
    model = randomised(name).model.float().eval()
    head = model.model[-1]
    for branches in (head.cv3, getattr(head, "one2one_cv3", None) or ()):
        for branch in branches:
            branch[-1].weight.data *= 30
            branch[-1].bias.data += 4
    return model


@pytest.mark.parametrize(
    "name",
    ["yolov8n.yaml", "yolo26n.yaml", pytest.param("yolov8n-obb.yaml", marks=pytest.mark.slow), "yolov8n-seg.yaml"],
)
def test_every_head_agrees_with_itself(name):
    """Also one-to-one heads and rotated boxes."""
    model = seeing(name)
    reference = Reference(model, torch.rand(2, 3, 64, 64))
    agreed = reference.agreement(model)
    assert reference.seen == 2 and agreed.truths > 0
    assert agreed.matched == (1, 1, 1) and agreed.flips == agreed.extra == 0
    assert agreed.value > 0.8  # boxes of one class that lie on each other


def test_both_branches_of_a_forks_head_agree_by_the_one_that_is_used():
    """It puts them out by name in evaluation, too, where Ultralytics' own puts the detections first."""
    model, images = seeing("yolov8n.yaml"), torch.rand(2, 3, 64, 64)

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.task, self.names, self.model = model, "detect", model.names, model.model

        def forward(self, x):
            return {"one2many": None, "one2one": self.net(x)}

    both, one = (Reference(net, images).says for net in (Both(), model))
    assert all(len(found) and found.equal(other) for found, other in zip(both, one, strict=True))


def test_a_classifiers_first_class():
    model = randomised("yolov8n-cls.yaml").model.float().eval()
    other = randomised("yolov8n-cls.yaml", seed=5).model.float().eval()
    reference = Reference(model, torch.randint(0, 255, (6, 3, 64, 64), dtype=torch.uint8))
    assert reference.agreement(model).value == 1 and reference.agreement(other).value < 1
    assert str(reference.agreement(model)).startswith("top-1 1.0000")
    assert reference.agreement(model, {}).value == 0, "a class without a partner is none of the reference's"


@pytest.mark.slow
def test_a_worse_model_agrees_less_and_classes_go_by_name(tmp_path):
    folder = draw_dataset(tmp_path / "diagram", train=1, val=6)
    images = load_images(str(folder / "images/val"), 320)
    yolo = YOLO(ROOT / "weights/diagram-yolov8n.pt")
    model = yolo.model.float().eval()
    reference = Reference(model, images)
    assert reference.agreement(model).value > 0.98
    worse = YOLO(ROOT / "weights/diagram-yolov8n.pt").model.float().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in worse.parameters():
            parameter.add_(0.05 * parameter.abs().mean() * torch.randn_like(parameter))
    assert 0 < reference.agreement(worse).value < 0.95
    count = len(model.names)
    turned = {number: (number + 1) % count for number in range(count)}
    assert reference.agreement(model, turned).flips > 0.9
