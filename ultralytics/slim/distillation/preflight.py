"""The report before the first epoch of a distillation: who teaches whom, by what, and at what cost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from math import nan
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.callbacks import get_default_callbacks
from ultralytics.utils.torch_utils import get_flops

from ..classes import LabelNumbers, Names, listed, names_of, pair_classes, validate_by_name
from ..compat import unwrap_model
from ..errors import SlimError
from ..logs import PREFIX
from . import teacher as teachers
from .distiller import Distiller

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

WRITES = ("plots", "save_json", "save_txt", "save_conf", "save_crop", "save_hybrid")  # what a validator may write


def announce(distiller: Distiller) -> None:
    """Log teacher, matched layers, adapters and the expected slow-down; warn of a teacher that is no better.

    Nothing that is measured here changes the run, and what cannot be measured is only warned of. Every rank must call
    this: validation gathers from all of them.

    Raises:
        SlimError: What our own checks find, which the user can mend.
    """
    if RANK in {-1, 0}:
        _log_plan(distiller)
    if distiller.settings.distill_check and not distiller.trainer.resume:
        if distiller.settings.unlabelled and RANK in {-1, 0}:
            with _measuring("in how many of the unlabelled images the teacher detects anything"):
                _tell_seen(distiller)
        compare_accuracy(distiller)


@contextmanager
def _measuring(what: str) -> Iterator[None]:
    """Warn of what fails inside instead of ending the run; random numbers go on as if nothing had been drawn."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):  # no model draws in evaluation mode; loaders do, on the CPU
            yield
    except SlimError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        LOGGER.warning(f"{PREFIX}not measured: {what} ({type(error).__name__}: {reason}). The run goes on without it")
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _log_plan(distiller: Distiller) -> None:
    trainer, settings = distiller.trainer, distiller.settings
    adapters = sum(p.numel() for p in distiller.losses.parameters())
    losses = "+".join(settings.losses)
    LOGGER.info(f"{PREFIX}distilling from {settings.teacher} with {losses}, {adapters:,} adapter parameters")
    for s, t in distiller.pairs:
        LOGGER.info(f"{PREFIX}student layer {s} <- teacher layer {t}")
    _log_classes(names_of(unwrap_model(trainer.model)), names_of(distiller.teacher), distiller.logit)
    with _measuring("what a step costs"):
        if slow_down := expected_slow_down(distiller):
            LOGGER.info(f"{PREFIX}a step costs about {slow_down:.2f} times that without distillation, counted in FLOPs")


def _tell_seen(distiller: Distiller) -> None:
    """Say in how many of the unlabelled images the teacher detects anything."""
    from ..measuring.seen import tell_seen  # imports the trainer

    trainer = distiller.trainer
    teacher = teachers.load(distiller.settings.teacher, unwrap_model(trainer.model)).eval()  # whole, and not fused
    images = distiller.settings.unlabelled
    tell_seen(teacher, images, trainer.args.imgsz, trainer.data.get("channels", 3), f"{PREFIX}the teacher")


def _log_classes(ours: Names, theirs: Names, by_class: bool) -> None:
    """Say which classes student and teacher share, where these are not all, or not in the same order."""
    if ours == theirs:
        return
    pairs = pair_classes(ours, theirs)
    lacking = sorted(ours.keys() - dict(pairs).keys())
    counts = f"{PREFIX}student and teacher have {len(ours)} and {len(theirs)} classes, {len(pairs)} of them in common"
    if not by_class:
        LOGGER.info(f"{counts}: only features are compared")
    elif lacking:
        LOGGER.warning(
            f"{counts}: logit teaches these alone. The teacher does not know {listed(ours, lacking)}; its classes: "
            f"{listed(theirs)}"
        )
    elif pairs != [(number, number) for number in sorted(theirs)]:
        LOGGER.info(f"{counts}, paired by name")


def expected_slow_down(distiller: Distiller) -> float:
    """Return (plain step + teacher's forward + adapters' forward and backward) / plain step, in FLOPs; 0 if unknown.

    The teacher counts whole, though it may stop before its head.
    """
    imgsz = distiller.trainer.args.imgsz
    student = get_flops(_copy(distiller.trainer.model), imgsz)
    teacher = get_flops(_copy(distiller.teacher), distiller.settings.distill_imgsz or imgsz)
    if not student or not teacher:
        return 0.0
    adapters = 0.0
    for i, (_, t) in enumerate(distiller.pairs):
        losses = [distiller.losses[name] for name in distiller.features]
        parts = [m for loss in losses for m in (loss.adapters[i], loss.losses[i])]
        weights = sum(p.numel() for part in parts for p in part.parameters() if p.ndim == 4)
        adapters += 2 * weights * (imgsz / t.stride) ** 2 / 1e9
    return 1 + (teacher + 3 * adapters) / (3 * student)  # a step is a forward and a backward of twice its cost


def compare_accuracy(distiller: Distiller) -> None:
    """Measure teacher and student on the validation data, and warn of a teacher that is not better."""
    trainer = distiller.trainer
    lacking = LabelNumbers(trainer.data["names"], names_of(distiller.teacher)).missing
    if lacking:
        names = listed(trainer.data["names"], lacking)
        LOGGER.info(f"{PREFIX}the teacher does not know the data's {names}, so its accuracy is not measured")
        return
    if getattr(trainer, "test_loader", None) is None:
        return  # older releases validate on rank 0 alone, with all images
    with _measuring("the accuracy of teacher and student before training (distill_check)"):
        teacher, student = (_fitness(trainer, model) for model in (distiller.teacher, trainer.model))
        if RANK > 0:
            return
        LOGGER.info(
            f"{PREFIX}fitness on the validation data before training: teacher {teacher:.4f}, student {student:.4f} "
            "(distill_check=False skips this)"
        )
        if teacher <= student:
            LOGGER.warning(f"{PREFIX}the teacher is no better than the student: it may hold the student back")


def _fitness(trainer: BaseTrainer, model: nn.Module) -> float:
    """Return the fitness of a copy of the model (validating fuses it), mAP50-95 for a detector; NaN on ranks above 0.

    Each rank sees its share of the images, and rank 0 gathers what they found.
    """
    measured = _copy(model).eval()
    validator = _stand_in(trainer, measured).get_validator()
    validator.callbacks = get_default_callbacks()  # the user's wait for the training itself
    validate_by_name(validator, trainer.data["names"], names_of(measured))
    _write_nothing(validator.args)
    validator.args.compile = False
    return float(validator(model=measured).get("fitness", nan))


def _stand_in(trainer: BaseTrainer, model: nn.Module) -> BaseTrainer:
    """Return a copy of the trainer to be asked for a validator, which sets more of it than that (`loss_names`).

    Its model is the one that is measured; its arguments and whatever else is a plain container are copies, too.
    """
    stand_in = copy(trainer)
    for name, value in vars(trainer).items():
        if type(value) in (list, dict, set) or isinstance(value, SimpleNamespace):
            setattr(stand_in, name, copy(value))
    stand_in.model, stand_in.validator = model, None
    _write_nothing(stand_in.args)  # a validator makes folders when it is made
    return stand_in


def _write_nothing(args: Any) -> None:
    for name in WRITES:
        if hasattr(args, name):  # another would be unknown to the release
            setattr(args, name, False)


def _copy(model: nn.Module) -> nn.Module:
    """Return a copy whose weights lie as those of a new model do: older releases cannot fuse them in channels_last."""
    return deepcopy(unwrap_model(model)).to(memory_format=torch.contiguous_format)
