"""A run without labels: images and a checkpoint in, a smaller checkpoint, its exports and a page about it out."""

import json
from pathlib import Path

import pytest

from prune_model import PruneModel, compress, main
from ultralytics import YOLO
from ultralytics.slim.errors import InputError, SlimError
from ultralytics.slim.exporting import export
from ultralytics.slim.exporting.int8.ranges import split_for_ranges
from ultralytics.slim.recovery import recover as recovery
from ultralytics.slim.recovery.state import state_file
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stages import DISTILL, PRUNE, RECOVER, RETRAIN, SPARSE

from photos import draw_photos
from places import ROOT
from random_models import seeing
from task_data import make_task_data

SHIPPED = ROOT / "weights/diagram-yolov8n.pt"
GIVEN = {"weights": "seeing.pt", "imgsz": 160, "prune.flops": 0.5, "format": "torchscript", "recover.iterations": 3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return draw_photos(tmp_path_factory, 24)


@pytest.fixture(scope="module")
def original(photos, tmp_path_factory) -> Path:
    return seeing(photos, tmp_path_factory.mktemp("original") / "seeing.pt")


@pytest.fixture
def short(original, photos) -> dict:
    """The arguments of a run of seconds."""
    return {**GIVEN, "weights": str(original), "images": str(photos)}


def test_a_run_without_labels_prunes_and_recovers_alone():
    settings = RunSettings.read({**GIVEN, "images": "photos/", "recover.batch": 4, "lr0": 0.01})
    assert settings.stages == (PRUNE, RECOVER) and settings.data == ""
    assert settings.prune.options.images == settings.recover.images == "photos/"
    assert settings.recover.options == {"imgsz": 160, "device": None, "lr0": 0.01, "iterations": 3, "batch": 4}
    again = RunSettings.of_record(settings.recorded)
    assert again == settings and "recovery, torchscript export" in again.plan


def test_a_run_with_labels_recovers_where_it_is_asked_to():
    given = {"weights": "a.pt", "data": "a.yaml"}
    assert RunSettings.read(given).stages == (SPARSE, PRUNE, RETRAIN, DISTILL)
    settings = RunSettings.read({**given, "recover.iterations": 50})
    assert settings.stages == (SPARSE, PRUNE, RECOVER, RETRAIN, DISTILL)
    assert settings.recover.images == "a.yaml"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": "a.yaml"}, r"weights= .* with data= .* or, where nothing is labelled, with images="),
        ({"weights": ""}, "give weights="),
        ({"epochs": 5}, "epochs: with images= nothing is labelled"),
        ({"loss_type": "cwd"}, "loss_type: with images="),
        ({"mosaic": 0.0}, "mosaic: with images="),
        ({"retrain.epochs": 3}, r"retrain\.epochs: with images="),
        ({"recover.iterations": 0}, "iterations=0: expected a whole number from 1"),
        ({"recover.steps": 3}, "recover takes no steps="),
        ({"prune.flops": 2}, "flops"),
    ],
)
def test_what_needs_labels_is_refused(given, words):
    with pytest.raises(SlimError, match=words):
        RunSettings.read({**GIVEN, "images": "photos/", **given})


