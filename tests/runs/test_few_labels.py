"""A run with few labels and other images beside them, on which the teacher alone teaches."""

import json
from pathlib import Path

import pytest

from prune_model import compress
from ultralytics.slim.errors import InputError, MissingFileError
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.utils import YAML

from photos import draw_photos
from short_runs import SHORT

GIVEN = {"weights": "a.pt", "data": "a.yaml", "unlabelled": "photos"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return draw_photos(tmp_path_factory, 12)


def test_trainings_on_the_few_labels_alone_are_left_out_unless_asked_for():
    settings = RunSettings.read(GIVEN)
    assert [stage.name for stage in settings.stages] == ["prune", "recover", "distill"]
    assert settings.loss_type == "logit+mgd" and settings.distill.arguments["distill_schedule"] == "constant"
    assert settings.distill.arguments["unlabelled"] == "photos"
    assert settings.prune.options.images == settings.all_images == ["a.yaml", "photos"]
    assert "100 epochs, also on images without labels" in settings.plan
    own = RunSettings.read({**GIVEN, "recover.iterations": 0, "loss_type": "cwd", "distill.distill_schedule": "run"})
    assert [stage.name for stage in own.stages] == ["prune", "distill"]
    assert own.loss_type == "cwd" and own.distill.arguments["distill_schedule"] == "run"
    asked = RunSettings.read({**GIVEN, "retrain.epochs": 3, "unlabelled": ["b", "c"], "recover.iterations": 5})
    assert [stage.name for stage in asked.stages] == ["prune", "recover", "retrain", "distill"]
    assert "unlabelled" not in asked.retrain.arguments and asked.recover.images == ["a.yaml", "b", "c"]
    assert RunSettings.of_record(json.loads(json.dumps(dict(asked.recorded)))) == asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": "", "images": "photos"}, r"unlabelled: with images= nothing is labelled"),
        ({"retrain.unlabelled": "photos"}, r"retrain\.unlabelled: expected STAGE\.key"),
        ({"distill.distill_close_mosaic": False}, r"needs distill_close_mosaic=True"),
    ],
)
def test_bad_settings_are_told(given, words):
    with pytest.raises(InputError, match=words):
        RunSettings.read({**GIVEN, **given})


def test_a_folder_that_is_not_there_is_told_before_anything_is_made(weights, tiny_data, tmp_path):
    with pytest.raises(MissingFileError, match=r"unlabelled: .*none: no such folder"):
        compress(str(tmp_path), weights=weights, data=str(tiny_data), unlabelled=str(tmp_path / "none"), **SHORT)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_distillation_sees_both(weights, tiny_data, photos, tmp_path, log):
    settings = {**SHORT, "epochs": 1, "format": "torchscript", "loss_type": "cwd", "unlabelled": str(photos)}
    settings |= {"recover.iterations": 0}  # this model has learned nothing, so it detects nothing to teach
    given = {"weights": weights, "data": str(tiny_data), **settings}
    compress(str(tmp_path), **given)
    folder = Path(tmp_path, "run").resolve()
    record = json.loads((folder / "run.json").read_text())
    assert list(record["stages"]) == ["prune", "distill"]
    assert YAML.load(folder / "distill/args.yaml")["unlabelled"] == str(photos)
    assert "12 unlabelled images beside" in log.text
    assert record["settings"]["unlabelled"] == str(photos)
