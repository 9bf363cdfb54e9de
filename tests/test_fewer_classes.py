"""Classes leave the head exactly, and data is seen through those that stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from prune_model import PruneModel, compress
from ultralytics import YOLO
from ultralytics.slim.classes import names_of
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.errors import InputError
from ultralytics.slim.fewer_classes import data_for, had_more, like, only_classes, read_classes
from ultralytics.slim.inputs.class_view import read_set, view_of
from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.inputs.images import label_files, list_images
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.comparison import agreements_of
from ultralytics.slim.pruning.graph.raw import run_raw
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model
from ultralytics.slim.runs.record import Run, read_record
from ultralytics.slim.runs.run_settings import RunSettings

from places import ROOT
from random_models import randomised
from task_data import make_task_data
from tiny_data import draw_sample

KEPT = [1, 3]
HEADS = ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml", "yolov8n-obb.yaml", "yolo11n-pose.yaml"]


def scores_in(output: object) -> list[torch.Tensor]:
    """Return the class scores (N, classes, anchors) in raw predictions, and all else, in order."""
    if isinstance(output, dict):
        return [t for k, v in output.items() for t in ([v] if k == "scores" else scores_in(v))]
    return [t for v in output for t in scores_in(v)] if isinstance(output, (tuple, list)) else []


def others_in(output: object) -> list[torch.Tensor]:
    if isinstance(output, dict):
        return [t for k, v in output.items() if k not in ("scores", "feats") for t in others_in(v)]
    if isinstance(output, (tuple, list)):
        return [t for v in output for t in others_in(v)]
    return [output]


@pytest.mark.parametrize("name", HEADS)
def test_kept_classes_keep_their_scores(name: str) -> None:
    yolo = randomised(name, nc=5)
    model = yolo.model.double().eval()
    few = only_classes(model, KEPT)
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before, after = run_raw(model, x), run_raw(few, x)
    whole, cut = scores_in(before), scores_in(after)
    assert len(whole) == len(cut) > 0
    assert all(torch.allclose(a[:, KEPT], b, rtol=1e-12, atol=1e-14) for a, b in zip(whole, cut))
    pairs = list(zip(others_in(before), others_in(after)))
    assert pairs and all(torch.equal(a, b) for a, b in pairs if a.shape == b.shape)
    assert {n for n in range(5)} == set(model.names) and list(few.names.values()) == [model.names[n] for n in KEPT]
    assert few.model[-1].nc == 2 and few.yaml["nc"] == 2 and had_more(few) and not had_more(model)
    assert few.model[-1].no == model.model[-1].no - 3
    with torch.no_grad():
        few.eval()(x)


def test_a_classifier_keeps_its_logits() -> None:
    model = randomised("yolov8n-cls.yaml", nc=5).model.double().eval()
    few, x = only_classes(model, KEPT), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        whole, cut = run_raw(model, x), run_raw(few, x)
    assert torch.allclose(whole[:, KEPT], cut, rtol=1e-12)


def test_other_heads_are_named() -> None:
    model = randomised("yolo26n-sem.yaml").model.float().eval()
    with pytest.raises(InputError, match="does not put out a channel for each of its"):
        only_classes(model, [0])


NAMES = {0: "person", 1: "Traffic light", 2: "7", 3: "person"}


@pytest.mark.parametrize(
    "wanted, numbers",
    [
        ("person", [0, 3]),
        ("traffic light,PERSON", [0, 1, 3]),
        (["1"], [1]),
        ((2, 0), [0, 2]),
        ("[1, 2]", [1, 2]),
        ("7", [2]),  # a name before a number
        (1, [1]),
        ([2], [2]),
        ({"person", 2}, [0, 2, 3]),
        (range(1, 3), [1, 2]),
        (np.array([1, 2]), [1, 2]),
        ([np.int64(1)], [1]),
        (torch.tensor([1]), [1]),
    ],
)
def test_names_and_numbers(wanted: object, numbers: list[int]) -> None:
    assert read_classes(wanted, NAMES) == numbers


def test_of_names_that_are_numerals_text_is_the_name_and_an_integer_the_number(log) -> None:
    names = {0: "1", 1: "2", 2: "a, b"}
    assert read_classes([1], names) == read_classes("2", names) == [1]
    assert read_classes("1", names) == [0] and "'1' is taken for the class of that name; number 1 is '2'" in log.text
    assert read_classes("a, b", names) == read_classes(["a, b"], names) == [2]
    assert read_classes("drivers'", {0: "drivers'"}) == read_classes(["drivers'"], {0: "drivers'"}) == [0]


@pytest.mark.parametrize(
    "wanted, message",
    [
        ("persom", r"no class 'persom' \(did you mean 'person'"),
        ("4", "no class '4'.*numbers 0 to 3"),
        ("person,-1", "no class '-1'"),
        ("", "keeps no class"),
        ([], "keeps no class"),
        (set(), "keeps no class"),
        ([True], "no class 'True'"),
        ("²", "no class '²'"),
        (b"person", r"no class .*b'person"),
    ],
)
def test_unknown_classes_are_named(wanted: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_classes(wanted, NAMES)


@pytest.fixture(scope="module", params=["detect", "segment", "obb"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


def rows_of(data: str, split: str) -> list[list[str]]:
    content = yaml.safe_load(Path(data).read_text())
    images = list_images(str(Path(content["path"], content[split])))
    return [label.read_text().splitlines() if label.is_file() else None for label in label_files(images)]


def test_a_view_holds_the_kept_classes_under_the_models_numbers(tmp_path: Path, task: str) -> None:
    data = make_task_data(tmp_path / "data", task)
    before = {p: p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file() and p != Path(data)}
    names = yaml.safe_load(Path(data).read_text())["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    model = YOLO("yolov8n.yaml").model
    model.names, model.yaml = dict(names), {**model.yaml, "nc": len(names)}
    model.task = task
    few = randomised("yolov8n.yaml", nc=len(names)).model
    few.names, few.task = dict(names), task
    few = only_classes(few, [1])
    view = data_for(few, str(data))
    assert view != str(data) and yaml.safe_load(Path(view).read_text())["names"] == {0: names[1]}
    for split in ("train", "val"):
        for whole, seen in zip(rows_of(str(data), split), rows_of(view, split), strict=True):
            assert seen == [f"0{row[1:]}" for row in whole if row.startswith("1 ")]
    assert before == {p: p.read_bytes() for p in before}
    assert data_for(few, str(data)) == view  # made once
    with open(data, "a") as file:
        file.write("channels: 3\n")
    assert (
        yaml.safe_load(Path(data_for(few, str(data))).read_text())["channels"] == 3
    )  # and anew where the YAML changed
    assert data_for(YOLO("yolov8n.yaml").model, str(data)) == str(data)


def test_a_view_tells_images_of_one_name_apart_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    """Cameras that number their pictures: the third, 1 of the second camera, was written over 2_1 of the first."""
    for folder, stem in (("cam1", "1"), ("cam1", "2_1"), ("cam2", "1"), ("cam2", "2_1"), ("cam2", "4_2_1")):
        draw_sample(tmp_path / folder, "val", stem, seed=len(list(tmp_path.rglob("*.png"))))
    data = tmp_path / "my.yaml"
    splits = "".join(f"{split}: [cam1/images/val, cam2/images/val]\n" for split in ("train", "val"))
    data.write_text(f"path: {tmp_path}\n{splits}names: [box, disc]\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    view = view_of(str(data), "detect", read_set(str(data), "detect"), {0: "disc"}, {1: 0})
    assert before == {path: path.read_bytes() for path in before}
    seen = list_images(str(Path(view).parent / "images/val"))
    assert {image.resolve() for image in seen} == before.keys() and len(seen) == len(before)
    for image, label in zip(seen, label_files(seen)):
        whole = label_files([image.resolve()])[0].read_text().splitlines()
        assert label.read_text().splitlines() == [f"0{row[1:]}" for row in whole if row.startswith("1 ")]


@pytest.mark.parametrize(("model", "data"), [("{}", "{}"), ("{}", "class_{}"), ("{}", "digit {}"), ("digit {}", "{}")])
def test_classes_that_are_numbers_stay_the_same(tmp_path: Path, model: str, data: str) -> None:
    """Digits, or classes without names: once some are gone the model's numbers are others than the data's."""
    for split in ("train", "val"):
        for at in ("images", "labels"):
            (tmp_path / at / split).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / f"images/{split}/a.png")
        rows = "".join(f"{number}\t0.5 0.5 0.{number + 1} 0.2\n" for number in range(4))  # tabs are as good as blanks
        (tmp_path / f"labels/{split}/a.txt").write_text(rows)
    content = {"path": str(tmp_path), "train": "images/train", "val": "images/val", "test": "images/test"}  # not there
    content["names"] = [data.format(number) for number in range(4)]
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    whole = randomised("yolov8n.yaml", nc=4).model
    whole.names = {number: model.format(number) for number in range(4)}
    few = only_classes(whole, [1, 3])
    assert [row.split()[0] + row.split()[3] for row in rows_of(data_for(few, str(tmp_path / "d.yaml")), "val")[0]] == [
        "00.2",
        "10.4",
    ]
    assert names_of(like(whole, few)) == names_of(few)


def test_data_without_the_lost_classes_is_taken_as_it_is(tiny_data: Path) -> None:
    few = only_classes(randomised("yolov8n.yaml", nc=3).model, [0, 1])
    few.names = dict(enumerate(("box", "circle")))
    assert data_for(few, str(tiny_data)) == str(tiny_data)


def names_in(data: Path) -> dict[int, str]:
    names = yaml.safe_load(Path(data).read_text())["names"]
    return dict(enumerate(names)) if isinstance(names, list) else names


@pytest.fixture(scope="module")
def of_one(tiny_data: Path, teacher_path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one of the two classes of the tiny data, pruned a little."""
    path = tmp_path_factory.mktemp("one") / "one.pt"
    result = prune_model(YOLO(teacher_path), path, 0.2, imgsz=64, classes=names_in(tiny_data)[1])
    assert result.classes == ((names_in(tiny_data)[1],), 2) and "1 of 2 classes left" in str(result)
    return path


