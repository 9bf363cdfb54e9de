"""What the stages of a run do, one after the other, each from the checkpoint that the one before it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_num_params

from ..errors import FailedError
from ..inputs.data import is_data_set, prepare_data
from ..inputs.weights import open_model
from ..loading import load_checkpoint
from ..measuring.accuracy import accuracy
from ..promise.keep import prune_to_keep
from ..pruning.prune import prune_model
from ..pruning.result import PruneResult
from ..recovery.images import split_images
from ..recovery.pseudo_data import label_by, pseudo_data
from ..recovery.recover import Recovery, recover_model
from ..recovery.state import state_file
from ..widths import has_grown
from .record import Run
from .stage_settings import PruningSettings, RecoverySettings
from .stages import DISTILL, ORIGINAL, PRUNE, RECOVER, SPARSE, TEACHER
from .training import Trained, fit


def prune_checkpoint(
    weights: str | Path,
    save_dir: str | Path,
    pruning: PruningSettings,
    place: Mapping[str, Any] | None = None,
    is_last: bool = True,
) -> PruneResult:
    """Prune a checkpoint as a run or a user asks for it.

    Args:
        weights: The checkpoint to start from.
        save_dir: The .pt file to write.
        pruning: The goal, the options, and the training between the steps if there is one.
        place: Where that training's own folder goes, as Ultralytics' arguments.
        is_last: Whether nothing is trained after it.
    """
    options = pruning.options
    options = replace(options, images=_prepared(options.images))
    if pruning.promise:
        promise = pruning.promise
        promise = replace(promise, data=prepare_data(promise.data) if promise.data else "")
        return prune_to_keep(weights, save_dir, promise, options, is_last)
    if pruning.between:
        arguments = {**pruning.between, **(place or {})}
        options = replace(options, retrain=lambda checkpoint: fit(checkpoint, checkpoint, {"epochs": 50, **arguments}))
    return prune_model(open_model(weights), save_dir, pruning.factor, options)


def recover_checkpoint(start: Path, out: Path, teacher: Path, recovery: RecoverySettings) -> Recovery:
    """Recover a checkpoint as a run asks for it; what was interrupted is gone on with."""
    resume = state_file(out).is_file()
    images = _prepared(recovery.images)
    return recover_model(open_model(start), open_model(teacher), images, out, resume, **recovery.options)


def _prepared(images: Any) -> Any:
    """Return a source of images in which every data set has been made ready."""
    if isinstance(images, list):
        return [_prepared(part) for part in images]
    return prepare_data(images) if is_data_set(images) else images


def measured_on(run: Run) -> str:
    """Return the YAML of the data that a run's models are measured on, prepared.

    Of a run without labels it is made here: images that are kept back, labelled by the original.
    """
    settings = run.settings
    if not settings.images:
        return prepare_data(settings.data)
    data = pseudo_data(run.folder)
    if not data.is_file():
        held = split_images(settings.images, settings.recover.holdout, tell=False)[1]
        label_by(open_model(settings.weights), held, data.parent, settings.imgsz, settings.device)
    return str(data)


def make_models(run: Run, data: str) -> dict[str, Path]:
    """Do what has not been done of a run's stages; return the checkpoint of each model, in order, the original first.

    Args:
        run: The run.
        data: Its data YAML, prepared.
    """
    models = {ORIGINAL: Path(run.settings.weights)}
    teacher = _teacher(run, data)
    for stage in run.settings.stages:
        start = list(models.values())[-1]
        needed = [teacher] if teacher else [models[name] for name in stage.needs if name in models]
        models[stage.makes] = run.stage(stage.name, partial(_work, run, stage.name, start, needed, data))
    return models


def _teacher(run: Run, data: str) -> Path | None:
    """Return the teacher that was given, trained on the data first where that is asked for; None where none was."""
    settings = run.settings
    if not settings.teacher:
        return None
    teacher = Path(settings.teacher)
    if settings.teaching:
        arguments = dict(settings.teaching.arguments)
        teacher = run.stage(
            TEACHER.name, lambda out: fit(settings.teacher, out, {**arguments, **run.training(TEACHER.name)})
        )
    theirs, ours = (accuracy(path, data, settings.imgsz, settings.device) for path in (teacher, settings.weights))
    if settings.images:  # the truth is what the original detects
        LOGGER.info(f"teacher: {teacher}, which agrees with the original by mAP50-95 {theirs:.4f}")
    elif theirs <= ours:
        LOGGER.warning(
            f"teacher={teacher} is no better than the original (mAP50-95 {theirs:.4f} and {ours:.4f}), which teaches "
            "without teacher="
        )
    return teacher


def _work(
    run: Run, name: str, start: Path, needed: list[Path], data: str, out: Path
) -> Trained | PruneResult | Recovery:
    """Do one stage: write the checkpoint `out`."""
    settings = run.settings
    if name == PRUNE.name:
        pruning = settings.prune
        if settings.images and pruning.options.images == settings.images:
            learned = split_images(settings.images, settings.recover.holdout, tell=False)[0]
            pruning = replace(pruning, options=replace(pruning.options, images=learned))
        place = {"project": str(run.folder), "name": "prune_step"}
        return prune_checkpoint(start, out, pruning, place, is_last=run.settings.stages[-1] is PRUNE)
    if name == RECOVER.name:
        return recover_checkpoint(start, out, needed[0], settings.recover)
    arguments = dict(getattr(settings, name).arguments)
    if name == DISTILL.name:
        arguments["Distillation"] = str(_best(needed, data, settings.imgsz, settings.device))
    trained = fit(start, out, {**arguments, **run.training(name)})
    if name != SPARSE.name:
        _check_small(start, out, name)
    return trained


def _check_small(start: Path, out: Path, name: str) -> None:
    """Remove `out` and raise FailedError where a training left more parameters than it found: no pruning is left."""
    before, after = (load_checkpoint(path)[0] for path in (start, out))
    if has_grown(before, after):
        counts = [f"{get_num_params(model):,}" for model in (before, after)]
        out.unlink()
        raise FailedError(
            f"{name}: {start} has {counts[0]} parameters, the training left {counts[1]}: widths were not kept"
        )


def _best(teachers: list[Path], data: str, imgsz: int, device: object) -> Path:
    """Return the most accurate of the checkpoints that may teach."""
    accuracies = {path: accuracy(path, data, imgsz, device) for path in teachers}
    teacher = max(accuracies, key=accuracies.get)
    others = "".join(f" (the other {accuracies[path]:.4f})" for path in teachers if path != teacher)
    LOGGER.info(f"teacher: {teacher}, mAP50-95 {accuracies[teacher]:.4f}{others}")
    return teacher
