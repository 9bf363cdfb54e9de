"""The first-order Taylor score: gradients of gates by hand, by difference quotients, and through pruning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.verify import masking
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score import labelled
from ultralytics.slim.pruning.score.labelled import LabelledImages, with_loss
from ultralytics.slim.pruning.score.ranking import rank
from ultralytics.slim.pruning.score.taylor import gate_gradients, label_scores, taylor_scores
from ultralytics.slim.pruning.select.pools import make_pools

from random_models import randomised, shake


class Body(nn.Module):
    """A residual: the channels of two convolutions are tied, and a third has neither BatchNorm nor ties."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Conv2d(c, 16, 1, bias=False) for c in (3, 16))
        self.na, self.nb = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.bare = nn.Conv2d(16, 12, 1)

    def forward(self, x):
        x = self.na(self.a(x))
        return self.bare(x + self.nb(self.b(x)))


class Net(nn.Module):
    """The body and an end, in `model` as Ultralytics' networks keep their layers."""

    stride = torch.tensor([8.0])

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(Body(), nn.Conv2d(12, 2, 1, bias=False))

    def forward(self, x):
        return self.model(x)


class Sums:
    """Stands for labelled images: two batches, the loss is the sum of the outputs."""

    batches = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def losses(self, net):
        return (net(x).sum() for x in self.batches)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    shake(net)
    return net


@torch.no_grad()
def by_hand(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Return dL/dz (2, 16) of the tied and (2, 12) of the bare channels: L is linear, z dL/dz is each one's share."""
    body, end = net.model
    tied, bare = [], []
    for x in Sums.batches:
        first = body.na(body.a(x))
        second = body.nb(body.b(first))
        to_loss = end.weight.sum((0, 2, 3))  # (12,): what a bare channel's sum counts in L
        from_sum = to_loss @ body.bare.weight[:, :, 0, 0]  # (16,)
        back = from_sum * (body.nb.weight / (body.nb.running_var + body.nb.eps).sqrt()) @ body.b.weight[:, :, 0, 0]
        tied.append(first.sum((0, 2, 3)) * (from_sum + back) + second.sum((0, 2, 3)) * from_sum)
        bare.append(body.bare(first + second).sum((0, 2, 3)) * to_loss)
    return torch.stack(tied).numpy(), torch.stack(bare).numpy()


def test_scores_by_hand(net: Net) -> None:
    graph = trace_channels(net)
    gates = gate_gradients(net, graph, Sums())
    tied, bare = by_hand(net)
    pools, book = make_pools(graph, label_scores(gates))
    taylor_scores(pools, book.roots(), gates)
    assert {p.layers for p in pools} == {("model.0.a", "model.0.b"), ("model.0.bare",)}
    for pool in pools:
        expected = tied if len(pool.layers) == 2 else bare
        assert np.allclose(pool.scores, np.sqrt((expected**2).mean(0)), rtol=1e-4)


class Squares(Sums):
    """The loss is the mean square of the outputs."""

    def losses(self, net):
        return (net(x).square().mean() for x in self.batches[:1])


def test_zeroing_weak_channels_changes_the_loss_as_predicted(net: Net) -> None:
    with torch.no_grad():
        for p in (*net.model[0].na.parameters(), *net.model[0].nb.parameters()):
            p[:6] *= 1e-2  # so weak that the loss is all but linear in them
    graph = trace_channels(net)
    ranking = rank(net, graph, "taylor", "global", labelled=Squares())
    (pool,) = (p for p in ranking.pools if len(p.layers) == 2)
    roots, loss = ranking.book.roots(), lambda: float(next(Squares().losses(net)).detach())
    before = loss()
    assert pool.scores[:6].max() > 1e-5  # well above float32's noise
    for unit, score in zip(pool.units[:6], pool.scores[:6]):
        with masking(net, graph, ~np.isin(roots, unit)):
            assert abs(loss() - before) == pytest.approx(score, rel=0.1, abs=1e-6)
    assert loss() == before  # the mask is gone


def test_pruning_by_taylor(yolo_of_two, tiny_data: Path, tmp_path: Path) -> None:
    result = prune_model(yolo_of_two, tmp_path / "p.pt", 0.3, score="taylor", images=str(tiny_data), imgsz=64)
    record = torch.load(result.path, weights_only=False)["slim"]
    assert (record["score"], record["scope"], record["repairs"], record["images"]) == ("taylor", "global", ["refit"], 8)


@pytest.mark.parametrize(
    ("images", "got"), [(None, "none"), ("folder", "folder"), (torch.rand(2, 3, 64, 64), "Tensor")]
)
def test_taylor_asks_for_labels(yolo_of_two, tmp_path: Path, images, got: str) -> None:
    with pytest.raises(ValueError, match=f"labelled images: give images= the YAML .*, got {got}"):
        prune_model(yolo_of_two, tmp_path / "p.pt", 0.3, score="taylor", images=images)


def test_missing_labels_and_too_many_classes_are_named(yolo_of_two, tmp_path: Path, tiny_data: Path) -> None:
    one = randomised("yolov8n.yaml", nc=1)
    one.model.names = {0: "box"}
    with pytest.raises(ValueError, match="disc is labelled, but the model's classes are "):
        LabelledImages(one.model, tiny_data, "val", 64)
    shutil.copytree(tiny_data.parent / "images", tmp_path / "images")
    yaml = tmp_path / "bare.yaml"
    yaml.write_text(f"path: {tmp_path.as_posix()}\ntrain: images/train\nval: images/val\nnames: {{0: box, 1: disc}}\n")
    with pytest.raises(ValueError, match=r"bare\.yaml: none of 8 images of 'train' has labels"):
        LabelledImages(yolo_of_two.model, yaml, "train", 64)


@pytest.mark.parametrize("task", ["seg", "pose", "obb"])
def test_every_task_has_a_loss(task: str, tmp_path: Path, tiny_data: Path) -> None:
    """Labels of the task's own shape: polygons, key points, corners."""
    extra = {
        "seg": " 0.2 0.2 0.6 0.2 0.4 0.7",
        "obb": " 0.2 0.2 0.6 0.2 0.6 0.7 0.2 0.7",
        "pose": " .4 .4 .3 .3" + " .4 .4 2" * 17,
    }
    shutil.copytree(tiny_data.parent / "images", tmp_path / "images")
    (tmp_path / "labels/train").mkdir(parents=True)
    for image in (tmp_path / "images/train").iterdir():
        (tmp_path / f"labels/train/{image.stem}.txt").write_text(f"0{extra[task]}\n")
    yaml = tmp_path / "data.yaml"
    shape = "kpt_shape: [17, 3]\n" * (task == "pose")
    yaml.write_text(f"path: {tmp_path.as_posix()}\ntrain: images/train\nval: images/train\nnames: {{0: box}}\n{shape}")
    model = randomised(f"yolov8n-{task}.yaml", nc=1).model
    labelled = LabelledImages(model, yaml, "train", 64, limit=2)
    assert np.isfinite(labelled.loss(with_loss(model))) and labelled.loss(with_loss(model)) > 0
    assert 0 <= labelled.accuracy(model) <= 1


def test_a_forks_own_validator_judges_its_network(yolo_of_two, tiny_data, monkeypatch):
    class Own(labelled.VALIDATORS["detect"]):
        pass

    monkeypatch.setattr(labelled, "own_class", lambda network: (None, {"validator": Own}))
    with LabelledImages(yolo_of_two.model, tiny_data, "val", 64, limit=2)._validator() as validator:
        assert type(validator) is Own
