"""Classes are paired by name wherever two models, or a model and its data, meet: order and number do not matter."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.classes import LabelNumbers, names_of, pair_classes
from ultralytics.slim.inputs.references import check_references
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.detections import detect, match_detections
from ultralytics.slim.pruning.score.labelled import LabelledImages, with_loss
from ultralytics.slim.report.measures import accuracy_by_class
from ultralytics.utils import YAML

from short_runs import SHORT, losses_of, prepared
from task_data import make_task_data


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (["box", "disc"], ["box", "disc"], [(0, 0), (1, 1)]),
        (["box", "disc"], ["disc", "box"], [(0, 1), (1, 0)]),
        (["box", "disc"], ["ring", " Disc "], [(1, 1)]),
        (["box", "disc"], ["cat", "dog"], []),
        (["box", "x", "box"], ["box", "box"], [(0, 0), (2, 1)]),  # a name that stands twice
        (["box", "disc"], ["0", "1"], [(0, 0), (1, 1)]),  # no names
        (["class_0", "class_1"], ["box", "disc"], [(0, 0), (1, 1)]),
        (["box", "disc"], ["0", "1", "2"], []),
        (["2", "1"], ["1", "2"], [(0, 1), (1, 0)]),  # digits that are read, not numbers of classes
    ],
)
def test_pairs(ours, theirs, pairs):
    assert pair_classes(dict(enumerate(ours)), dict(enumerate(theirs))) == pairs


def test_labels_get_the_models_numbers():
    numbers = LabelNumbers({0: "a", 1: "b", 2: "c"}, {0: "c", 1: "x", 2: "a"})
    labels = torch.tensor([[0.0], [1.0], [2.0], [-1.0]])
    assert numbers.of(labels).flatten().tolist() == [2, 3, 0, -1] and numbers.of(labels).dtype == labels.dtype
    assert numbers.names == {0: "c", 1: "x", 2: "a", 3: "b"} and numbers.missing == [1]
    assert "does not know the data's b," in numbers.warning
    unrelated = LabelNumbers({0: "a"}, {0: "x"})
    assert not unrelated.change and "taken by number" in unrelated.warning
    assert not LabelNumbers({0: "a"}, {0: "b", 1: "a"}).warning and LabelNumbers({0: "a"}, {0: "b", 1: "a"}).change


def test_a_head_that_has_another_number_of_classes_than_names():
    model = YOLO("yolov8n.yaml", verbose=False).model
    model.names = {0: "box"}
    assert len(names_of(model)) == 80 and names_of(model)[79] == "79"


@pytest.fixture(scope="module")
def swapped(tiny_data, tmp_path_factory) -> Path:
    """The tiny data with its two classes in the other order: disc 0, box 1."""
    folder = tmp_path_factory.mktemp("swapped")
    shutil.copytree(Path(tiny_data).parent, folder, dirs_exist_ok=True)
    for labels in folder.glob("labels/*/*.txt"):
        rows = [line.split(maxsplit=1) for line in labels.read_text().splitlines()]
        labels.write_text("".join(f"{1 - int(number)} {box}\n" for number, box in rows))
    for cache in folder.rglob("*.cache"):
        cache.unlink()
    path = folder / "swapped.yaml"
    YAML.save(path, {**YAML.load(tiny_data), "path": folder.as_posix(), "names": {0: "disc", 1: "box"}})
    return path


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory) -> Path:
    """A model that tells a box from a disc, and finds more of the one than of the other."""
    torch.manual_seed(0)  # Ultralytics draws the weights before it sets its own
    model = YOLO("yolov8n.yaml", verbose=False)
    place = {"project": str(tmp_path_factory.mktemp("trained")), "name": "run"}
    model.train(data=str(tiny_data), **{**SHORT, "epochs": 40, "lr0": 0.004, "close_mosaic": 40, "imgsz": 96}, **place)
    return model.trainer.last


@pytest.mark.slow
def test_accuracy_is_that_of_the_same_classes(trained, tiny_data, swapped, tmp_path, log):
    """What is measured depends on the classes' names alone, in sum and by class."""
    plain, other = (accuracy_by_class(trained, str(data), 96, "cpu") for data in (tiny_data, swapped))
    assert plain["map50"] > 0.2 and plain["map50_95"] == pytest.approx(other["map50_95"], abs=1e-9)
    assert plain["classes"] == other["classes"] and set(plain["classes"]) == {"box", "disc"}
    assert "taken by number" not in log.text
    wider = tmp_path / "wider.yaml"
    YAML.save(wider, {**YAML.load(swapped), "names": {0: "disc", 1: "ring"}})
    part = accuracy_by_class(trained, str(wider), 96, "cpu")["classes"]
    assert part["disc"] == plain["classes"]["disc"] and part["ring"] == {"map50_95": 0.0, "objects": 4}
    assert "does not know the data's ring" in log.text
    unrelated = tmp_path / "unrelated.yaml"
    YAML.save(unrelated, {**YAML.load(tiny_data), "names": {0: "cat", 1: "dog"}})
    assert accuracy(trained, str(unrelated), 96, "cpu") == pytest.approx(plain["map50_95"])
    assert "none of the data's classes (cat, dog) is one of the model's (box, disc)" in log.text


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_every_task_is_measured_by_name(task, tmp_path):
    data = make_task_data(tmp_path / "data", task)
    content = YAML.load(data)
    names = content["names"] if isinstance(content["names"], dict) else dict(enumerate(content["names"]))
    model = YOLO({"segment": "yolov8n-seg", "pose": "yolov8n-pose", "obb": "yolov8n-obb"}[task] + ".yaml")
    model.train(data=str(data), **{**SHORT, "epochs": 1, "batch": 2}, project=str(tmp_path), name="run")
    more = tmp_path / "more.yaml"  # one more class before them: all numbers differ
    YAML.save(more, {**content, "names": {0: "other", **{number + 1: name for number, name in names.items()}}})
    for labels in Path(content["path"]).glob("labels/*/*.txt"):
        rows = [line.split(maxsplit=1) for line in labels.read_text().splitlines()]
        labels.write_text("".join(f"{int(number) + 1} {rest}\n" for number, rest in rows))
    for cache in Path(content["path"]).rglob("*.cache"):
        cache.unlink()
    found = accuracy_by_class(model.trainer.last, str(more), 64, "cpu")["classes"]
    assert (found or task == "pose") and set(found) <= set(names.values())
    assert all(part["objects"] for part in found.values())


