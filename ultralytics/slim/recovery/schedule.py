"""The learning rate of a recovery: as large as the model is far from its teacher, and falling once nothing grows."""

from __future__ import annotations

import math
from dataclasses import dataclass

WARM_UP = 0.05  # share of the steps in which the rate rises
COOL_DOWN = 0.4  # share of the steps, at most, in which it falls to nothing
PATIENCE = 4  # measurements without growth, after which it falls
GROWTH = 0.0005  # of the agreement; less is none
NEAR, FAR = (0.05, 1e-4), (0.5, 5e-4)  # (distance, learning rate): in between on a power law, measured


def learning_rate(distance: float) -> float:
    """Return the largest learning rate for a model at this distance (`RecoveryLoss`) from its teacher."""
    (d0, r0), (d1, r1) = NEAR, FAR
    power = math.log(r1 / r0) / math.log(d1 / d0)
    return r0 * (min(max(distance, d0), d1) / d0) ** power


@dataclass
class Schedule:
    """Shares of the largest learning rate: rising, level, and falling to nothing.

    Attributes:
        steps: How many steps there are, fewer after `fall`.
        fall_from: Step from which the rate falls.
    """

    steps: int
    fall_from: int = -1

    def __post_init__(self):
        self.warm_up = max(1, round(WARM_UP * self.steps))
        if self.fall_from < 0:
            self.fall_from = self.steps - round(COOL_DOWN * self.steps)

    def share(self, step: int) -> float:
        """Return the share at a step, from 0."""
        if step >= self.fall_from:
            return max(0.0, (self.steps - step) / (self.steps - self.fall_from + 1))
        return min(1.0, (step + 1) / self.warm_up)

    def fall(self, step: int) -> None:
        """Let the rate fall from this step on, for as long again at most as has been trained."""
        if step < self.fall_from:
            self.fall_from = step
            self.steps = min(self.steps, step + max(1, min(step, round(COOL_DOWN * self.steps))))
