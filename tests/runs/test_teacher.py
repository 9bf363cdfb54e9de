"""A run whose teacher is named: it teaches as it is, or after a training on the data."""

import json
from pathlib import Path

import pytest

from prune_model import compress
from ultralytics import YOLO
from ultralytics.slim.errors import InputError
from ultralytics.slim.report.run_folder import RunFolder
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stages import ORIGINAL
from ultralytics.utils import YAML

from short_runs import SHORT

GIVEN = {"weights": "a.pt", "data": "a.yaml", "teacher": "b.pt"}


def test_a_teacher_is_trained_where_its_epochs_are_given():
    assert RunSettings.read(GIVEN).teaching is None
    settings = RunSettings.read({**GIVEN, "teacher.epochs": 7, "teacher.lr0": 0.01, "batch": 3})
    assert settings.teaching.arguments["lr0"] == 0.01 and settings.teaching.arguments["batch"] == 3
    assert settings.plan.startswith("plan: training the teacher (7 epochs), sparse training")
    assert RunSettings.of_record(settings.recorded) == settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"teacher": "", "teacher.epochs": 3}, r"give teacher=, teacher\.epochs= and data="),
        ({"teacher.lr0": 0.1}, r"give teacher=, teacher\.epochs= and data="),
        ({"teacher.epochs": 0}, r"teacher\.epochs=0: expected a whole number from 1"),
        ({"data": "", "images": "photos", "teacher.epochs": 3}, r"teacher\.epochs: with images="),
    ],
)
def test_bad_settings_are_told(given, words):
    with pytest.raises(InputError, match=words):
        RunSettings.read({**GIVEN, **given})


def test_a_teacher_of_another_task_is_refused(weights, tiny_data, tmp_path):
    YOLO("yolov8n-seg.yaml").save(tmp_path / "seg.pt")
    with pytest.raises(InputError, match="its task is segment, that of weights= detect"):
        compress(str(tmp_path), weights=weights, data=str(tiny_data), teacher=str(tmp_path / "seg.pt"), **SHORT)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_teacher_is_trained_first_and_then_teaches(weights, teacher_path, tiny_data, tmp_path, log):
    left_out = {"sparse.epochs": 0, "retrain.epochs": 0, "format": "torchscript", "prune.images": None}
    settings = {**SHORT, **left_out, "epochs": 1, "teacher.epochs": 1, "loss_type": "cwd"}
    compress(str(tmp_path), weights=weights, data=str(tiny_data), teacher=str(teacher_path), **settings)
    folder = Path(tmp_path, "run").resolve()
    record = json.loads((folder / "run.json").read_text())
    assert list(record["stages"]) == ["teacher", "prune", "distill"] and len(record["origin"]) == 2
    assert YAML.load(folder / "distill/args.yaml")["Distillation"] == str(folder / "weights/teacher.pt")
    assert RunFolder(folder).weights()[ORIGINAL] == Path(weights).resolve()
    facts = json.loads((folder / "report.json").read_text())
    assert facts["inputs"]["teacher"] == teacher_path.name
    assert [model["name"] for model in facts["models"]] == ["original", "pruned", "distilled"]
