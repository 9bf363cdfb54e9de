"""What the patched `engine/trainer.py` calls: the only file of slim that knows Ultralytics' trainer.

The seams, in the order in which a run meets them (see patches/):

    overrides = slim.read_overrides(overrides)   before the arguments are merged
    self.slim = slim.prepare(self)               model on its device, optimizer and EMA made
    self.slim.start_epoch()                      before the batches of an epoch: hooks set
    self.loss += self.slim.distillation_loss(…)  after the detection loss is summed
    self.slim.before_step(), .after_step()       around the optimizer's step
    self.slim.end_epoch()                        after the batches: hooks removed, figures logged
    slim.close(self)                             however the run ends
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist
from torch import nn

from ultralytics.utils import LOGGER, RANK, YAML, colorstr
from ultralytics.utils.torch_utils import unwrap_model

from .distill import FeatureLoss, FeatureTaps, Tap, match_layers, schedule_weight
from .losses import FEATURE_LOSSES
from .settings import TRAIN_ARGS, SlimSettings
from .sparsity import SparsityPenalty, decay, gamma_stats

PREFIX = colorstr("slim: ")
TEACHER_PREFIX = "slim-teacher-"  # temporary files of teachers that were passed as a module
ADAPTER_LR = 1e-3


def read_overrides(overrides: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the overrides with a teacher that is a module replaced by the path of a temporary checkpoint.

    A module in the arguments would enter every checkpoint and could not be handed to DDP workers.

    Raises:
        ValueError: On an unknown or contradictory setting.
        FileNotFoundError: If the teacher's file does not exist.
    """
    if not overrides or not any(k in overrides for k in TRAIN_ARGS):
        return overrides
    from ultralytics.engine.model import Model  # imports the trainer

    teacher = overrides.get("Distillation")
    teacher = teacher.model if isinstance(teacher, Model) else teacher
    is_module = isinstance(teacher, nn.Module)
    checked = {**overrides, "Distillation": "module" if is_module else teacher}
    if not overrides.get("resume"):  # the rest of the settings of a resumed run comes from its checkpoint
        settings = SlimSettings.from_args(checked)
        checked["Distillation"] = settings.teacher
        if settings.teacher and not is_module:
            _require_file(settings.teacher)
    if is_module:
        checked["Distillation"] = _save_teacher(teacher)
    return checked


def prepare(trainer) -> Slim:
    """Return the object that the trainer calls during this run; it does nothing where nothing was asked for."""
    settings = SlimSettings.from_args(vars(trainer.args))
    _keep_temporary_teacher(trainer, settings)
    settings = SlimSettings.from_args(vars(trainer.args))
    distiller = Distiller(trainer, settings) if settings.losses else None
    penalty = SparsityPenalty(_student(trainer), settings.sparsity) if settings.sparse else None
    if penalty:
        penalty.plan(_planned_weight(trainer, penalty))
    slim = Slim(trainer, distiller, penalty)
    slim.restore()
    return slim


def close(trainer) -> None:
    """Remove the hooks and the temporary teacher, however the run ended."""
    slim = getattr(trainer, "slim", None)
    if slim is not None:
        slim.end_batches()
    teacher = getattr(trainer.args, "Distillation", None)
    if teacher and RANK == -1 and Path(teacher).name.startswith(TEACHER_PREFIX):
        Path(teacher).unlink(missing_ok=True)


