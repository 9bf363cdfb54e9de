"""Train a checkpoint as Ultralytics does, keep the best of it whole, and say what came of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER

from .. import logs
from ..errors import InputError, translated
from ..fewer_classes import data_for
from ..files import copy_whole
from ..inputs.data import prepare_data
from ..inputs.places import SHIPPED_DATA, read_yaml
from ..inputs.weights import check_checkpoint_path, open_model
from ..loading import load_checkpoint
from ..settings import TRAIN_ARGS, SlimSettings
from ..stored import check_finite, infinite_in

# What this project's trainings start from where nothing else is asked for.
TRAINING: Mapping[str, Any] = MappingProxyType(
    {"data": SHIPPED_DATA, "imgsz": 640, "batch": 20, "workers": 4, "amp": False, "device": None}
)
# `optimizer=auto` would ignore lr0, so distillation names its optimizer; AdamW's biases must not start at lr 0.1.
FINE_TUNING: Mapping[str, Any] = MappingProxyType(
    {"lr0": 0.001, "optimizer": "AdamW", "momentum": 0.9, "warmup_bias_lr": 0.0}
)


def gently(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a distillation, completed by `FINE_TUNING` unless they name an optimizer."""
    return {**({} if "optimizer" in arguments else FINE_TUNING), **arguments}


@dataclass(frozen=True)
class Trained:
    """The outcome of a training: the kept checkpoint, Ultralytics' own folder of the run, and its final measures."""

    path: Path
    folder: Path
    metrics: Mapping[str, float]

    def __str__(self) -> str:
        named = {key.removeprefix("metrics/"): value for key, value in self.metrics.items() if "metrics/" in key}
        measures = ", ".join(f"{name} {value:.4f}" for name, value in named.items())
        return f"{self.path} ({measures}; curves and logs in {self.folder})"

    __repr__ = __str__


def fit(weights: str | Path, save_dir: str | Path, arguments: Mapping[str, Any]) -> Trained:
    """Train a checkpoint and keep the best of the run as `save_dir`.

    Args:
        weights: The checkpoint to start from.
        save_dir: The .pt file to write; it may be the same.
        arguments: Training arguments of Ultralytics and of this fork; what is not among them is as in `TRAINING`.

    Raises:
        SlimError: A bad argument, data set or teacher.
        KeyboardInterrupt: It was stopped; the log says where the last whole epoch is.
    """
    path, model = check_checkpoint_path(save_dir), open_model(weights)
    check_start(arguments)
    check_finite(model.model, str(weights))
    arguments = {**TRAINING, **arguments}
    arguments["data"] = data_for(model.model, prepare_data(arguments["data"], task=model.task))
    try:
        with translated():
            metrics = model.train(**arguments)
    except KeyboardInterrupt:
        if model.trainer and model.trainer.last.exists():  # none where it stopped while being made
            LOGGER.info(f"\nthe last whole epoch is kept in {model.trainer.last}")
        raise
    trainer = model.trainer
    copy_whole(trainer.best if trainer.best.exists() else trainer.last, path)
    if broken := infinite_in(load_checkpoint(path)[0]):
        LOGGER.warning(f"{path} has weights that are NaN or infinite: {', '.join(broken)}; the training diverged")
    trained = Trained(path, trainer.save_dir, getattr(metrics, "results_dict", metrics or {}))
    LOGGER.info(f"saved {trained}")
    return trained


def check_start(arguments: Mapping[str, Any], pruned: bool = False) -> None:
    """Raise InputError where an argument would train another network than that of the weights that are given.

    Args:
        arguments: Of a training.
        pruned: Whether it is of weights that are pruned by then, before they exist.
    """
    if "model" in arguments:
        raise InputError(f"model={arguments['model']}: the model that is trained is weights=; leave model= out")
    given = arguments if "pretrained" in arguments or not arguments.get("cfg") else read_yaml(Path(arguments["cfg"]))
    if pruned and given.get("pretrained", True) not in (True, None):
        raise InputError(
            f"pretrained={given['pretrained']} would train the original's widths again once the model is pruned; leave "
            "it out, or give it for the sparse training alone: sparse.pretrained="
        )


def check_resumed(resume: object, weights: str | Path) -> None:
    """Raise InputError where a training is to go on from another file than the weights that are given."""
    if isinstance(resume, (str, Path)) and Path(resume).resolve() != Path(weights).resolve():
        raise InputError(f"resume={resume} is not weights={weights}; to go on with it: weights={resume} resume=True")


def check_training(arguments: Mapping[str, Any], pruned: bool = False) -> None:
    """Raise a SlimError where Ultralytics or this fork would refuse an argument of a training, of a `pruned` model."""
    check_start(arguments, pruned=pruned)
    with translated():
        get_cfg(overrides={key: value for key, value in arguments.items() if key not in TRAIN_ARGS})
        if (name := arguments.get("optimizer", "auto")) != "auto":
            with logs.only(logging.ERROR):  # it tells what it made
                BaseTrainer.build_optimizer(None, nn.Conv2d(1, 1, 1), name)
    SlimSettings.from_args(dict(arguments))
