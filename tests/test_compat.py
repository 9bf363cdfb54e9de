"""What differs between releases, in the form of the older ones; test_releases.py runs these themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultralytics import YOLO, models
from ultralytics.data import utils as data_utils
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim import compat
from ultralytics.utils import torch_utils


def test_options_that_the_releases_suppression_lacks_are_left_out(monkeypatch):
    monkeypatch.setattr(compat, "suppress", lambda prediction, conf=0.5, nc=0: [conf, nc])
    monkeypatch.setattr(compat, "NMS_OPTIONS", ("prediction", "conf", "nc"))
    assert compat.non_max_suppression(torch.zeros(1), 0.1, nc=2, rotated=False, end2end=True) == [0.1, 2]


def test_no_other_exporter_of_onnx_is_chosen_by_torch(monkeypatch):
    """Unless the release itself names one; and an error leaves torch as it was."""

    def export(model, dynamo=True):
        return dynamo

    monkeypatch.setattr(torch.onnx, "export", export)
    with compat.onnx_by_torchscript():
        assert not torch.onnx.export(None) and torch.onnx.export(None, dynamo=True)
    with pytest.raises(RuntimeError), compat.onnx_by_torchscript():
        raise RuntimeError
    assert torch.onnx.export is export


def test_labels_are_checked_by_as_many_rules_as_the_release_has(monkeypatch):
    seen = []

    def seven(asked):
        image, label, prefix, keypoints, classes, count, width = asked
        seen.append(asked)
        return [image, label]

    def eight(asked):
        *first, single = asked
        seen.append(asked)
        return first[:2]

    for verify in (seven, eight):
        monkeypatch.setattr(data_utils, "verify_image_label", verify)
        assert compat.verify_label(Path("a.png"), Path("a.txt"), False, 2, 0, 0) == ["a.png", "a.txt"]
    assert [len(asked) for asked in seen] == [7, 8] and seen[1] == (*seen[0], False)


def test_a_clock_without_a_device(monkeypatch):
    monkeypatch.setattr(torch_utils, "time_sync", lambda: 7.0)
    monkeypatch.setattr(compat, "TAKES_DEVICE", False)
    assert compat.time_sync(torch.device("cpu")) == 7.0


def test_classes_of_data_that_is_not_read_yet(tiny_data):
    """8.0.x announces a validation before it reads the data."""
    names = {0: "box", 1: "disc"}
    early = SimpleNamespace(data=None, args=SimpleNamespace(data=str(tiny_data)))
    assert compat.validated_names(early) == compat.validated_names(SimpleNamespace(data={"names": names})) == names


def test_objects_by_class_are_with_the_metrics():
    for metrics in (SimpleNamespace(), SimpleNamespace(nt_per_class=[3, 4])):
        compat.keep_counts(SimpleNamespace(metrics=metrics, nt_per_class=[3, 4]))
        assert metrics.nt_per_class == [3, 4]


def test_an_older_checkpoints_model_knows_its_branch():
    """Its head says so; of a model that says it itself nothing changes."""
    model = nn.Module()
    model.model = nn.ModuleList([nn.Identity()])
    assert compat.complete(model).end2end is False
    del model.end2end
    model.model[-1].end2end = True
    assert compat.complete(model).end2end is True
    model.end2end = False
    assert compat.complete(model).end2end is False


def test_int8_is_asked_for_as_the_release_asks(monkeypatch):
    assert compat.int8_options() == {"quantize": 8} and "onnx" in compat.int8_formats()
    monkeypatch.setattr(compat.utils, "DEFAULT_CFG_DICT", {"int8": False})
    monkeypatch.delattr("ultralytics.engine.exporter.INT8_FORMATS")
    assert compat.int8_options() == {"int8": True}
    assert "openvino" in compat.int8_formats() and "onnx" not in compat.int8_formats()


def test_bars_of_a_release_without_its_own(monkeypatch):
    assert callable(compat.own_bars().is_noninteractive_console)
    monkeypatch.setattr(compat.utils, "tqdm", SimpleNamespace(tqdm=None))
    assert compat.own_bars() is not compat.utils.tqdm and compat.own_bars().is_noninteractive_console is None


def test_a_forks_own_class_is_known_by_its_network(weights, monkeypatch):
    """Such as YOLOv10 of the fork that brought it; those that YOLO has stay YOLO's."""

    class Net(DetectionModel):
        pass

    class Own(YOLO):
        @property
        def task_map(self):
            return {"detect": {"model": Net, "validator": DetectionValidator}}

    network = YOLO(weights).model
    assert compat.own_class(network) is None and compat.own_class(nn.Linear(1, 1)) is None
    network.__class__ = Net
    assert compat.own_class(network) is None
    monkeypatch.setattr(models, "Own", Own, raising=False)
    assert compat.own_class(network) == (Own, {"model": Net, "validator": DetectionValidator})
