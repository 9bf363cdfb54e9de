"""The front: models that get smaller one from the other, gone on with, trained further, and the page about them."""

import csv
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prune_model import front, main
from ultralytics.slim.errors import InputError, KindError, MissingFileError
from ultralytics.slim.front import front as module
from ultralytics.slim.front.front import Front
from ultralytics.slim.front.settings import SHARES, FrontSettings
from ultralytics.slim.loading import load_checkpoint
from ultralytics.utils import LOGGER

from photos import draw_photos
from random_models import seeing

QUICK = {"imgsz": 160, "score": "l1", "repair": "none", "device": "cpu", "iterations": 0, "shares": "0.6,0.3"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> str:
    return str(draw_photos(tmp_path_factory, 24))


@pytest.fixture(scope="module")
def original(photos, tmp_path_factory) -> Path:
    return seeing(Path(photos), tmp_path_factory.mktemp("original") / "seeing.pt")


@pytest.fixture(scope="module")
def said() -> Iterator[list[str]]:
    """What the log said while the front was made."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield lines
    LOGGER.removeHandler(handler)


@pytest.fixture(scope="module")
def made(photos, original, said, tmp_path_factory) -> Path:
    """A front without labels that was stopped in its second model, gone on with, and of which one learned further."""
    project = tmp_path_factory.mktemp("front")
    given = {"weights": str(original), "images": photos, "project": str(project), **QUICK}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Pruner, "prune", stopping_at(2, module.Pruner.prune))
        with pytest.raises(KeyboardInterrupt):
            front(**given)
    folder = project / "front"
    assert list(json.loads((folder / "front.json").read_text())["models"]) == ["60 %"]
    before = (folder / "weights/front-60.pt").stat().st_mtime_ns
    front(resume=str(folder))
    assert (folder / "weights/front-60.pt").stat().st_mtime_ns == before
    front(project=str(project), resume=True, train=0.3, iterations=1)
    return folder


def stopping_at(number, work):
    calls = []

    def stopping(*args, **kwargs):
        calls.append(1)
        LOGGER.warning("the same of every model")
        if len(calls) == number:
            raise KeyboardInterrupt
        return work(*args, **kwargs)

    return stopping


def test_each_is_pruned_from_the_one_before_it(made, original):
    whole, larger, smaller = (
        load_checkpoint(path)[0] for path in (original, made / "weights/front-60.pt", made / "weights/front-30.pt")
    )
    for before, after in ((whole, larger), (larger, smaller)):
        shapes = zip(before.state_dict().values(), after.state_dict().values())
        assert all(a <= b for before, after in shapes for b, a in zip(before.shape, after.shape))
    rows = {row["model"]: row for row in csv.DictReader((made / "front.csv").open())}
    assert list(rows) == ["original", "60 %", "30 %", "30 %, trained"]
    shares = [float(row["gflops"]) / float(rows["original"]["gflops"]) for row in rows.values()]
    assert shares == pytest.approx([1, 0.6, 0.3, 0.3], abs=0.03)
    assert (
        float(rows["original"]["agreement"]) > 0.95 > float(rows["30 %"]["agreement"]) and not rows["30 %"]["map50_95"]
    )


def test_a_warning_is_given_once(made, said):
    assert sum("the same of every model" in line for line in said) == 1


def test_the_page_is_whole_and_its_points_and_rows_belong_together(made):
    page = (made / "front.html").read_text()
    assert not re.search(r"(src|href)=\"?http", page) and "<script>" in page
    of_charts = [set(re.findall(r'<circle[^>]*data-key="([^"]+)"', chart)) for chart in page.split("<figure>")[1:]]
    rows = re.findall(r'<tr data-key="([^"]+)"', page)
    assert len(of_charts) == 3 and all(chart == set(rows) for chart in of_charts)
    assert rows == ["original", "60 %", "30 %", "30 %, trained"]
    assert f"resume={made} train=0.3 iterations=" in page
    markdown = (made / "front.md").read_text()
    assert all(f"pictures/front-{name}.svg" in markdown for name in ("latency", "size", "gflops"))
    assert {p.name for p in (made / "pictures").iterdir()} == {f"front-{n}.svg" for n in ("latency", "size", "gflops")}


def test_a_front_that_is_gone_on_with_keeps_its_settings(made, original, photos):
    with pytest.raises(InputError, match=r"was made with shares=\[0\.6, 0\.3\]"):
        front(resume=str(made), shares="0.5,0.2")
    with pytest.raises(InputError, match=r"train=0\.7: the front has 0\.6, 0\.3"):
        front(resume=str(made), train=0.7)
    with pytest.raises(InputError, match="needs labels"):
        front(resume=str(made), train=0.3, epochs=2)
    with pytest.raises(InputError, match="iterations=0: expected a whole number from 1"):
        front(resume=str(made), train=0.3, iterations=0)
    with pytest.raises(MissingFileError, match="no front in .*2"):
        front(project=str(made.parent), resume=True, name=2)
    with pytest.raises(MissingFileError, match="no front in"):
        front(resume=str(made.parent / "other"))
    with pytest.raises(InputError, match="give resume= its folder"):
        front(weights=str(original), images=photos, train=0.5)


def test_it_is_gone_on_with_in_the_words_that_started_it(made, original, photos, monkeypatch):
    monkeypatch.chdir(original.parent)
    words = {"weights": "seeing.pt", "images": photos, "imgsz": 150, "shares": "0.6,0.3"}
    assert Front.resume(made, words).settings.imgsz == 160


def test_labels_are_trained_on_by_epochs(made):
    settings = FrontSettings.of_record({"weights": "gone.pt", "data": "a.yaml", "imgsz": 64})
    labelled = Front(made, settings, "0123", json.loads((made / "front.json").read_text())["models"])
    with pytest.raises(InputError, match="for this one give epochs="):
        labelled.train(0.3, iterations=5)


def test_the_original_is_told_by_what_it_was_at_the_start(tmp_path):
    Front(tmp_path, FrontSettings.of_record({"weights": "gone.pt", "data": "a.yaml", "imgsz": 64}), "0123").save()
    assert json.loads((tmp_path / "front.json").read_text())["origin"] == "0123"


def test_a_damaged_record_is_told(made, tmp_path):
    (tmp_path / "front.json").write_text((made / "front.json").read_text()[:100])
    with pytest.raises(InputError, match=r"front\.json: expected the record of a front, but it is damaged"):
        front(resume=str(tmp_path))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"images": ""}, InputError, "give weights= .* and data="),
        ({"data": "a.yaml"}, InputError, "give weights= .* and data="),
        ({"shares": "0.5,0.8"}, InputError, "each model is cut from the last, so they fall"),
        ({"shares": "1.5"}, InputError, "expected shares of the GFLOPs between 0 and 1"),
        ({"shares": "half"}, InputError, "expected shares of the GFLOPs between 0 and 1"),
        ({"factor": 0.5}, InputError, "give shares="),
        ({"keep": 0.9}, InputError, "give shares="),
        ({"epochs": 3}, InputError, "with images= there are none"),
        ({"iterations": -1}, InputError, "iterations=-1: expected a whole number"),
        ({"mosaic": 0.0}, KindError, "front takes no mosaic unless it trains"),
        ({"classes": "sofa"}, InputError, "sofa"),
        ({"compare": "none.pt"}, MissingFileError, "compare=none.pt"),
    ],
)
def test_bad_arguments_leave_nothing(given, error, words, original, photos, tmp_path):
    with pytest.raises(error, match=words):
        front(project=str(tmp_path), **{"weights": str(original), "images": photos, **QUICK, **given})
    assert not list(tmp_path.iterdir())


def test_what_no_width_allows_ends_it(original, photos, tmp_path):
    given = {"weights": str(original), "images": photos, **QUICK, "shares": "0.3,0.001", "project": str(tmp_path)}
    front(**given)
    page = (tmp_path / "front/front.md").read_text()
    assert "It is no whole front: it ends above 0%" in page.replace(" %", "%") and "1 model, down to" in page


def test_it_has_a_default_of_seven_sizes(original, photos):
    settings = FrontSettings.read({"weights": str(original), "images": photos})
    assert settings.shares == SHARES and len(SHARES) == 7 and settings.pruning.images == photos
    assert FrontSettings.of_record(settings.recorded) == settings


def test_its_images_may_be_several_folders(original, photos):
    settings = FrontSettings.read({"weights": str(original), "images": (Path(photos), photos)})
    assert settings.images == settings.pruning.images == [photos, photos]
    with pytest.raises(InputError, match="^images must be a folder of images, or a list"):
        FrontSettings.read({"weights": str(original), "images": np.zeros((2, 8, 8, 3), np.uint8)})


@pytest.mark.slow
def test_with_labels_it_trains_by_distillation_and_measures_accuracy(tiny_data, tmp_path, monkeypatch):
    from ultralytics import YOLO
    from ultralytics.slim.pruning.checkpoint import save_checkpoint

    from random_models import randomised

    monkeypatch.chdir(tmp_path)
    for name, file in (("yolov8n.yaml", "two.pt"), ("yolo11n.yaml", "beside.pt")):
        yolo = randomised(name, nc=2)
        yolo.model.names = {0: "box", 1: "disc"}
        save_checkpoint(yolo.model.eval(), tmp_path / file, {})
    keys = {"weights": "two.pt", "data": tiny_data, "imgsz": 64, "shares": 0.5, "iterations": 0, "epochs": 1}
    keys |= {"batch": 4, "workers": 0, "score": "l1", "plots": False, "device": "cpu", "compare": "beside.pt"}
    assert main(["front", *[f"{key}={value}" for key, value in keys.items()]]) == 0
    folder = tmp_path / "runs/slim/front"
    rows = {row["model"]: row for row in csv.DictReader((folder / "front.csv").open())}
    assert list(rows) == ["original", "50 %", "beside"] and 'data-key="beside"' in (folder / "front.html").read_text()
    row = rows["50 %"]
    assert row["map50_95"] and (folder / "front-50/results.csv").is_file()
    assert "distill_loss" in (folder / "front-50/results.csv").read_text()
    assert YOLO(folder / "weights/front-50.pt").model.names == YOLO("two.pt").model.names
