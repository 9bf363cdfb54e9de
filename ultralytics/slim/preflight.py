"""The report before the first epoch of a distillation: who teaches whom, by what, and at what cost."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.callbacks import get_default_callbacks
from ultralytics.utils.torch_utils import get_flops

from .compat import unwrap_model
from .distiller import PREFIX, Distiller


def report(distiller: Distiller) -> None:
    """Log teacher, matched layers, adapters and the expected slow-down; warn of a teacher that is no better."""
    if RANK not in {-1, 0}:
        return
    trainer, settings = distiller.trainer, distiller.settings
    adapters = sum(p.numel() for p in distiller.losses.parameters())
    LOGGER.info(f"{PREFIX}distilling from {settings.teacher} with {'+'.join(settings.losses)}, {adapters:,} adapter parameters")
    for s, t in distiller.pairs:
        LOGGER.info(f"{PREFIX}student layer {s} <- teacher layer {t}")
    classes = [_classes(m) for m in (unwrap_model(trainer.model), distiller.teacher)]
    if classes[0] != classes[1]:
        LOGGER.info(f"{PREFIX}student and teacher have {classes[0]} and {classes[1]} classes: only features are compared")
    if slow_down := expected_slow_down(distiller):
        LOGGER.info(f"{PREFIX}a step costs about {slow_down:.2f} times that without distillation, counted in FLOPs")
    if settings.distill_check and not trainer.resume:
        _compare_accuracy(distiller)


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
        parts = [m for name in distiller.features for m in (distiller.losses[name].adapters[i], distiller.losses[name].losses[i])]
        weights = sum(p.numel() for part in parts for p in part.parameters() if p.ndim == 4)
        adapters += 2 * weights * (imgsz / t.stride) ** 2 / 1e9
    return 1 + (teacher + 3 * adapters) / (3 * student)  # a step is a forward and a backward of twice its cost


def _compare_accuracy(distiller: Distiller) -> None:
    """Measure teacher and student on the validation data, and warn of a teacher that is not better."""
    trainer = distiller.trainer
    if _classes(distiller.teacher) != trainer.data["nc"]:
        LOGGER.info(f"{PREFIX}the teacher's classes are not the data's, so its accuracy is not measured")
        return
    fitness = {who: _fitness(trainer, m) for who, m in (("teacher", distiller.teacher), ("student", trainer.model))}
    LOGGER.info(
        f"{PREFIX}fitness on the validation data before training: teacher {fitness['teacher']:.4f}, "
        f"student {fitness['student']:.4f} (distill_check=False skips this)"
    )
    if fitness["teacher"] <= fitness["student"]:
        LOGGER.warning(f"{PREFIX}the teacher is no better than the student: it may hold the student back")


def _fitness(trainer, model: nn.Module) -> float:
    """Return the fitness of a copy of the model (validating fuses it), mAP50-95 for a detector."""
    validator = trainer.get_validator()
    validator.callbacks = get_default_callbacks()  # the user's wait for the training itself
    validator.args.plots = validator.args.save_json = validator.args.compile = False
    return float(validator(model=deepcopy(unwrap_model(model)).eval())["fitness"])


def _classes(model: nn.Module) -> int | None:
    return getattr(model.model[-1], "nc", None)