@pytest.mark.slow
def test_the_same_model_teaches_the_same_whatever_the_order(trained, tiny_data, swapped, tmp_path, log):
    """Student and teacher are one file: what is lost is the augmentation's and the pace's, not the order's."""
    teaching = dict(Distillation=str(trained), loss_type="logit", distill_check=True)
    options = dict(weights=trained, epochs=1, lr0=1e-9, **teaching)
    figures = [losses_of(data, tmp_path / name, **options)[1] for data, name in ((tiny_data, "a"), (swapped, "b"))]
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)
    assert "student and teacher have 2 and 2 classes, 2 of them in common, paired by name" in log.text
    told = re.findall(r"before training: teacher ([\d.]+), student ([\d.]+)", log.text)
    plain, other = ([float(figure) for figure in figures] for figures in told)
    assert plain == pytest.approx(other, abs=0.001) and plain[0] > 0.1


def test_a_teacher_that_lacks_classes_is_told(trained, tiny_data, tmp_path, log):
    data = tmp_path / "data.yaml"
    options = dict(Distillation=str(trained), loss_type="logit", distill_check=True)
    YAML.save(data, {**YAML.load(tiny_data), "names": {0: "ring", 1: "disc"}})
    assert prepared(data, tmp_path, **options).slim.distiller.losses["logit"].classes == ((1,), (1,))
    assert "logit teaches these alone. The teacher does not know ring; its classes: box, disc" in log.text
    assert "does not know the data's ring, so its accuracy is not measured" in log.text
    YAML.save(data, {**YAML.load(tiny_data), "names": {0: "cat", 1: "dog"}})
    with pytest.raises(ValueError, match="needs classes of the same names: the student has 2, cat, dog"):
        prepared(data, tmp_path, **options)


@pytest.mark.slow
def test_labels_for_a_score_follow_the_names(trained, tiny_data, swapped, tmp_path):
    model = YOLO(trained).model.float()
    losses = [LabelledImages(model, data, "train", 96).loss(with_loss(model)) for data in (tiny_data, swapped)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    accuracies = [LabelledImages(model, data, "val", 96).accuracy(model) for data in (tiny_data, swapped)]
    assert accuracies[0] == pytest.approx(accuracies[1])
    other = tmp_path / "other.yaml"
    YAML.save(other, {**YAML.load(tiny_data), "names": {0: "box", 1: "ring"}})
    with pytest.raises(ValueError, match="ring is labelled, but the model's classes are box, disc"):
        LabelledImages(model, other, "train", 96)


@pytest.mark.slow
def test_detections_of_two_models_agree_by_name(trained, tiny_data, tmp_path):
    """The same weights with their class rows exchanged find the same, under other numbers."""
    other = YOLO(trained)
    other.model.names = {0: "disc", 1: "box"}
    for branch in other.model.model[-1].cv3:
        for parameter in branch[-1].parameters():
            parameter.data = parameter.data[[1, 0]]
    other.save(tmp_path / "other.pt")
    images = sorted((Path(tiny_data).parent / "images/val").iterdir())
    like = {0: "box", 1: "disc"}
    left, right = (detect(w, images, like, imgsz=96, device="cpu", conf=0.01) for w in (trained, tmp_path / "other.pt"))
    assert sum(len(found.classes) for found in left) and {0, 1} == {int(c) for found in left for c in found.classes}
    for one, two in zip(left, right):
        assert match_detections(one, two, 0.99).size == 0 and sorted(one.names) == sorted(two.names)
    check_references([str(tmp_path / "other.pt")], trained)
