"""Odd numbers in a model or in its data end in a right result, or in one message that names them."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.errors import SlimError
from ultralytics.slim.inputs.data import check_data
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.utils import YAML

from short_runs import SHORT, train


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def no_gamma(model):
    """Every scale is zero, as after a penalty that was far too strong: no channel is better than another."""
    for norm in norms_of(model):
        nn.init.zeros_(norm.weight)


def no_variance(model):
    """A layer's channels were the same in every image: its norm divides by the root of eps alone."""
    nn.init.zeros_(model.model[5].cv1.bn.running_var)


def dead_layer(model):
    """A convolution inside the backbone that gives zero for everything."""
    nn.init.zeros_(model.model[5].cv1.conv.weight)
    nn.init.zeros_(model.model[5].cv1.bn.weight)


def negative_gamma(model):
    for norm in norms_of(model):
        norm.weight.data.neg_()


@pytest.fixture(scope="module")
def images(tiny_data) -> Path:
    return Path(tiny_data).parent / "images/train"


@pytest.mark.parametrize("score", ["gamma", "auto"])
@pytest.mark.parametrize("change", [no_gamma, no_variance, dead_layer, negative_gamma])
def test_odd_weights_are_pruned_as_any_others(change, score, weights, images, tmp_path):
    """What is written says what the model with its channels masked says: the check before saving holds it to that."""
    yolo = YOLO(weights)
    change(yolo.model)
    whole = sum(p.numel() for p in yolo.model.parameters())
    options = {} if score == "gamma" else {"images": images, "imgsz": 64}
    prune_model(yolo, tmp_path / "small.pt", 0.5, score=score, **options)
    small = YOLO(tmp_path / "small.pt").model.float().eval()
    assert sum(p.numel() for p in small.parameters()) < 0.7 * whole
    assert torch.isfinite(small(torch.rand(1, 3, 64, 64))[0]).all()
    assert all(torch.isfinite(p).all() for p in small.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoints_of_any_precision_are_pruned_and_trained(kind, weights, tiny_data, tmp_path):
    model = YOLO(weights).model
    torch.save({"model": copy.deepcopy(model).to(kind), "train_args": {}}, tmp_path / "odd.pt")
    opened = PruneModel(tmp_path / "odd.pt")
    opened.prune(0.5, tmp_path / "small.pt")
    PruneModel(weights).prune(0.5, tmp_path / "usual.pt")
    small, usual = (YOLO(tmp_path / name).model.float().eval() for name in ("small.pt", "usual.pt"))
    assert [p.shape for p in small.parameters()] == [p.shape for p in usual.parameters()]
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    near = 0.1 if kind is torch.bfloat16 else 0.05  # it has 8 bits for a number
    assert small(image)[0] == pytest.approx(usual(image)[0], rel=near, abs=near)
    _, trainer = train(tiny_data, tmp_path, tmp_path / "odd.pt", epochs=1, loss_type="sparse")
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in trainer.model.parameters())


def test_the_averaged_weights_alone_are_enough(weights, tmp_path):
    """As Ultralytics stores them while it trains: `model` is empty, `ema` is what it judged."""
    model = YOLO(weights).model
    torch.save({"model": None, "ema": model, "train_args": {}}, tmp_path / "ema.pt")
    assert torch.equal(open_model(tmp_path / "ema.pt").model.model[0].conv.weight, model.model[0].conv.weight)
    PruneModel(tmp_path / "ema.pt").prune(0.5, tmp_path / "small.pt")
    assert (tmp_path / "small.pt").is_file()


def test_an_optimizer_alone_is_told(tmp_path):
    state = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1).state_dict()
    torch.save({"optimizer": state, "epoch": 3}, tmp_path / "optimizer.pt")
    with pytest.raises(SlimError, match="no model under 'model' or 'ema', only optimizer, epoch"):
        PruneModel(tmp_path / "optimizer.pt")
    torch.save({"model": None, "ema": None, "optimizer": state}, tmp_path / "none.pt")
    with pytest.raises(SlimError, match="no model under 'model' or 'ema', only model, ema, optimizer"):
        PruneModel(tmp_path / "none.pt")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 1000])
def test_one_class_and_a_thousand(classes, tiny_data, tmp_path):
    """The rows of the classes stay, however many; training, teaching and measuring go by them."""
    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=classes, verbose=False)
    model.names = {number: f"class {number}" for number in range(classes)}
    torch.save({"model": model, "train_args": {}}, tmp_path / "start.pt")
    prune_model(YOLO(tmp_path / "start.pt"), tmp_path / "small.pt", 0.5)
    small = YOLO(tmp_path / "small.pt")
    assert len(small.names) == classes and {branch[-1].out_channels for branch in small.model.model[-1].cv3} == {
        classes
    }
    folder = shutil.copytree(Path(tiny_data).parent, tmp_path / "data")
    for labels in folder.glob("labels/*/*.txt"):
        rows = [line.split(maxsplit=1) for line in labels.read_text().splitlines()]
        labels.write_text("".join(f"{int(number) * (classes - 1)} {box}\n" for number, box in rows))
    for cache in folder.rglob("*.cache"):
        cache.unlink()
    YAML.save(
        folder / "tiny.yaml", {"path": str(folder), "train": "images/train", "val": "images/val", "names": model.names}
    )
    teaching = dict(Distillation=str(tmp_path / "start.pt"), loss_type="logit+cwd", val=True, epochs=1)
    _, trainer = train(folder / "tiny.yaml", tmp_path, tmp_path / "small.pt", **teaching)
    assert trainer.model.nc == classes and all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_an_empty_validation_set_is_told(tiny_data, tmp_path):
    folder = shutil.copytree(Path(tiny_data).parent, tmp_path / "data")
    data = YAML.load(tiny_data) | {"path": str(folder)}
    YAML.save(folder / "tiny.yaml", data)
    for image in (folder / "images/val").iterdir():
        image.unlink()
    with pytest.raises(SlimError, match="'val:' holds no images"):
        check_data(folder / "tiny.yaml")
    YAML.save(folder / "none.yaml", data | {"val": ""})
    with pytest.raises(SlimError, match="none.yaml: 'val:' is empty; give a folder"):
        check_data(folder / "none.yaml")


@pytest.mark.slow
def test_images_without_objects_are_measured(weights, tiny_data, tmp_path):
    """Backgrounds alone: nothing can be found, so the accuracy is zero, and the training and the table go through."""
    folder = shutil.copytree(Path(tiny_data).parent, tmp_path / "data")
    for labels in (folder / "labels/val").iterdir():
        labels.write_text("")
    for cache in folder.rglob("*.cache"):
        cache.unlink()
    YAML.save(folder / "tiny.yaml", YAML.load(tiny_data) | {"path": str(folder)})
    table = PruneModel.compare([weights], str(folder / "tiny.yaml"), imgsz=64, device="cpu")
    assert table[0].map50_95 == 0.0
    PruneModel(weights).train(
        tmp_path / "out.pt", data=str(folder / "tiny.yaml"), **{**SHORT, "epochs": 1, "val": True}
    )