@pytest.mark.slow
def test_the_whole_way(photos, tmp_path, monkeypatch):
    """Here with a promise: one model is tried, and measured again in the end."""
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.slim.promise.search.TRIES", 1)
    given = {key: value for key, value in GIVEN.items() if key != "prune.flops"}
    given |= {"weights": SHIPPED, "keep": 0.2, "images": photos, "format": "onnx-int8"}
    words = [f"{key}={value}" for key, value in {**given, "prune.keep_iterations": 2}.items()]
    ranges = []
    monkeypatch.setattr(export, "split_for_ranges", lambda given: ranges.append(given) or split_for_ranges(given))
    assert main([*words, "name=mine"]) == 0
    assert ranges == [str(photos)], "all of them, not only those that the recovery kept back"
    folder = tmp_path / "runs/slim/mine"
    record = json.loads((folder / "run.json").read_text())
    assert list(record["stages"]) == ["prune", "recover"] and record["finished"]
    original, pruned, recovered = record["results"]["table"]
    assert original["map50_95"] > 0.95 and original["agreement"]["matched"][0] == 1
    assert pruned["map50_95"] <= recovered["map50_95"] + 0.02 and recovered["params"] < 0.6 * original["params"]
    page = (folder / "report.md").read_text()
    promise = record["results"]["promise"]
    assert promise.startswith("keep=0.2 is kept: the last model has") and f"{promise}." in page
    assert "There are no labels: mAP here is agreement" in page and "## Agreement with the original" in page
    assert "epochs=" not in page
    assert YOLO(folder / "weights/recover.pt").names == YOLO(SHIPPED).names
    assert (folder / "weights/recover_int8.onnx").is_file() and not list(folder.rglob(".*recovering*"))
    for name in ("recover.onnx", "recover_int8.onnx"):
        shape = onnxruntime.InferenceSession(folder / "weights" / name).get_inputs()[0].shape
        assert shape[-2:] == [160, 160], "the size of the run, not that which the original was trained at"
    assert not list(photos.rglob("*.txt")) and not list(photos.rglob("*.cache")), "the user's folder is left alone"
    assert len(list((folder / "agreement/images/val").iterdir())) == 2
    moved = folder.rename(tmp_path / "moved")
    assert main(["report", "folder=moved"]) == 0
    assert not json.loads((moved / "report.json").read_text())["missing"], "nothing of a moved run is lost"


@pytest.mark.slow
def test_an_interrupted_recovery_is_gone_on_with(short, tmp_path, monkeypatch):
    step, steps = recovery._Recovering._one_step, []

    def stopped(self, batch):
        if self.progress.step == 2:
            raise KeyboardInterrupt
        return step(self, batch)

    def counted(self, batch):
        steps.append(self.progress.step)
        return step(self, batch)

    monkeypatch.setattr(recovery._Recovering, "_one_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        compress(**{**short, "recover.iterations": 4, "project": str(tmp_path)})
    state = state_file(tmp_path / "run/weights/recover.pt")
    assert state.is_file()
    monkeypatch.setattr(recovery._Recovering, "_one_step", counted)
    table = compress(project=str(tmp_path), resume=True)
    assert steps == [2, 3] and not state.exists()
    assert [row.name for row in table] == ["original", "pruned", "recovered"]


@pytest.mark.slow
def test_a_dry_run_tells_the_time_of_both_stages(short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimate = compress(**short, dry_run=True)
    assert [row.stage for row in estimate][:2] == ["prune", "recover"] and estimate.seconds > 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_images_in_which_nothing_is_seen_are_refused(short, weights, tmp_path):
    import cv2
    import numpy as np

    for shade in range(0, 240, 20):
        (tmp_path / "blank").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"blank/{shade}.png"), np.full((64, 64, 3), shade, np.uint8))
    with pytest.raises(InputError, match="detects nothing in any of"):
        compress(**{**short, "weights": weights, "images": str(tmp_path / "blank"), "project": str(tmp_path / "runs")})


@pytest.mark.slow
def test_compare_tells_agreement_without_labels(original, photos, tmp_path):
    small = tmp_path / "small.pt"
    PruneModel(original).prune(flops=0.5, images=str(photos), imgsz=160, save_dir=small)
    table = PruneModel.compare({"before": original, "after": small}, imgsz=160, images=str(photos))
    assert table.header[-3:] == ("agreement", "found again", "other class")
    assert table[0].map50_95 is None and table[0].agreement.matched == (1, 1, 1) and table[1].agreement.value < 1
    assert "of its detections found again" in table.verdict and "mAP50-95 with the detections of before" in str(table)
    data = make_task_data(tmp_path / "boxes", "detect")
    with pytest.raises(InputError, match="has no class of"):
        PruneModel.compare({"a": original, "b": _other(tmp_path)}, data=str(data), imgsz=160, agreement=True)


def _other(folder: Path) -> Path:
    model = YOLO("yolov8n.yaml")
    model.save(folder / "other.pt")
    return folder / "other.pt"