class Slim:
    """The distillation and the sparsity of one training run, either of which may be absent."""

    def __init__(self, trainer, distiller: Distiller | None, penalty: SparsityPenalty | None):
        self.trainer, self.distiller, self.penalty = trainer, distiller, penalty
        self.moved = 0.0  # Σ of the γ penalty's steps in this epoch
        if self.active:
            trainer.add_callback("on_model_save", lambda _: self.save())
            trainer.add_callback("on_train_end", lambda _: self._file.unlink(missing_ok=True))

    @property
    def active(self) -> bool:
        return self.distiller is not None or self.penalty is not None

    def start_epoch(self) -> None:
        """Set the hooks for the batches of an epoch; safe to call again when an epoch is restarted."""
        self.moved = 0.0
        if self.distiller:
            self.distiller.start_epoch()
        if self.penalty:
            _judge_from_the_last_third(self.trainer)

    def distillation_loss(self, batch: dict[str, Any], epoch_progress: float) -> torch.Tensor | float:
        """Return the weighted distillation loss of the batch just run, and add it to the trainer's loss items."""
        return self.distiller.loss(batch, epoch_progress) if self.distiller else 0.0

    def before_step(self) -> None:
        """Step the adapters; the trainer's gradients are unscaled and clipped, its optimizer has not stepped."""
        if self.distiller:
            self.distiller.step_adapters()

    def after_step(self) -> None:
        """Apply the γ penalty of one optimizer step."""
        if self.penalty:
            lr = _gamma_group(self.trainer, self.penalty)["lr"]
            self.moved += self.penalty.step(lr, _run_progress(self.trainer))

    def end_batches(self) -> None:
        """Remove the hooks; safe to call again."""
        if self.distiller:
            self.distiller.end_batches()

    def end_epoch(self) -> None:
        """Remove the hooks and add this epoch's figures to the row of results.csv."""
        self.end_batches()
        row = self.trainer.lr  # the trainer writes this dict beside losses and metrics
        if self.distiller:
            row["distill/ratio"] = self.distiller.ratio
        if self.penalty:
            row.update(gamma_stats(_student(self.trainer)))
            row["gamma/moved"] = self.moved
            _log_sparsity(row)

    @property
    def _file(self) -> Path:
        return self.trainer.wdir / "slim.pt"  # beside last.pt, which stays a stock checkpoint

    def save(self) -> None:
        """Write what a resumed run needs besides last.pt."""
        state = {
            "teacher": self.trainer.args.Distillation,
            "distiller": self.distiller.state_dict() if self.distiller else None,
            "gamma_rate": self.penalty.rate if self.penalty else None,
        }
        temporary = self._file.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._file)

    def restore(self) -> None:
        """Take up the adapters and the γ penalty of an interrupted run, when this run resumes one."""
        if not (self.active and self.trainer.resume):
            return
        if not self._file.exists():
            LOGGER.warning(f"{PREFIX}{self._file} is missing, so the adapters start afresh")
            return
        state = torch.load(self._file, map_location=self.trainer.device, weights_only=True)
        if self.penalty and state["gamma_rate"] is not None:
            self.penalty.rate = state["gamma_rate"]
        if self.distiller and state["distiller"] is not None:
            if state["teacher"] != self.trainer.args.Distillation:
                LOGGER.warning(f"{PREFIX}resuming with another teacher: {self.trainer.args.Distillation}")
            self.distiller.load_state_dict(state["distiller"])


