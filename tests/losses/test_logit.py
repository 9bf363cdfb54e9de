"""The response loss against hand-computed values and its properties."""

import math
from types import SimpleNamespace

import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.losses.logit import LogitLoss, raw_predictions, shared_part


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
            raw = raw_predictions(model.train(train)(images), model.model[-1])
            assert raw["scores"].shape[0] == 1 and raw["boxes"].shape[1] % 4 == 0


HEAD = SimpleNamespace(reg_max=2, nc=3)
LEVELS = [torch.randn(2, 4 * 2 + 3, side, side, generator=torch.Generator().manual_seed(side)) for side in (4, 2)]
OTHERS = [torch.zeros_like(level) for level in LEVELS]
EXTRA, PROTOTYPES, DECODED = torch.zeros(2, 5, 20), torch.zeros(2, 5, 8, 8), torch.zeros(2, 7, 20)
FORMS = {  # of heads in releases before 8.4, and of forks' heads like them
    "detect": LEVELS,
    "a tuple of maps": tuple(LEVELS),
    "segment": (LEVELS, EXTRA, PROTOTYPES),
    "pose, obb": (LEVELS, EXTRA),
    "v10": {"one2many": LEVELS, "one2one": OTHERS},
    "v10 in a tuple": ({"one2many": LEVELS, "one2one": OTHERS}, EXTRA),
    "decoded detect": (DECODED, LEVELS),
    "decoded segment": ((DECODED, PROTOTYPES), (LEVELS, EXTRA, PROTOTYPES)),
    "decoded segment in one": (DECODED, (LEVELS, EXTRA, PROTOTYPES)),
    "decoded pose": (DECODED, (LEVELS, EXTRA)),
    "decoded v10": (DECODED, {"one2many": LEVELS, "one2one": OTHERS}),
}


@pytest.mark.parametrize("output", FORMS.values(), ids=FORMS)
def test_maps_of_levels_are_taken_apart(output):
    """Into what the newer dictionary holds: boxes before classes, the finest level first, row by row."""
    raw = raw_predictions(output, HEAD)
    assert raw["boxes"].shape == (2, 8, 20) and raw["scores"].shape == (2, 3, 20)
    assert [level.shape[2:] for level in raw["feats"]] == [(4, 4), (2, 2)]
    assert raw["boxes"][1, 7, 6] == LEVELS[0][1, 7, 1, 2] and raw["scores"][0, 2, 17] == LEVELS[1][0, 10, 0, 1]


NO_PREDICTIONS = {
    "a tensor": torch.zeros(2, 3),
    "nothing": (),
    "probabilities and logits": (torch.zeros(2, 3), torch.zeros(2, 3)),
    "RT-DETR": (torch.zeros(6, 2, 30, 4), torch.zeros(6, 2, 30, 3), torch.zeros(2, 30, 4), torch.zeros(2, 30, 3), None),
    "a dictionary of others": {"masks": torch.zeros(1)},
    "levels of different channels": [torch.zeros(2, 11, 4, 4), torch.zeros(2, 12, 2, 2)],
}


@pytest.mark.parametrize("output", NO_PREDICTIONS.values(), ids=NO_PREDICTIONS)
def test_other_outputs_are_refused(output):
    with pytest.raises(ValueError, match="needs a head that predicts boxes and class scores"):
        raw_predictions(output, HEAD)


def test_maps_that_cannot_be_divided_are_told_by_numbers():
    with pytest.raises(ValueError, match="into 4·2 channels of boxes and 4 of classes, but they have 11"):
        raw_predictions(LEVELS, SimpleNamespace(reg_max=2, nc=4))
    with pytest.raises(ValueError, match="needs a head"):
        raw_predictions(LEVELS, torch.nn.Identity())


def model(config="yolov8n.yaml", names=("box", "disc")):
    net = DetectionModel(config, nc=len(names), verbose=False)
    net.names = dict(enumerate(names))
    return net


def test_classes_are_compared_by_name():
    """A teacher whose classes stand in another order, among others, teaches what it would in the student's."""
    teacher, student = predictions(classes=4, seed=1), predictions(classes=2)
    part = shared_part(model(names=("disc", "box")), model(names=("x", " Box", "y", "DISC")))
    assert part.classes == [(0, 3), (1, 1)]
    sorted_out = {**teacher, "scores": teacher["scores"][:, [3, 1]]}
    by_name = LogitLoss(bins=4, classes=part.classes)(student, teacher)
    assert by_name.item() == LogitLoss(bins=4)(student, sorted_out).item()
    assert by_name.item() != LogitLoss(bins=4)(student, {**teacher, "scores": teacher["scores"][:, :2]}).item()


def test_classes_that_the_teacher_lacks_are_not_taught():
    part = shared_part(model(names=("box", "disc")), model(names=("disc", "ring")))
    assert part.classes == [(1, 0)]
    student = {k: v.requires_grad_() for k, v in predictions(classes=2).items()}
    LogitLoss(bins=4, classes=part.classes)(student, predictions(classes=2, seed=1)).backward()
    assert not student["scores"].grad[:, 0].any() and student["scores"].grad[:, 1].any()


def test_levels_of_shared_strides_are_compared():
    """A P6 head has a level more than a P5 head; the loss is that of the three others alone."""
    torch.manual_seed(0)
    p5, p6 = model().eval(), model("yolov8n-p6.yaml").eval()
    part = shared_part(p6, p5)
    assert part.levels == [(0, 0), (1, 1), (2, 2)] and shared_part(p5, model()).levels is None
    student, teacher = (raw_predictions(net(torch.rand(1, 3, 128, 128)), net.model[-1]) for net in (p6, p5))
    shared = 16 * 16 + 8 * 8 + 4 * 4
    cut = {k: student[k][..., :shared] for k in ("scores", "boxes")}
    loss = LogitLoss(levels=part.levels)(student, teacher)
    assert student["scores"].shape[-1] == shared + 2 * 2
    assert loss.item() == LogitLoss()(cut, teacher).item() > 0


def test_heads_that_cannot_be_compared_are_named():
    v8, v26 = model(), model("yolo26n.yaml")
    assert shared_part(v8, v8).bins == 16 and shared_part(v8, v8).classes is None
    assert shared_part(v8, v26).bins == 1  # YOLO26 has no bins: classes only
    with pytest.raises(ValueError, match="the student has 2, box, disc, and the teacher 2, cat, dog"):
        shared_part(v8, model(names=("cat", "dog")))
    with pytest.raises(ValueError, match=r"numbers are no names.*2, box, disc, and the teacher 80, 0, 1, .* 70 more"):
        shared_part(v8, DetectionModel("yolov8n.yaml", verbose=False))
    with pytest.raises(ValueError, match="needs a stride that both heads have"):
        v26.model[-1].stride = torch.tensor([4.0])
        shared_part(v8, v26)
    with pytest.raises(ValueError, match="needs detection heads"):
        shared_part(v8, YOLO("yolov8n-cls.yaml", verbose=False).model)
    with pytest.raises(ValueError, match="tau"):
        LogitLoss(tau=0)
