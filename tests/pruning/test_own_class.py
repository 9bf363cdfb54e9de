"""Models of a class of the user's own, which the table of `YOLO` lacks: pruned and trained by that class."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics import YOLO
from ultralytics.engine.model import Model
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim import prune_model
from ultralytics.slim.pruning.architectures import shake
from ultralytics.slim.widths import checkpoint_of, is_narrower
from ultralytics.utils.torch_utils import get_num_params


class OwnDetectionModel(DetectionModel):
    """As forks have them."""


class OwnTrainer(DetectionTrainer):
    """Trains the fork's own network."""

    trained: list[type] = []

    def get_model(self, cfg=None, weights=None, verbose=True):
        model = OwnDetectionModel(cfg, nc=self.data["nc"], verbose=verbose)
        if weights:
            model.load(weights)
        self.trained.append(type(model))
        return model


class Own(Model):
    """What stands beside `YOLO` in a fork."""

    @property
    def task_map(self):
        return {
            "detect": {
                "model": OwnDetectionModel,
                "trainer": OwnTrainer,
                "validator": DetectionValidator,
                "predictor": DetectionPredictor,
            }
        }


@pytest.fixture
def own() -> Own:
    made = Own("yolov8n.yaml", task="detect")
    shake(made.model)
    return made


def test_its_file_is_of_its_own_network(own: Own, tmp_path: Path) -> None:
    result = prune_model(own, tmp_path / "p.pt", 0.5, imgsz=64)
    loaded = Own(result.path)
    assert type(loaded.model) is OwnDetectionModel and type(YOLO(result.path).model) is OwnDetectionModel
    assert get_num_params(loaded.model) == result.params[1] < result.params[0]
    again = prune_model(loaded, tmp_path / "q.pt", 0.3, imgsz=64)
    assert again.params == (result.params[1], get_num_params(Own(again.path).model))


def test_a_module_that_was_assigned_to_it_counts_as_its_weights(own: Own, tmp_path: Path) -> None:
    own.model = prune_model(own, tmp_path / "p.pt", 0.5, imgsz=64).model
    assert is_narrower(own.model) and checkpoint_of(own, {})["model"] is own.model


@pytest.mark.slow
@pytest.mark.parametrize("given", ["file", "module"])
def test_it_trains_on_by_its_own_trainer_with_its_widths(own: Own, tiny_data: Path, tmp_path: Path, given: str) -> None:
    result = prune_model(own, tmp_path / "p.pt", 0.5, imgsz=64)
    if given == "file":
        own = Own(result.path)
    else:
        own.model = result.model
    OwnTrainer.trained.clear()
    keys = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "val": False, "verbose": False}
    own.train(data=str(tiny_data), epochs=1, project=str(tmp_path), name="run", **keys)
    last = Own(tmp_path / "run" / "weights" / "last.pt").model
    assert OwnTrainer.trained == [OwnDetectionModel] and type(last) is OwnDetectionModel
    assert is_narrower(last) and last.model[0].conv.weight.shape == result.model.model[0].conv.weight.shape
