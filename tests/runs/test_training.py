"""One training of a checkpoint: what it starts from is what was given, and what it leaves is no larger."""

import pytest
import torch

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.errors import FailedError, InputError
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.runs import stage_work
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stage_work import make_models
from ultralytics.slim.runs.training import Trained, check_resumed, fit


def test_another_model_than_the_one_given_is_refused(weights, tiny_data, tmp_path):
    with pytest.raises(InputError, match="model=yolo11n.yaml: the model that is trained is weights="):
        fit(weights, tmp_path / "out.pt", {"data": str(tiny_data), "model": "yolo11n.yaml"})
    with pytest.raises(InputError, match="resume=other/last.pt is not weights=.*: weights=other/last.pt resume=True"):
        PruneModel(weights).train(tmp_path / "out.pt", data=str(tiny_data), resume="other/last.pt")
    check_resumed(weights, weights)
    check_resumed(True, weights)
    assert not list(tmp_path.iterdir())


def test_a_stage_that_undoes_the_pruning_ends_the_run(weights, tiny_data, tmp_path, monkeypatch):
    """Whatever the reason: the stage is not kept, and the message has both numbers."""

    def whole(start, out, arguments):
        YOLO("yolov8n.yaml", verbose=False).save(out)
        return Trained(out, tmp_path, {})

    monkeypatch.setattr(stage_work, "fit", whole)
    monkeypatch.setattr(
        stage_work, "prune_checkpoint", lambda w, out, *_, **__: prune_model(YOLO(w), out, 0.5, score="l1")
    )
    settings = RunSettings.read({"weights": weights, "data": str(tiny_data), "sparse.epochs": 0, "epochs": 2})
    run = Run.start(tmp_path, "run", settings)
    with pytest.raises(
        FailedError, match=r"retrain: .*prune.pt has [\d,]+ parameters, .* 3,157,200: widths were not kept"
    ):
        make_models(run, str(tiny_data))
    assert list(run.stages) == ["prune"] and not (run.folder / "weights/retrain.pt").exists()


def test_other_classes_are_no_undone_pruning(weights, tmp_path):
    """A model of 80 classes has fewer parameters in its last layers once it is of two, and the other way round."""
    small = prune_model(YOLO(weights), tmp_path / "small.pt", 0.5, score="l1").model
    few = YOLO("yolov8n.yaml", verbose=False).model
    few = type(few)(few.yaml, nc=2, verbose=False)
    assert stage_work.has_grown(small, few) and not stage_work.has_grown(few, small)
    assert not stage_work.has_grown(small, small)
    with torch.no_grad():
        assert few(torch.zeros(1, 3, 64, 64)) is not None