class Distiller:
    """Teacher, hooks, adapters and their optimizer for one training run.

    The teacher is frozen, in evaluation mode, fused, on the trainer's device, and outside optimizer, EMA, DDP and
    checkpoints. The adapters have an optimizer of their own: a parameter group added to the trainer's would break its
    scheduler.
    """

    def __init__(self, trainer, settings: SlimSettings):
        self.trainer, self.settings = trainer, settings
        student = _student(trainer)
        teacher = _load_teacher(settings.teacher, student)
        self.pairs = match_layers(student, teacher, settings.distill_layers)
        self.teacher = _freeze(teacher, trainer)
        self.student_taps = FeatureTaps(student, [s.index for s, _ in self.pairs])
        self.teacher_taps = FeatureTaps(self.teacher, [t.index for _, t in self.pairs], stop_after_last=True)
        self.losses = _build_losses(settings.losses, self.pairs).to(trainer.device)
        if RANK != -1:
            _broadcast(self.losses)
        parameters = list(self.losses.parameters())
        self.optimizer = torch.optim.AdamW(parameters, lr=ADAPTER_LR, weight_decay=0.0) if parameters else None
        self._sums = torch.zeros(2, device=trainer.device)  # this epoch's distillation and detection loss
        _log_pairs(self.pairs, settings, self.losses)

    def start_epoch(self) -> None:
        """Set the hooks and start this epoch's figures; safe to call again."""
        self.student_taps.attach()
        self._sums.zero_()

    def end_batches(self) -> None:
        """Remove the hooks; safe to call again."""
        self.student_taps.detach()

    def loss(self, batch: dict[str, Any], epoch_progress: float) -> torch.Tensor:
        """Return the weighted loss of this batch, times the batch size as the detection loss has it.

        `loss_items` gets it as `distill_loss`, per image like the other items.
        """
        images = batch["img"]
        student = self.student_taps.pop()
        teacher = self.teacher_taps.run(images)
        weight = schedule_weight(
            self.settings.distill_schedule, _run_progress(self.trainer, epoch_progress), epoch_progress
        )
        per_image = weight * sum(self._gain(n) * self.losses[n](student, teacher) for n in self.settings.losses)
        trainer = self.trainer
        self._sums += torch.stack([per_image.detach(), trainer.loss.detach() / len(images)])
        trainer.loss_items = {**trainer.loss_items, "distill_loss": per_image.detach()}
        return per_image * len(images)

    @property
    def ratio(self) -> float:
        """The epoch's mean distillation loss as a share of its mean detection loss."""
        distillation, detection = self._sums.tolist()
        return distillation / detection if detection else 0.0

    def step_adapters(self) -> None:
        """Average the adapters' gradients over ranks, then step them at the trainer's place in its schedule."""
        if self.optimizer is None:
            return
        trainer = self.trainer
        trainer.scaler.unscale_(self.optimizer)
        _average_gradients(self.losses)
        torch.nn.utils.clip_grad_norm_(self.losses.parameters(), max_norm=10.0)
        for group in self.optimizer.param_groups:
            group["lr"] = ADAPTER_LR * trainer.lf(trainer.epoch)
        trainer.scaler.step(self.optimizer)
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
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

    def _gain(self, name: str) -> float:
        weight = self.settings.distill_weight
        return FEATURE_LOSSES[name].weight if weight is None else weight


def _student(trainer) -> nn.Module:
    return unwrap_model(trainer.model)


def _run_progress(trainer, epoch_progress: float = 0.0) -> float:
    return (trainer.epoch + epoch_progress) / max(trainer.epochs, 1)


def _require_file(path: str) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"teacher '{path}' does not exist. Distillation= takes the path of a checkpoint (.pt), a YOLO object or a "
            "module."
        )


def _save_teacher(module: nn.Module) -> str:
    """Write a module to a temporary checkpoint (not in the run's folder, which the DDP launcher deletes)."""
    with tempfile.NamedTemporaryFile(prefix=TEACHER_PREFIX, suffix=".pt", delete=False) as file:
        torch.save({"model": deepcopy(unwrap_model(module)).cpu(), "train_args": {}}, file)
    return file.name


def _keep_temporary_teacher(trainer, settings: SlimSettings) -> None:
    """Move a temporary teacher into the run's folder, where a resumed run finds it."""
    if not settings.teacher or not Path(settings.teacher).name.startswith(TEACHER_PREFIX):
        return
    kept = trainer.wdir / "teacher.pt"
    if RANK in {-1, 0}:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(".tmp")
        temporary.write_bytes(Path(settings.teacher).read_bytes())
        temporary.replace(kept)
        Path(settings.teacher).unlink()
    if RANK != -1:
        dist.barrier()
    trainer.args.Distillation = str(kept)
    if RANK in {-1, 0}:
        YAML.save(trainer.save_dir / "args.yaml", vars(trainer.args))


