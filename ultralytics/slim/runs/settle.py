"""Settle what the settings of a run say of files and sizes, by looking at them: once, before the run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..classes import BOX_TASKS
from ..distillation.taps import probe
from ..errors import InputError, SlimError
from ..inputs.data import as_yaml, find_data, prepare_data
from ..inputs.places import absolute
from ..inputs.references import check_references
from ..inputs.unlabelled import given_images
from ..inputs.weights import find_weights, open_model
from ..pruning.prune import check_for, image_size
from ..recovery.images import split_images
from ..recovery.loss import RecoveryLoss
from ..settings import SlimSettings
from .run_settings import RunSettings


def settled(settings: RunSettings) -> RunSettings:
    """Return the settings with absolute paths, and with the image size that the model can take.

    Raises:
        SlimError: A file that is missing or cannot be used, or a model of a task that has no boxes.
    """
    weights = find_weights(settings.weights)
    model = open_model(weights)
    if model.task not in BOX_TASKS:
        raise InputError(
            f"weights={settings.weights}: a run is for models that find boxes, and this one's task is {model.task}; "
            "take it through the stages one by one: sparse, prune, train, distill, compare, export"
        )
    found = {**_places(settings, _resolved), "imgsz": image_size(model.model, settings.imgsz)}
    if not Path(weights).is_file():
        found["weights"] = str(Path(model.model_name).resolve())  # where Ultralytics has downloaded it to
    check_for(model.model, settings.prune.factor, settings.prune.options)
    teacher = model
    if settings.teacher:
        teacher = open_model(found["teacher"])
        if teacher.task != model.task:
            raise InputError(f"teacher={settings.teacher}: its task is {teacher.task}, that of weights= {model.task}")
    if settings.recover:
        RecoveryLoss(model.model, teacher.model)  # raises where their predictions cannot be compared
    if settings.prune.promise:
        RecoveryLoss(model.model, model.model)
    if settings.distill:
        distilling = SlimSettings.from_args({**settings.distill.arguments, "Distillation": settings.weights})
        if distilling.distill_layers:
            probe(model.model, distilling.distill_layers)  # pruned or not, it has the same layers
    if settings.compare:
        check_references(found["compare"], found["weights"])
    if settings.images:
        split_images(settings.images, 1)
    else:
        prepare_data(settings.data)
    if settings.unlabelled:
        given_images(settings.unlabelled, "unlabelled")  # raises where there are none
    return settings.replaced(**found)


def as_recorded(settings: RunSettings) -> RunSettings:
    """Return the settings with image size and paths as `settled` records them; what is not there stays as it is."""
    found = _places(settings, _resolved_if_there)
    return settings.replaced(**found, imgsz=image_size(open_model(found["weights"]).model, settings.imgsz))


def _places(settings: RunSettings, resolve: Callable[[Callable[[str], str], str], str]) -> dict[str, Any]:
    """Return where everything is that the settings name, by their keys.

    Args:
        resolve: Takes a function that finds a file, and what it was given as; returns its absolute path.
    """
    found: dict[str, Any] = {"weights": resolve(find_weights, settings.weights)}
    if settings.teacher:
        found["teacher"] = resolve(partial(find_weights, key="teacher"), settings.teacher)
    if settings.compare:
        found["compare"] = [resolve(partial(find_weights, key="compare"), path) for path in settings.compare]
    if settings.images:
        found["images"] = absolute(settings.images)
    else:
        found["data"] = resolve(lambda data: as_yaml(find_data(data)), settings.data)
    if settings.unlabelled:
        found["unlabelled"] = absolute(settings.unlabelled)
    return found


def _resolved(find: Callable[[str], str], path: str) -> str:
    return str(Path(find(path)).resolve())


def _resolved_if_there(find: Callable[[str], str], path: str) -> str:
    with suppress(SlimError):
        return _resolved(find, path)
    return path
