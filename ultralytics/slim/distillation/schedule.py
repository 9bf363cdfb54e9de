"""How the weight of distillation falls over a run."""

from __future__ import annotations

import math

FLOOR = 0.1  # the cosine schedule falls from 1 to this


def schedule_weight(schedule: str, run_progress: float, epoch_progress: float) -> float:
    """Return the factor on the distillation loss: a cosine from 1 to 0.1 over the run or each epoch, or 1.

    Args:
        schedule: 'run', 'epoch' or 'constant'.
        run_progress: Share of the run that is done, in [0, 1].
        epoch_progress: Share of the epoch that is done, in [0, 1].
    """
    if schedule == "constant":
        return 1.0
    progress = {"run": run_progress, "epoch": epoch_progress}[schedule]
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
