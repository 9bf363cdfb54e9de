"""Classes are paired by name wherever two models, or a model and its data, meet: order and number do not matter."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.classes import LabelNumbers, names_of, pair_classes
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.diagrams.scene import CLASSES
from ultralytics.slim.inputs.references import check_references
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.detections import detect, match_detections
from ultralytics.slim.pruning.score.labelled import LabelledImages, with_loss
from ultralytics.slim.report.measures import accuracy_by_class
from ultralytics.utils import YAML

from places import ROOT
from short_runs import SHORT, losses_of, prepared
from task_data import make_task_data

SIZE = 320  # pixels: the embedded model's own


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
def trained() -> Path:
    """A model that finds what it was trained for: the embedded one."""
    return ROOT / "weights/diagram-yolov8n.pt"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A few of its diagrams, with its classes under its own numbers."""
    folder = draw_dataset(tmp_path_factory.mktemp("drawn") / "diagram", train=8, val=8)
    path = folder.parent / "drawn.yaml"
    YAML.save(
        path, {"path": folder.as_posix(), "train": "images/train", "val": "images/val", "names": names_in(CLASSES)}
    )
    return path


@pytest.fixture(scope="module")
def swapped(drawn, tmp_path_factory) -> Path:
    """The same diagrams with the classes in the other order: card 0, topic 1, and so on."""
    folder = tmp_path_factory.mktemp("swapped")
    shutil.copytree(YAML.load(drawn)["path"], folder, dirs_exist_ok=True)
    for labels in folder.glob("labels/*/*.txt"):
        rows = [line.split(maxsplit=1) for line in labels.read_text().splitlines()]
        labels.write_text("".join(f"{len(CLASSES) - 1 - int(number)} {box}\n" for number, box in rows))
    for cache in folder.rglob("*.cache"):
        cache.unlink()
    return variant(drawn, folder / "swapped.yaml", reversed(CLASSES), path=folder.as_posix())


def names_in(order) -> dict[int, str]:
    return dict(enumerate(order))


def variant(data: Path, to: Path, names, **changes) -> Path:
    """Write a data YAML like this one with other names, and return its path."""
    YAML.save(to, {**YAML.load(data), "names": names_in(names), **changes})
    return to


@pytest.mark.slow
def test_accuracy_is_that_of_the_same_classes(trained, drawn, swapped, tmp_path, log):
    """What is measured depends on the classes' names alone, in sum and by class."""
    plain, other = (accuracy_by_class(trained, str(data), SIZE, "cpu") for data in (drawn, swapped))
    assert plain["map50"] > 0.5 and plain["map50_95"] == pytest.approx(other["map50_95"], abs=1e-9)
    assert plain["classes"] == other["classes"] and set(plain["classes"]) == _labelled(drawn) > {"card"}
    assert "taken by number" not in log.text
    wider = variant(swapped, tmp_path / "wider.yaml", ["ring", *CLASSES[-2::-1]])  # card 0 is called a ring
    part = accuracy_by_class(trained, str(wider), SIZE, "cpu")["classes"]
    assert part["ring"] == {"map50_95": 0.0, "objects": plain["classes"]["card"]["objects"]}
    assert {**part, "card": None} == {**plain["classes"], "card": None, "ring": part["ring"]}
    assert "does not know the data's ring" in log.text
    unrelated = variant(drawn, tmp_path / "unrelated.yaml", [f"my {name}" for name in CLASSES])
    assert accuracy(trained, str(unrelated), SIZE, "cpu") == pytest.approx(plain["map50_95"])
    assert re.search(r"none of the data's classes \(my container, .*\) is one of the model's \(container, ", log.text)


def _labelled(data: Path) -> set[str]:
    rows = (row for labels in (data.parent / "diagram/labels/val").glob("*.txt") for row in labels.open())
    return {CLASSES[int(row.split()[0])] for row in rows}


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
def test_the_same_model_teaches_the_same_whatever_the_order(trained, drawn, swapped, tmp_path, log):
    """Student and teacher are one file: what is lost is the augmentation's and the pace's, not the order's."""
    teaching = dict(Distillation=str(trained), loss_type="logit", distill_check=True)
    options = dict(weights=trained, epochs=1, lr0=1e-9, imgsz=SIZE, **teaching)
    figures = [losses_of(data, tmp_path / name, **options)[1] for data, name in ((drawn, "a"), (swapped, "b"))]
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)
    assert "student and teacher have 8 and 8 classes, 8 of them in common, paired by name" in log.text
    told = re.findall(r"before training: teacher ([\d.]+), student ([\d.]+)", log.text)
    plain, other = ([float(figure) for figure in figures] for figures in told)
    assert plain == pytest.approx(other, abs=0.001) and plain[0] > 0.5


def test_a_teacher_that_lacks_classes_is_told(trained, drawn, tmp_path, log):
    data = variant(drawn, tmp_path / "data.yaml", ["ring", *CLASSES[1:]])
    options = dict(Distillation=str(trained), loss_type="logit", distill_check=True)
    assert prepared(data, tmp_path, **options).slim.distiller.losses["logit"].classes == ((*range(1, 8),),) * 2
    assert "logit teaches these alone. The teacher does not know ring; its classes: container, lane" in log.text
    assert "does not know the data's ring, so its accuracy is not measured" in log.text
    variant(drawn, data, [f"my {name}" for name in CLASSES])
    with pytest.raises(ValueError, match="needs classes of the same names: the student has 8, my container"):
        prepared(data, tmp_path, **options)


@pytest.mark.slow
def test_labels_for_a_score_follow_the_names(trained, drawn, swapped, tmp_path):
    model = YOLO(trained).model.float()
    losses = [LabelledImages(model, data, "train", SIZE).loss(with_loss(model)) for data in (drawn, swapped)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    accuracies = [LabelledImages(model, data, "val", SIZE).accuracy(model) for data in (drawn, swapped)]
    assert accuracies[0] == pytest.approx(accuracies[1])
    other = variant(drawn, tmp_path / "other.yaml", ["ring", *CLASSES[1:]])
    with pytest.raises(ValueError, match="ring is labelled, but the model's classes are container, lane"):
        LabelledImages(model, other, "train", SIZE)


@pytest.mark.slow
def test_detections_of_two_models_agree_by_name(trained, drawn, tmp_path):
    """The same weights with their class rows exchanged find the same, under other numbers."""
    other = YOLO(trained)
    other.model.names = names_in(reversed(CLASSES))
    for branch in other.model.model[-1].cv3:
        for parameter in branch[-1].parameters():
            parameter.data = parameter.data.flip(0)
    other.save(tmp_path / "other.pt")
    images = sorted((Path(YAML.load(drawn)["path"]) / "images/val").iterdir())
    both = (trained, tmp_path / "other.pt")
    left, right = (detect(w, images, names_in(CLASSES), imgsz=SIZE, device="cpu", conf=0.01) for w in both)
    assert {int(number) for found in left for number in found.classes} == set(range(len(CLASSES)))
    for one, two in zip(left, right):
        assert match_detections(one, two, 0.99).size == 0 and sorted(one.names) == sorted(two.names)
    check_references([str(tmp_path / "other.pt")], trained)