def test_the_checkpoint_tells_and_is_measured_on_the_whole_data(of_one: Path, tiny_data: Path, teacher_path) -> None:
    model, checkpoint = load_checkpoint(of_one)
    assert checkpoint["slim"]["classes"] == {"kept": [names_in(tiny_data)[1]], "of": 2}
    assert names_of(model) == {0: names_in(tiny_data)[1]}
    data = prepare_data(tiny_data)
    view = data_for(model, data)
    assert accuracy(of_one, data, 64) == accuracy(of_one, view, 64)


def test_comparison_looks_at_the_kept_classes_of_both(of_one: Path, tiny_data: Path, teacher_path) -> None:
    table = PruneModel.compare({"whole": teacher_path, "one": str(of_one)}, data=str(tiny_data), imgsz=64)
    view = data_for(load_checkpoint(of_one)[0], prepare_data(tiny_data))
    assert table[0].map50_95 == pytest.approx(accuracy(teacher_path, view, 64))
    models = {name: load_checkpoint(path)[0].float().eval() for name, path in (("w", teacher_path), ("o", of_one))}
    exact = {"w": models["w"], "o": only_classes(models["w"], [1])}
    found = agreements_of(exact, str(tiny_data), 64)
    assert found["o"].value == found["w"].value and found["o"].matched == found["w"].matched


