"""What the patched `engine/trainer.py` calls: the only file of slim that knows Ultralytics' trainer.

The seams, in the order in which a run meets them (see patches/):

    overrides = slim.read_overrides(overrides)   before the arguments are merged
    self.slim = slim.prepare(self)               model on its device, optimizer and EMA made
    self.slim.start_epoch()                      before the batches of an epoch: hooks set
    self.loss += self.slim.distillation_loss(…)  after the detection loss is summed
    self.slim.before_step(), .after_step()       around the optimizer's step
    self.slim.end_epoch()                        after the batches: hooks removed, figures logged
    @slim.closing                                on `train`: ranks counted before; nothing left behind, however it ends

    slim.resume_with(self.args, overrides)       at the end of check_resume: the teacher and folder that it goes on with
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch import nn

from ultralytics.utils import RANK

from . import ranks
from .distillation import preflight
from .distillation import teacher as teachers
from .distillation.distiller import Distiller
from .installation import warn_mixed
from .resuming import find_teacher, stay_with_checkpoint
from .saving import strip_whole
from .settings import TRAIN_ARGS, SlimSettings, as_word
from .sparsity.penalty import SparsityPenalty
from .training_run import TrainingRun, student_of
from .widths import check_kept

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

warn_mixed()  # here, where YOLO is imported: whoever only looks at slim is told nothing


class ResumeOverrides(dict):
    """The overrides of a resumed run, its new teacher aside: Ultralytics would call that argument ignored."""

    teacher: str | None = None


def read_overrides(overrides: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the overrides with a teacher that is a module replaced by the path of a temporary checkpoint.

    A module in the arguments would enter every checkpoint and could not be handed to DDP workers. Paths become
    absolute, so that the run can be resumed from another folder.

    Raises:
        InputError: On an unknown or contradictory setting.
        MissingFileError: If the teacher's file does not exist.
    """
    if not overrides or not any(k in overrides for k in TRAIN_ARGS):
        return overrides
    from ultralytics.engine.model import Model  # imports the trainer

    teacher = overrides.get("Distillation")
    teacher = teacher.model if isinstance(teacher, Model) else teacher
    is_module = isinstance(teacher, nn.Module)
    checked = {**overrides, "Distillation": "module" if is_module else _absolute(teacher)}
    if "unlabelled" in checked:
        checked["unlabelled"] = _absolute(checked["unlabelled"])
    if not overrides.get("resume"):  # the rest of the settings of a resumed run comes from its checkpoint
        settings = SlimSettings.from_args(checked)
        checked["Distillation"] = settings.teacher
        if settings.teacher and not is_module:
            teachers.require_file(settings.teacher)
        if settings.unlabelled:
            from .inputs.unlabelled import given_images  # imports the trainer

            given_images(settings.unlabelled, "unlabelled")  # raises where there are none
    if is_module:
        checked["Distillation"] = teachers.save_temporary(teacher)
    if not overrides.get("resume"):
        return checked
    resumed = ResumeOverrides({k: v for k, v in checked.items() if k != "Distillation"})
    resumed.teacher = checked["Distillation"]
    return resumed


def _absolute(value: Any) -> Any:
    """Return paths as absolute words; names of what is not there stay, and so does what is no path."""
    if isinstance(value, (list, tuple)):
        return [_absolute(part) for part in value]
    words = as_word(value)
    return os.path.abspath(words) if isinstance(words, str) and os.path.exists(words) else words


def resume_with(args: Any, overrides: dict[str, Any] | None) -> None:
    """Put the new teacher of a resumed run, if there is one, in the place of the one in its checkpoint.

    Else the one that a moved run took with it, if it is no longer where the checkpoint says. A run that was moved or
    copied goes on where it is, unless `save_dir=` names another folder.
    """
    given = overrides or {}
    is_resumed = args.resume or given.get("resume")  # what older releases save does not say so
    if is_resumed and not given.get("save_dir"):
        stay_with_checkpoint(args)
    if getattr(overrides, "teacher", None):
        args.Distillation = overrides.teacher
    elif is_resumed:
        find_teacher(args)


def prepare(trainer: BaseTrainer) -> TrainingRun:
    """Return the object that the trainer calls during this run; it does nothing where nothing was asked for."""
    ranks.share_folder(trainer)
    teachers.keep_temporary(trainer)
    model = student_of(trainer)
    check_kept(trainer, getattr(model, "student_model", model))  # Ultralytics' own distillation wraps it
    settings = SlimSettings.from_args(vars(trainer.args))
    distiller = Distiller(trainer, settings) if settings.losses else None
    penalty = SparsityPenalty(student_of(trainer), settings.sparsity) if settings.sparse else None
    run = TrainingRun(trainer, distiller, penalty)
    run.restore()
    if distiller:
        preflight.announce(distiller)
    return run


def closing(train: Callable) -> Callable:
    """Return the trainer's `train`, after which no hook and no temporary teacher is left, however it ended.

    Before it, the ranks of all machines are counted. Where it is defined, stripping checkpoints is made to leave whole
    files.
    """
    if strip := train.__globals__.get("strip_optimizer"):
        train.__globals__["strip_optimizer"] = strip_whole(strip)

    @wraps(train)
    def train_and_close(trainer: BaseTrainer, *args, **kwargs):
        ranks.count_all(trainer)
        try:
            return train(trainer, *args, **kwargs)
        finally:
            _close(trainer)

    return train_and_close


def _close(trainer: BaseTrainer) -> None:
    run = getattr(trainer, "slim", None)
    if run is not None:
        run.end_batches()
    teacher = getattr(trainer.args, "Distillation", None)
    if teachers.is_temporary(teacher) and RANK == -1:
        teachers.remove_temporary(teacher)
