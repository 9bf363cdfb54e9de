"""The divergence that a recovery makes small: nothing for equal predictions, more for worse ones, right by hand."""

import copy
import re

import pytest
import torch

from ultralytics.slim.errors import InputError
from ultralytics.slim.losses.logit import SharedPart
from ultralytics.slim.pruning.architectures import shipped
from ultralytics.slim.pruning.graph.raw import run_raw
from ultralytics.slim.recovery.loss import RecoveryLoss, _relative

from random_models import randomised

SMALLEST = re.compile(r"yolo(v?\d+n|v9t|v3-tiny)(-(seg|pose|obb|cls|p2|p6))?\.yaml")  # of every family and head
NAMES = [name for name in shipped() if SMALLEST.fullmatch(name)]
FAST = re.compile(r"yolo(v8n|v8n-seg|v8n-cls|26n-pose|26n)\.")


@pytest.mark.parametrize(
    "name", [name if FAST.match(name) else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_nothing_for_equal_predictions_and_more_for_worse_ones(name):
    """Of every architecture's head, and every part of the head is reached by the gradient."""
    teacher = randomised(name).model.float().eval()
    student = copy.deepcopy(teacher).requires_grad_(True)
    images = torch.rand(2, next(teacher.parameters()).shape[1], 64, 64)
    loss = RecoveryLoss(student, teacher)
    with torch.no_grad():
        said = run_raw(teacher, images)
    assert float(loss(run_raw(student, images), said)) == pytest.approx(0, abs=1e-5)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * parameter.abs().mean() * torch.randn_like(parameter))
    far = loss(run_raw(student, images), said)
    assert float(far) > 1e-6
    far.backward()
    head = student.model[-1]
    without = [n for n, p in head.named_parameters() if p.grad is None and ".dfl." not in f".{n}"]
    training_only = [n for n in without if re.search(r"proto\.semseg|flow_model|lrpc|sigma", n)]
    assert without == training_only
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


def older(raw):
    """Return raw predictions as older releases give them: maps of boxes and scores, the extras behind them."""
    if "scores" not in raw:
        return {branch: older(predictions) for branch, predictions in raw.items()}
    both = torch.cat([raw["boxes"], raw["scores"]], 1)
    sides = [level.shape[-2:] for level in raw["feats"]]
    maps = [part.unflatten(2, side) for part, side in zip(both.split([h * w for h, w in sides], 2), sides)]
    extras = [raw[key] for key in raw if key not in ("boxes", "scores", "feats")]
    return (maps, *extras) if extras else maps


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-seg.yaml", "yolo26n.yaml"])
def test_the_form_of_older_releases_is_the_same(name):
    """In it the divergence is that of the newer form, of extras and both branches, too."""
    teacher, student = (randomised(name).model.float().eval() for _ in range(2))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.1)
        said, found = (run_raw(model, torch.rand(1, 3, 64, 64)) for model in (teacher, student))
    loss = RecoveryLoss(student, teacher)
    assert 0 < float(loss(found, said)) == pytest.approx(float(loss(older(found), older(said))), rel=1e-5)


def test_scores_and_boxes_by_hand():
    """One anchor point, one class, two bins."""
    loss = object.__new__(RecoveryLoss)
    loss.part, loss._heads = SharedPart(2), (None, None)
    teacher = {"scores": torch.full((1, 1, 1), 0.0), "boxes": torch.zeros(1, 8, 1)}
    student = {"scores": torch.full((1, 1, 1), 2.0), "boxes": torch.zeros(1, 8, 1)}
    student["boxes"][0, 0] = 1.0  # the first bin of the first side
    p, q = 0.5, torch.tensor(2.0).sigmoid().item()
    scores = p * torch.tensor(p / q).log().item() + (1 - p) * torch.tensor((1 - p) / (1 - q)).log().item()
    first = torch.tensor(1.0).sigmoid().item()  # of two bins
    box = (0.5 * torch.tensor(0.5 / first).log() + 0.5 * torch.tensor(0.5 / (1 - first)).log()).item() / 4
    wanted = (scores * (abs(p - q) + p) + 2 * box * p) / p
    assert float(loss(student, teacher)) == pytest.approx(wanted, rel=1e-5)


