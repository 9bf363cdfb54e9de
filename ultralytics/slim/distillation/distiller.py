"""Distillation within one training run: teacher, hooks, losses, adapters and their optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist
from torch import nn

from ultralytics.utils import LOGGER, RANK

from ..compat import add_loss_items, hide_loss_items, unwrap_model
from ..logs import PREFIX
from ..losses.feature_loss import FeatureLoss
from ..losses.layer_losses import FEATURE_LOSSES
from ..losses.logit import LogitLoss, raw_predictions, shared_part
from ..settings import LOGIT, SlimSettings
from . import resolution
from . import teacher as teachers
from .matching import match_layers
from .schedule import schedule_weight
from .taps import FeatureTaps, Tap
from .unlabelled import UNLABELLED, mix_in

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

ADAPTER_LR = 1e-3
LOSS_ITEMS = ("distill_loss", "loss_ratio")  # in the progress bar, results.csv and results.png, which draws "loss"
LOGIT_WEIGHT = 1.0
UNMULTIPLIED = ("v8ClassificationLoss", "DETRLoss")


class Distiller:
    """Teacher, hooks, adapters and their optimizer for one training run.

    The teacher is frozen, in evaluation mode, fused, on the trainer's device, and outside optimizer, EMA, DDP and
    checkpoints. The adapters have an optimizer of their own: a parameter group added to the trainer's would break its
    scheduler.

    Attributes:
        adapter_lr: The adapters' learning rate at the start of the run; 0 leaves them as they were drawn.
    """

    def __init__(self, trainer: BaseTrainer, settings: SlimSettings, adapter_lr: float = ADAPTER_LR):
        self.trainer, self.settings, self.adapter_lr = trainer, settings, adapter_lr
        student = unwrap_model(trainer.model)
        teacher = teachers.load(settings.teacher, student)
        self.features = [n for n in settings.losses if n in FEATURE_LOSSES]
        self.logit = LOGIT in settings.losses
        self.pairs = match_layers(student, teacher, settings.distill_layers) if self.features else []
        self.losses = _build_losses(settings, self.features, self.pairs, student, teacher).to(trainer.device)
        self.teacher = teachers.freeze(teacher, trainer.device, _channels_last(student), keep_head=self.logit)
        self.student_taps = FeatureTaps(student, self._layers(student, [s for s, _ in self.pairs]))
        self.teacher_taps = FeatureTaps(self.teacher, self._layers(teacher, [t for _, t in self.pairs]), True)
        if settings.distill_imgsz:
            resolution.load_at(trainer, settings.distill_imgsz)
        if settings.unlabelled:
            mix_in(trainer, settings.unlabelled)
        self._labelled_items = None  # loss items of the labelled batch before an unlabelled one
        self._own_items = None  # how many the task's own loss has, where they are a tensor
        if RANK != -1:
            _broadcast(self.losses)
        parameters = list(self.losses.parameters())
        self.optimizer = torch.optim.AdamW(parameters, lr=adapter_lr, weight_decay=0.0) if parameters else None

    def _layers(self, model: nn.Module, taps: list[Tap]) -> list[int]:
        return [t.index for t in taps] + [len(model.model) - 1] * self.logit

    @property
    def on(self) -> bool:
        """Whether this epoch distils: the user may leave out the last epochs, which train without mosaic."""
        t = self.trainer
        return self.settings.distill_close_mosaic or t.epoch < t.epochs - t.args.close_mosaic

    def start_epoch(self, again: bool = False) -> None:
        """Set the hooks.

        Args:
            again: Whether the epoch is redone, after NaN or too little memory. Otherwise gradients that have not been
                stepped yet are carried over, as the student's are.
        """
        self.student_taps.features.clear()  # those of a batch that ran out of memory hold its graph
        if again and self.optimizer:
            self.optimizer.zero_grad()
        if self.on:
            self.student_taps.attach()

    def end_batches(self) -> None:
        """Remove the hooks; safe to call again."""
        self.student_taps.detach()
        hide_loss_items(self.trainer, self._own_items)

    def loss(self, batch: dict[str, Any], epoch_progress: float) -> torch.Tensor | float:
        """Return the weighted loss of this batch, times the batch size where the task's own loss has that factor.

        `loss_items` gets it as `distill_loss`, per image like the other items, and its share of the task's own loss as
        `loss_ratio`. Of an unlabelled batch the task's own loss is taken off again: without labels it would teach that
        nothing is there. Its items are those of the labelled batch before it.
        """
        trainer, images = self.trainer, batch["img"]
        factor = batch_factor(getattr(unwrap_model(trainer.model), "criterion", None), len(images))
        seen = batch.get(resolution.TEACHER_IMAGES, images)
        per_image = self._per_image(seen, epoch_progress) if self.on else torch.zeros((), device=images.device)
        figure, own = per_image.detach(), trainer.loss
        if UNLABELLED in batch:
            trainer.loss_items, ratio = self._labelled_items
            self._own_items = add_loss_items(trainer, dict(zip(LOSS_ITEMS, (figure, ratio))))
            return per_image * factor - own
        ratio = figure * factor / own.detach()
        self._labelled_items = trainer.loss_items, ratio
        self._own_items = add_loss_items(trainer, dict(zip(LOSS_ITEMS, (figure, ratio))))
        return per_image * factor

    def _per_image(self, images: torch.Tensor, epoch_progress: float) -> torch.Tensor:
        student = self.student_taps.pop()
        whole = resolution.padded(images, int(max(getattr(self.teacher, "stride", [1]))))
        teacher = teachers.features(self.teacher_taps, whole)
        total = torch.zeros((), device=images.device)
        for name in self.features:
            n = len(self.pairs)
            maps = [resolution.uncovered(x, images, t.stride) for x, (_, t) in zip(teacher, self.pairs)]
            aligned = resolution.to_grid(maps, student[:n])
            total = total + FEATURE_LOSSES[name].weight * self.losses[name](student[:n], aligned)
        if self.logit:
            heads = unwrap_model(self.trainer.model).model[-1], self.teacher.model[-1]
            ours, theirs = (raw_predictions(found[-1], head) for found, head in zip((student, teacher), heads))
            if whole is not images:
                theirs = resolution.uncovered_predictions(theirs, images, heads[1].stride.tolist())
            total = total + LOGIT_WEIGHT * self.losses[LOGIT](ours, theirs)
        trainer = self.trainer
        run_progress = (trainer.epoch + epoch_progress) / max(trainer.epochs, 1)
        weight = schedule_weight(self.settings.distill_schedule, run_progress, epoch_progress)
        return self.settings.distill_weight * weight * total

    def step_adapters(self) -> None:
        """Average the adapters' gradients over ranks, then step them at the trainer's place in its schedule."""
        if self.optimizer is None or not self.on:
            return
        trainer = self.trainer
        average_gradients(self.losses)  # first: one rank's overflow is to be seen by the scalers of all
        trainer.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.losses.parameters(), max_norm=10.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.adapter_lr * trainer.lf(trainer.epoch)
        if norm.isfinite():  # else the trainer recovers its model from last.pt, and the adapters stay as they were
            trainer.scaler.step(self.optimizer)
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: adapters, generators and their optimizer."""
        return {
            "losses": self.losses.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the adapters where they have the same shapes; another teacher may need other adapters."""
        try:
            self.losses.load_state_dict(state["losses"])
        except RuntimeError:
            LOGGER.warning(f"{PREFIX}the saved adapters do not fit this teacher, they start afresh")
            return
        if self.optimizer and state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])


def batch_factor(criterion: Any, images: int) -> int:
    """Return what the task's criterion multiplies its mean over the batch by: the number of images, or 1.

    Those of classification (cross entropy) and of RT-DETR (a sum divided by the number of objects) are not multiplied.
    They are known by their names: to import RT-DETR's takes SciPy, which another task does without.
    """
    kinds = {kind.__name__ for kind in type(criterion).__mro__}
    return images if kinds.isdisjoint(UNMULTIPLIED) else 1


def _build_losses(
    settings: SlimSettings, names: list[str], pairs: list[tuple[Tap, Tap]], student: nn.Module, teacher: nn.Module
) -> nn.ModuleDict:
    channels_s, channels_t = [s.channels for s, _ in pairs], [t.channels for _, t in pairs]
    strides = [t.stride for _, t in pairs]
    losses = {n: FeatureLoss(channels_s, channels_t, n, strides, settings.options) for n in names}
    if LOGIT in settings.losses:
        part = shared_part(student, teacher)
        losses[LOGIT] = LogitLoss(settings.options.tau, part.bins, part.classes, part.levels)
    return nn.ModuleDict(losses)


def _channels_last(student: nn.Module) -> bool:
    """Return whether the teacher should compute in that memory format: on a CPU always, where it is the faster one."""
    weight = next(student.parameters())
    return weight.device.type == "cpu" or weight.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _broadcast(module: nn.Module) -> None:
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def average_gradients(module: nn.Module) -> None:
    """Replace the gradients of a module by their mean over the ranks, where there are several."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    for p in module.parameters():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()