def test_scores_by_the_loss_count_the_kept_classes_alone(tiny_data: Path, teacher_path, tmp_path: Path) -> None:
    keys = {"images": str(tiny_data), "imgsz": 64, "score": "taylor", "classes": [1]}
    result = prune_model(YOLO(teacher_path), tmp_path / "t.pt", 0.2, **keys)
    assert result.score == "taylor" and result.classes[1] == 2 and len(load_checkpoint(tmp_path / "t.pt")[0].names) == 1


@pytest.mark.slow
def test_training_goes_on_with_the_kept_classes(of_one: Path, tiny_data: Path, teacher_path, tmp_path: Path) -> None:
    model = PruneModel(of_one)
    training = {"data": str(tiny_data), "imgsz": 64, "epochs": 1, "batch": 4, "workers": 0, "project": str(tmp_path)}
    model.distill(teacher_path, "logit", save_dir=tmp_path / "d.pt", **training)
    model.train(save_dir=tmp_path / "t.pt", **training)
    trained, before = (load_checkpoint(p)[0] for p in (tmp_path / "t.pt", of_one))
    assert names_of(trained) == names_of(before) and had_more(trained)
    assert sum(p.numel() for p in trained.parameters()) == sum(p.numel() for p in before.parameters())


def test_recovery_leaves_the_teachers_other_classes_aside(tmp_path: Path) -> None:
    images = draw_dataset(tmp_path / "drawn", train=12, val=1) / "images/train"
    whole = YOLO(ROOT / "weights/diagram-yolov8n.pt")
    numbers = sorted(whole.names)[:1]
    exact = only_classes(whole.model.float().eval(), numbers)
    recovered = recover_model(exact, whole, str(images), tmp_path / "r.pt", iterations=1, imgsz=320, batch=2)
    assert recovered.before.value == pytest.approx(1.0, abs=0.01)  # all others would be missed
    assert like(whole.model, exact).names == exact.names and like(whole.model, whole.model) is whole.model