def test_relative_errors_by_hand():
    teacher = torch.tensor([[[0.0, 2.0, 100.0]]])
    student = teacher + 1
    weight = torch.tensor([[[1.0, 1.0, 0.0]]])  # the outlier does not count: mean 1, variance 1
    assert _relative(student, teacher, weight)[0].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_what_cannot_be_compared_is_said():
    v8, seg, v10 = (randomised(name).model for name in ("yolov8n.yaml", "yolov8n-seg.yaml", "yolov10n.yaml"))
    with pytest.raises(InputError, match="task is detect and the teacher's segment"):
        RecoveryLoss(v8, seg)
    with pytest.raises(InputError, match="RTDETRDecoder has neither"):
        RecoveryLoss(*[randomised("yolov8n-rtdetr.yaml").model] * 2)
    with pytest.raises(InputError, match=r"told their classes in words \(YOLOEDetect\)"):
        RecoveryLoss(*[randomised("yoloe-v8n.yaml").model] * 2)
    other = randomised("yolov8n.yaml", nc=3).model
    other.names = {0: "x", 1: "y", 2: "z"}
    with pytest.raises(InputError, match="needs classes of the same names"):
        RecoveryLoss(other, v8)
    images = torch.rand(1, 3, 64, 64)
    with pytest.raises(InputError, match="one-to-one branch"):
        RecoveryLoss(v8, v10)(run_raw(v8.eval(), images), run_raw(v10.eval(), images))


def test_classes_are_paired_by_name():
    """The same head with its classes in another order says the same."""
    teacher = randomised("yolov8n.yaml", nc=3).model.float().eval()
    student, order = copy.deepcopy(teacher), [2, 0, 1]
    teacher.names, student.names = dict(enumerate("abc")), dict(enumerate("cab"))
    for branch in student.model[-1].cv3:
        branch[-1].weight.data, branch[-1].bias.data = branch[-1].weight.data[order], branch[-1].bias.data[order]
    images, loss = torch.rand(1, 3, 64, 64), RecoveryLoss(student, teacher)
    assert loss.classes == {0: 2, 1: 0, 2: 1}
    assert float(loss(run_raw(student, images), run_raw(teacher, images))) == pytest.approx(0, abs=1e-5)


def test_a_classifiers_classes_are_paired_by_name_too():
    """Classes in another order say the same; other classes, or fewer, are refused; without names numbers are taken."""
    teacher = randomised("yolov8n-cls.yaml", nc=3).model.float().eval()
    student, order = copy.deepcopy(teacher), [2, 0, 1]
    teacher.names, student.names = dict(enumerate("abc")), dict(enumerate("cab"))
    linear = student.model[-1].linear
    linear.weight.data, linear.bias.data = linear.weight.data[order], linear.bias.data[order]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, said = (run_raw(model, images) for model in (student, teacher))
    loss = RecoveryLoss(student, teacher)
    assert loss.classes == {0: 2, 1: 0, 2: 1}
    assert float(loss(found, said)) == pytest.approx(0, abs=1e-6)
    student.names = {}
    assert RecoveryLoss(student, teacher).classes is None
    for names, ours, theirs in (("cax", "x", "b"), ("xyz", "x, y, z", "a, b, c"), ("aab", "a", "c")):
        student.names = dict(enumerate(names))
        with pytest.raises(
            InputError, match=f"3 classes and the teacher 3; .* in the model: {ours}; only in the teacher: {theirs}$"
        ):
            RecoveryLoss(student, teacher)
    with pytest.raises(InputError, match="the model has 2 classes and the teacher 3"):
        RecoveryLoss(randomised("yolov8n-cls.yaml", nc=2).model, teacher)
