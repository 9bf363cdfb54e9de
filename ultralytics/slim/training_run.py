"""What distillation and sparsity do in one training run, called at the seams of the patched trainer (`trainer`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.utils import LOGGER, RANK

from .compat import unwrap_model
from .distillation.distiller import Distiller
from .files import fingerprint
from .logs import PREFIX
from .resuming import NEXT_STATE, STATE, drop_later_rows, epochs_done, find_state, read_state
from .saving import save_whole
from .sparsity.gammas import gamma_stats
from .sparsity.history import GammaHistory
from .sparsity.optimizer_steps import gamma_group, planned_steps, stepped
from .sparsity.penalty import SparsityPenalty

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class TrainingRun:
    """The distillation and the sparsity of one training run, either of which may be absent."""

    def __init__(self, trainer: BaseTrainer, distiller: Distiller | None, penalty: SparsityPenalty | None):
        self.trainer, self.distiller, self.penalty = trainer, distiller, penalty
        self.moved = 0.0  # Σ of the γ penalty's steps in this epoch
        self._moved: list[float] = []  # the same of each epoch that is done
        self.history = GammaHistory(student_of(trainer)) if penalty else None
        self._teacher = fingerprint(distiller.settings.teacher) if distiller else None
        self._epoch = self._judged_from = None  # the epoch begun last; the one from which best.pt counts
        self._batches = self._steps = 0  # of this run, to see whether the seams around the optimizer's step are called
        self._strength, self._planned_for = penalty and penalty.strength, None
        if penalty:
            self._set_penalty_rate(0)
            trainer.add_callback("on_fit_epoch_end", lambda _: self._warn_of_collapse())
        if self.history and trainer.args.plots and RANK in {-1, 0}:
            trainer.add_callback("on_train_end", lambda t: self.history.plot(t.save_dir / "gamma.png"))
        save_whole(trainer, self.save if self.active else None)
        if self.active:
            trainer.add_callback("on_train_end", lambda _: self._remove_state())

    @property
    def active(self) -> bool:
        return self.distiller is not None or self.penalty is not None

    def _set_penalty_rate(self, epoch: int) -> None:
        """Set the penalty's rate for the steps from this epoch on, unless it is set for a run of just these."""
        trainer = self.trainer
        steps = len(trainer.train_loader), trainer.epochs, trainer.batch_size
        if steps == self._planned_for:
            return
        if not self._planned_for or self._planned_for[2] != trainer.batch_size:
            self._accumulate = trainer.accumulate  # later on it may be one that the warm-up has lowered
        self._planned_for = steps
        self.penalty.strength = self._strength  # None: as far as the number of steps allows
        weight, count = planned_steps(trainer, self.penalty, self._accumulate, epoch)
        self.penalty.set_rate(weight, count, sum(self._moved[:epoch]))

    def start_epoch(self) -> None:
        """Set the hooks for the batches of an epoch; safe to call again when an epoch is restarted."""
        if self._epoch is None and self.trainer.resume and RANK in {-1, 0}:
            drop_later_rows(self.trainer)
        again, self._epoch, self.moved = self._epoch == self.trainer.epoch, self.trainer.epoch, 0.0
        if self.distiller:
            self.distiller.start_epoch(again)
        if self.penalty:
            self._set_penalty_rate(self.trainer.epoch)  # batches may be halved, and with time= epochs are counted anew
            self._judge_from_the_last_third()

    def _judge_from_the_last_third(self) -> None:
        """Start best.pt and early stopping afresh at the last third of a sparse run.

        The penalty costs accuracy while it works, so the best epoch of the whole run is an early, dense one, and the
        accuracy may fall for long before it is time to judge: until then no epoch counts against patience=. Once is
        enough, unless that epoch is redone after NaN: the trainer has then taken up the dense best from last.pt.
        """
        trainer = self.trainer
        first = trainer.epochs * 2 // 3
        if trainer.epoch < first:
            trainer.stopper.best_epoch = trainer.epoch + 1  # as the trainer counts for it: from 1
        if self._judged_from is None and trainer.epoch and trainer.start_epoch <= first <= trainer.epoch:
            self._judged_from = trainer.epoch
        if self._judged_from == trainer.epoch:
            if trainer.best_fitness is not None:
                self.history.best = float(trainer.best_fitness)
            trainer.best_fitness = None
            trainer.stopper.best_fitness, trainer.stopper.best_epoch = 0.0, trainer.epoch

    def distillation_loss(self, batch: dict[str, Any], epoch_progress: float) -> torch.Tensor | float:
        """Return the weighted distillation loss of the batch just run, and add it to the trainer's loss items."""
        self._batches += 1
        return self.distiller.loss(batch, epoch_progress) if self.distiller else 0.0

    def before_step(self) -> None:
        """Step the adapters; the trainer's gradients are unscaled and clipped, its optimizer has not stepped."""
        if self.distiller:
            self.distiller.step_adapters()

    def after_step(self) -> None:
        """Apply the γ penalty of one optimizer step, unless a gradient scaler left that step out."""
        self._steps += 1
        if self.penalty:
            lr = gamma_group(self.trainer, self.penalty)["lr"] * stepped(self.trainer)
            self.moved += self.penalty.step(lr, _run_progress(self.trainer))

    def end_batches(self) -> None:
        """Remove the hooks; safe to call again."""
        if self.distiller:
            self.distiller.end_batches()

    def end_epoch(self) -> None:
        """Remove the hooks and add this epoch's figures to the row of results.csv."""
        self.end_batches()
        self._warn_of_missing_steps()
        row = self.trainer.lr  # the trainer writes this dict beside losses and metrics
        if self.penalty:
            row.update(gamma_stats(student_of(self.trainer)))
            row["gamma/moved"] = self.moved = float(self.moved)
            self._moved[self.trainer.epoch :] = [self.moved]
            self.history.add(student_of(self.trainer), self.trainer.epoch)
            _log_sparsity(self.trainer, self.history, row)

    def _warn_of_missing_steps(self) -> None:
        """Say, once, that steps were due and none came by here: a custom trainer replaced `optimizer_step`."""
        trains = self.penalty or (self.distiller and self.distiller.optimizer)
        if not trains or self._steps or self._batches < self.trainer.accumulate:
            return
        self._steps = 1
        LOGGER.warning(
            f"{PREFIX}adapters and γ penalty stand still: optimizer_step() of {type(self.trainer).__name__} neither "
            f"calls "
            "super().optimizer_step() nor self.slim.before_step() and self.slim.after_step() around the optimizer's "
            "step"
        )

    def _warn_of_collapse(self) -> None:
        """Say that the accuracy collapsed, once the epoch is validated."""
        trainer = self.trainer
        if RANK in {-1, 0} and (advice := self.history.collapse(trainer.fitness, trainer.best_fitness)):
            LOGGER.warning(f"{PREFIX}{advice}")

    def _remove_state(self) -> None:
        for name in (STATE, NEXT_STATE):
            (self.trainer.wdir / name).unlink(missing_ok=True)

    def save(self, path: Path) -> None:
        """Write what a resumed run needs besides last.pt."""
        state = {
            "epochs": self.trainer.epoch + 1,
            "teacher": self.trainer.args.Distillation,
            "teacher_sha256": self._teacher,
            "distiller": self.distiller.state_dict() if self.distiller else None,
            "gamma_rate": self.penalty.rate if self.penalty else None,
            "gamma_median": self.penalty.median if self.penalty else None,
            "gamma_moved": self._moved,
            "gamma_plan": self._planned_for,
            "gamma_history": self.history.state_dict() if self.history else None,
        }
        torch.save(state, path)

    def restore(self) -> None:
        """Take up the adapters and the γ penalty of an interrupted run, when this run resumes one."""
        if not (self.active and self.trainer.resume):
            return
        checkpoint, epochs = self.trainer.args.model, epochs_done(self.trainer)
        found = find_state(self.trainer.args, self.trainer.wdir, epochs)
        if found is None:
            LOGGER.warning(f"{PREFIX}{STATE} is missing beside {checkpoint}, so adapters and γ penalty start afresh")
            return
        state = read_state(found, self.trainer.device)
        if (known := state.get("epochs", epochs)) != epochs:  # an earlier version does not say
            LOGGER.warning(
                f"{PREFIX}{found} is of epoch {known}, {checkpoint} of epoch {epochs}: the adapters are those of epoch "
                f"{known}. For a run that goes on as if it had not stopped, resume last.pt"
            )
        if self.penalty and state.get("gamma_median") is not None:
            self.penalty.median, self._planned_for = state["gamma_median"], state.get("gamma_plan")
            self.penalty.rate = state.get("gamma_rate", self.penalty.rate)
            self._moved = state["gamma_moved"] if "gamma_moved" in state else self._moved_as_planned(epochs)
            self._set_penalty_rate(epochs)  # anew where the batch size is another
        elif self.penalty and state["gamma_rate"] is not None:  # written by an earlier version
            self.penalty.rate = state["gamma_rate"]
        if self.history and state.get("gamma_history"):
            self.history.load_state_dict(state["gamma_history"], epochs)
        if self.distiller and state["distiller"] is not None:
            before = state.get("teacher_sha256")  # an earlier version wrote the path alone
            now = self._teacher if before else self.trainer.args.Distillation
            if now != (before or state["teacher"]):
                LOGGER.warning(f"{PREFIX}resuming with another teacher: {self.trainer.args.Distillation}")
            self.distiller.load_state_dict(state["distiller"])

    def _moved_as_planned(self, epochs: int) -> list[float]:
        """Return by how much the penalty's rate has moved γ in each epoch: what an earlier version does not say."""
        whole, left = (planned_steps(self.trainer, self.penalty, self._accumulate, e)[0] for e in (0, epochs))
        return [self.penalty.rate * (whole - left) / epochs] * epochs if epochs else []


def student_of(trainer: BaseTrainer) -> nn.Module:
    return unwrap_model(trainer.model)


def _run_progress(trainer: BaseTrainer) -> float:
    return trainer.epoch / max(trainer.epochs, 1)


def _log_sparsity(trainer: BaseTrainer, history: GammaHistory, row: dict[str, float]) -> None:
    if RANK not in {-1, 0}:
        return
    LOGGER.info(
        f"{PREFIX}median γ {row['gamma/median']:.3f}, {row['gamma/near_zero']:.1%} of the γ under 0.01, "
        f"penalty moved each by {row['gamma/moved']:.4f} in this epoch"
    )
    progress = (trainer.epoch + 1) / trainer.epochs
    if advice := history.flat(progress, row):
        LOGGER.warning(f"{PREFIX}{advice}")
