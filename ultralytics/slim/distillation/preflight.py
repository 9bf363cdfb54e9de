"""The report before the first epoch of a distillation: who teaches whom, by what, and at what cost."""

from __future__ import annotations

from copy import deepcopy
from math import nan
from typing import TYPE_CHECKING

from torch import nn

from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.callbacks import get_default_callbacks
from ultralytics.utils.torch_utils import get_flops

from ..classes import LabelNumbers, Names, listed, names_of, pair_classes, validate_by_name
from ..compat import unwrap_model
from ..logs import PREFIX
from . import teacher as teachers
from .distiller import Distiller

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def announce(distiller: Distiller) -> None:
    """Log teacher, matched layers, adapters and the expected slow-down; warn of a teacher that is no better.

    Every rank must call this: validation gathers from all of them.
    """
    if RANK in {-1, 0}:
        _log_plan(distiller)
    if distiller.settings.distill_check and not distiller.trainer.resume:
        if distiller.settings.unlabelled and RANK in {-1, 0}:
            _tell_seen(distiller)
        compare_accuracy(distiller)


def _log_plan(distiller: Distiller) -> None:
    trainer, settings = distiller.trainer, distiller.settings
    adapters = sum(p.numel() for p in distiller.losses.parameters())
    losses = "+".join(settings.losses)
    LOGGER.info(f"{PREFIX}distilling from {settings.teacher} with {losses}, {adapters:,} adapter parameters")
    for s, t in distiller.pairs:
        LOGGER.info(f"{PREFIX}student layer {s} <- teacher layer {t}")
    _log_classes(names_of(unwrap_model(trainer.model)), names_of(distiller.teacher), distiller.logit)
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
    student = get_flops(unwrap_model(distiller.trainer.model), imgsz)
    teacher = get_flops(distiller.teacher, distiller.settings.distill_imgsz or imgsz)
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
    teacher, student = (_fitness(trainer, m) for m in (distiller.teacher, trainer.model))
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
    validator = trainer.get_validator()
    validator.callbacks = get_default_callbacks()  # the user's wait for the training itself
    validate_by_name(validator, trainer.data["names"], names_of(unwrap_model(model)))
    validator.args.plots = validator.args.save_json = validator.args.compile = False
    return float(validator(model=deepcopy(unwrap_model(model)).eval()).get("fitness", nan))
