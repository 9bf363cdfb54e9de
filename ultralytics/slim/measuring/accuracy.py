"""Validate checkpoints as Ultralytics does, leaving no files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics import YOLO
from ultralytics.cfg import TASK2METRIC
from ultralytics.utils import LOGGER

from ..classes import BOX_TASKS, Names, names_of, validate_by_name
from ..compat import keep_counts, validated_names
from ..errors import translated
from ..fewer_classes import data_for, fewest_classes
from ..files import fingerprint
from ..inputs.weights import open_export, open_model
from .signal_stack import kept_signal_stack

if TYPE_CHECKING:
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import ClassifyMetrics, DetMetrics


def accuracy(weights: str | Path, data: str, imgsz: int = 640, device: Any = None, **val) -> float:
    """Return the task's main measure on the data's `val` split, mAP50-95 for a detector; leaves no files."""
    yolo, metrics = validate(weights, data, imgsz, device, **val)
    return float(metrics.results_dict[TASK2METRIC[yolo.task]])


@kept_signal_stack()
def file_accuracy(path: str | Path, original: YOLO, data: str, imgsz: int, device: Any = "cpu") -> float:
    """Return that measure of an exported file, whose images are all padded to one size.

    Args:
        path: The exported file or folder.
        original: The model it was exported from, which says which classes are which of the data's.
        data, imgsz, device: As for `accuracy`.
    """
    yolo = open_export(path, original)
    metrics = _metrics(yolo, original, str(path), data, imgsz, device, rect=False)
    return float(metrics.results_dict[TASK2METRIC[yolo.task]])


def shared_data(weights: Iterable[str | Path], data: str) -> str:
    """Return the data to compare checkpoints on: a view where classes were taken out of one of them."""
    return data_for(fewest_classes(open_model(path).model for path in weights), data)


@contextmanager
def measured_once() -> Iterator[None]:
    """Validate the same checkpoint on the same data only once within this context, whatever asks for it."""
    _remembered.set({})
    try:
        yield
    finally:
        _remembered.set(None)


_remembered: ContextVar[dict | None] = ContextVar("validations", default=None)


def validate(weights: str | Path, data: str, imgsz: int, device: Any = None, **val) -> tuple[YOLO, object]:
    """Return the model of a checkpoint and its Ultralytics metrics on the data's `val` split; leaves no files."""
    known = _remembered.get()
    if known is None:
        return _validate(weights, data, imgsz, device, **val)
    key = fingerprint(weights), str(data), imgsz, str(device), repr(val)
    if key not in known:
        known[key] = _validate(weights, data, imgsz, device, **val)
    return known[key]


def _by_name(validator: BaseValidator, names: Names, weights: str | Path) -> None:
    if warning := validate_by_name(validator, validated_names(validator), names).warning:
        LOGGER.warning(f"{weights}: {warning}")


def _validate(weights: str | Path, data: str, imgsz: int, device: Any, **val) -> tuple[YOLO, object]:
    yolo = open_model(weights)
    return yolo, _metrics(yolo, yolo, weights, data, imgsz, device, **val)


def _metrics(
    yolo: YOLO, original: YOLO, weights: str | Path, data: str, imgsz: int, device: Any, **val
) -> DetMetrics | ClassifyMetrics:
    data = data_for(original.model, data)
    if yolo.task in BOX_TASKS:  # of others Ultralytics knows the classes by their folders
        yolo.add_callback("on_val_start", partial(_by_name, names=names_of(original.model), weights=weights))
        yolo.add_callback("on_val_end", keep_counts)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"plots": False, "verbose": False, "workers": 0, **val}
        with translated():
            return yolo.val(data=data, imgsz=imgsz, device=device, save_dir=folder, **settings)
