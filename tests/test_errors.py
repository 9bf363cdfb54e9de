"""Errors of users: which they are, that Ultralytics' own are among them, and that faults of a program are not."""

import pytest
import torch

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.utils import check_det_dataset
from ultralytics.slim.errors import (
    FailedError,
    InputError,
    KindError,
    MissingFileError,
    MissingPackageError,
    SlimError,
    UsageError,
    WriteError,
    translated,
)
from ultralytics.slim.files import write_text
from ultralytics.slim.runs.training import fit
from ultralytics.utils.torch_utils import select_device


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InputError, ValueError),
        (KindError, TypeError),
        (MissingFileError, FileNotFoundError),
        (MissingPackageError, ImportError),
        (FailedError, RuntimeError),
        (WriteError, OSError),
        (UsageError, ValueError),
    ],
)
def test_each_kind_is_also_the_builtin_one(kind, builtin):
    with pytest.raises(builtin, match="why") as caught:
        raise kind("why")
    assert isinstance(caught.value, SlimError)


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (lambda folder: get_cfg(overrides={"epochs": "many"}), TypeError),
        (lambda folder: get_cfg(overrides={"lr0": 7}), ValueError),
        (lambda folder: get_cfg(overrides={"nonsense": 1}), SyntaxError),
        (lambda folder: select_device("cuda:99" if torch.cuda.is_available() else "0"), ValueError),
        (lambda folder: check_det_dataset(str(folder / "nope.yaml")), FileNotFoundError),
        (lambda folder: (folder / "no/folder").write_text(""), FileNotFoundError),
    ],
)
def test_what_ultralytics_or_the_machine_refuses_is_the_users(tmp_path, check, kind):
    with pytest.raises(kind) as plain:
        check(tmp_path)
    with pytest.raises(kind) as caught, translated():
        check(tmp_path)
    assert isinstance(caught.value, SlimError) and not isinstance(plain.value, SlimError)
    assert str(caught.value) == str(plain.value) and caught.value.__cause__ is not None


class Particular(ValueError):
    """As some libraries have: made of more than it keeps."""

    def __init__(self, words: str, place: int):
        super().__init__(f"{words} at {place}")


def test_a_kind_that_cannot_be_made_again_keeps_its_words():
    with pytest.raises(InputError, match="^bad at 3$"), translated(ValueError):
        raise Particular("bad", 3)


def test_a_fault_inside_is_not_the_users():
    """A bug of a layer or of this package, whatever its kind, keeps its traceback."""
    for fault in (TypeError("a bug"), ValueError("a bug"), RuntimeError("a bug"), OSError("a bug")):
        with pytest.raises(type(fault)) as caught, translated():
            raise fault
        assert caught.value is fault
    with pytest.raises(ValueError) as caught, translated(ValueError):
        raise ValueError("of the user")
    assert isinstance(caught.value, SlimError)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SlimError, match="file"):
        write_text(tmp_path / "file/below.txt", "text")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "SDG"}, "SDG"),
        ({"freeze": 100}, "freeze"),
        ({"device": "cuda:99"}, "cuda:99|CUDA"),
        ({"imgsz": "large"}, "imgsz"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_a_training_that_ultralytics_refuses_is_the_users(tiny_data, tmp_path, given, message):
    YOLO("yolov8n.yaml").save(tmp_path / "start.pt")
    settings = {"data": str(tiny_data), "imgsz": 32, "epochs": 1, "batch": 2, "workers": 0, "device": "cpu"}
    with pytest.raises(SlimError, match=message):
        fit(tmp_path / "start.pt", tmp_path / "end.pt", {**settings, "project": str(tmp_path), "plots": False, **given})
    assert not (tmp_path / "end.pt").exists()


def test_a_bug_in_a_training_is_not_the_users(tiny_data, tmp_path, monkeypatch):
    """Of the very kind that Ultralytics raises for bad input."""

    def broken(self, x, *args, **kwargs):
        raise TypeError("a bug")

    YOLO("yolov8n.yaml").save(tmp_path / "start.pt")
    monkeypatch.setattr("ultralytics.nn.modules.block.C2f.forward", broken)
    settings = {"imgsz": 32, "epochs": 1, "workers": 0, "device": "cpu", "project": str(tmp_path), "plots": False}
    with pytest.raises(TypeError, match="a bug") as caught:
        fit(tmp_path / "start.pt", tmp_path / "end.pt", {"data": str(tiny_data), **settings})
    assert not isinstance(caught.value, SlimError)
