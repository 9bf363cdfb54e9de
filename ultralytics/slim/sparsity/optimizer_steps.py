"""The steps of the trainer's optimizer: those that a run plans, and whether the last one was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..compat import warmup_iterations
from .penalty import SparsityPenalty, decay

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def stepped(trainer: BaseTrainer) -> float | torch.Tensor:
    """Return 1 if the optimizer made the step just called for, 0 if the gradient scaler found an overflow.

    Between its `step` and its `update` the scaler knows; as a tensor, so that nothing waits for the device.
    """
    found = getattr(trainer.scaler, "_found_inf_per_device", None)
    return 1 - sum(found(trainer.optimizer).values()) if found and trainer.scaler.is_enabled() else 1.0


def gamma_group(trainer: BaseTrainer, penalty: SparsityPenalty) -> dict[str, Any]:
    """Return the optimizer's parameter group that holds the first γ; MuSGD has others, with the head's at 3·lr."""
    first = penalty.scales[0]
    for group in trainer.optimizer.param_groups:
        if any(p is first for p in group["params"]):
            return group
    raise RuntimeError("the BatchNorm scales are in no parameter group of the optimizer; does the trainer freeze them?")


def planned_steps(
    trainer: BaseTrainer, penalty: SparsityPenalty, batches_a_step: int, first: int = 0
) -> tuple[float, float]:
    """Return Σ lr·decay over the optimizer steps from the `first` epoch on, and the number of all in the run.

    As the run plans them, warm-up included.
    """
    nb = len(trainer.train_loader)
    lr0 = gamma_group(trainer, penalty)["initial_lr"]
    ni = np.arange(nb * trainer.epochs)
    epoch = ni // nb
    lr = lr0 * np.array([trainer.lf(e) for e in range(trainer.epochs)])[epoch]
    accumulate = np.full(len(ni), float(batches_a_step))
    if nw := warmup_iterations(trainer, nb):
        lr = lr * np.minimum(ni / nw, 1.0)
        accumulate = np.maximum(1, np.interp(ni, [0, nw], [1, batches_a_step]).round())
    falling = np.array([decay(e / trainer.epochs) for e in range(trainer.epochs)])[epoch]
    weights = lr * falling / accumulate
    return float(weights[epoch >= first].sum()), float((1 / accumulate).sum())