def test_a_run_takes_classes() -> None:
    settings = RunSettings.read({"weights": "a.pt", "data": "d.yaml", "classes": "cat,dog", "factor": 0.3})
    assert settings.prune.options.classes == "cat,dog"
    assert not any("classes" in training.arguments for training in settings.trainings.values())


def test_a_run_that_goes_on_has_the_classes_of_any_collection(tmp_path: Path, weights: str) -> None:
    settings = RunSettings.read({"weights": weights, "data": "d.yaml", "classes": {1}, "factor": 0.3})
    run = Run.start(tmp_path, "run", settings)
    assert RunSettings.of_record(read_record(run.record)["settings"]).prune.options.classes == [1]


def test_what_keeps_no_class_or_an_unknown_one_leaves_nothing(yolo_path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no class 'cow'"):
        prune_model(YOLO(yolo_path), tmp_path / "p.pt", 0.2, imgsz=64, classes="cow")
    assert not (tmp_path / "p.pt").exists()


@pytest.fixture(scope="module")
def yolo_path(weights: str) -> str:
    return weights


def test_factor_0_cuts_the_classes_alone(yolo_path: str, tmp_path: Path) -> None:
    result = prune_model(YOLO(yolo_path), tmp_path / "c.pt", 0, imgsz=64, classes=(0, 2, 5))
    assert result.ratio == 0 and result.params[1] < result.params[0]
    assert len(load_checkpoint(tmp_path / "c.pt")[0].names) == 3


@pytest.mark.slow
def test_a_run_measures_its_models_on_the_kept_classes(tiny_data: Path, teacher_path, tmp_path: Path) -> None:
    given = {"imgsz": 64, "epochs": 1, "batch": 4, "workers": 0, "format": "torchscript", "sparse.epochs": 0}
    kept = names_in(tiny_data)[1]
    table = compress(
        project=str(tmp_path), name="run", weights=str(teacher_path), data=str(tiny_data), classes=kept,
        **{"prune.factor": 0.2, "retrain.epochs": 0, **given},
    )  # fmt: skip
    final = tmp_path / "run/weights/distill.pt"
    model, view = load_checkpoint(final)[0], data_for(load_checkpoint(final)[0], prepare_data(tiny_data))
    assert names_of(model) == {0: kept}
    assert [row.map50_95 for row in table] == [
        accuracy(path, view, 64) for path in (teacher_path, tmp_path / "run/weights/prune.pt", final)
    ]
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert [m["map50_95"] for m in report["models"]] == pytest.approx([row.map50_95 for row in table])
    assert all(set(m["classes"]) <= {kept} for m in report["models"])
    assert f"the classes that were kept: {kept}." in (tmp_path / "run/report.md").read_text()