def _load_teacher(path: str, student: nn.Module) -> nn.Module:
    from ultralytics.nn.tasks import load_checkpoint  # nn.tasks imports slim

    _require_file(path)
    teacher, _ = load_checkpoint(path)
    channels = [m.yaml.get("channels", 3) for m in (student, teacher)]
    if channels[0] != channels[1]:
        raise ValueError(f"the student takes images of {channels[0]} channels, the teacher '{path}' of {channels[1]}")
    return teacher


def _freeze(teacher: nn.Module, trainer) -> nn.Module:
    teacher = teacher.to(trainer.device).eval()
    if hasattr(teacher, "fuse"):
        teacher = teacher.fuse(verbose=False)
    if next(_student(trainer).parameters()).is_contiguous(memory_format=torch.channels_last):
        teacher = teacher.to(memory_format=torch.channels_last)
    return teacher.requires_grad_(False)


def _build_losses(names: tuple[str, ...], pairs: list[tuple[Tap, Tap]]) -> nn.ModuleDict:
    channels_s, channels_t = [s.channels for s, _ in pairs], [t.channels for _, t in pairs]
    strides = [t.stride for _, t in pairs]
    return nn.ModuleDict({n: FeatureLoss(channels_s, channels_t, n, strides) for n in names})


@torch.no_grad()
def _broadcast(module: nn.Module) -> None:
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def _average_gradients(module: nn.Module) -> None:
    if not (dist.is_available() and dist.is_initialized()):
        return
    for p in module.parameters():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def _log_pairs(pairs: list[tuple[Tap, Tap]], settings: SlimSettings, losses: nn.Module) -> None:
    if RANK not in {-1, 0}:
        return
    n = sum(p.numel() for p in losses.parameters())
    LOGGER.info(f"{PREFIX}distilling from {settings.teacher} with {'+'.join(settings.losses)}, {n:,} adapter parameters")
    for s, t in pairs:
        LOGGER.info(f"{PREFIX}student layer {s} <- teacher layer {t}")


def _gamma_group(trainer, penalty: SparsityPenalty) -> dict[str, Any]:
    """Return the optimizer's parameter group that holds the first γ; MuSGD has others, with the head's at 3·lr."""
    first = penalty.scales[0]
    for group in trainer.optimizer.param_groups:
        if any(p is first for p in group["params"]):
            return group
    raise RuntimeError("the BatchNorm scales are in no parameter group of the optimizer; does the trainer freeze them?")


def _planned_weight(trainer, penalty: SparsityPenalty) -> float:
    """Return Σ lr·decay over the optimizer steps that the run plans, warm-up and accumulation included."""
    nb = len(trainer.train_loader)
    lr0 = _gamma_group(trainer, penalty)["initial_lr"]
    ni = np.arange(nb * trainer.epochs)
    epoch = ni // nb
    lr = lr0 * np.array([trainer.lf(e) for e in range(trainer.epochs)])[epoch]
    accumulate = np.full(len(ni), float(trainer.accumulate))
    if nw := trainer._get_warmup_iterations(nb):
        lr = lr * np.minimum(ni / nw, 1.0)
        accumulate = np.maximum(1, np.interp(ni, [0, nw], [1, trainer.accumulate]).round())
    falling = np.array([decay(e / trainer.epochs) for e in range(trainer.epochs)])[epoch]
    return float((lr * falling / accumulate).sum())


def _judge_from_the_last_third(trainer) -> None:
    """Start best.pt and early stopping afresh at the last third of a sparse run.

    The penalty costs accuracy while it works, so the best epoch of the whole run is an early, dense one.
    """
    if trainer.epoch == max(trainer.start_epoch, trainer.epochs * 2 // 3) and trainer.epoch:
        trainer.best_fitness = None
        trainer.stopper.best_fitness, trainer.stopper.best_epoch = 0.0, trainer.epoch


def _log_sparsity(row: dict[str, float]) -> None:
    if RANK in {-1, 0}:
        LOGGER.info(
            f"{PREFIX}median γ {row['gamma/median']:.3f}, {row['gamma/near_zero']:.1%} of the γ under 0.01, "
            f"penalty moved each by {row['gamma/moved']:.4f} in this epoch"
        )
