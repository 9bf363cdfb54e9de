"""Sparse training: an L1 penalty on the BatchNorm scales γ that drives unneeded channels to zero.

Source: Liu et al. (Network Slimming), arXiv 1708.06519, section 3: minimise task loss + s·Σ|γ|. The penalty is
applied as a proximal step (soft thresholding) after the optimizer's step, which behaves the same under every optimizer
and gives exact zeros.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from .gammas import NEAR_ZERO, absolute_gammas, gammas

# The default strength moves γ by this share of its median a step, at most by the whole over the run. Single runs,
# learning rates not held equal: 0.0006 and 0.0008 a step cost 0.005 and 0.002 mAP, 0.0015 half of it, 0.5 (two steps)
# all of it.
PACE = 0.0007
DECAY = 0.9  # the penalty falls linearly from s to (1 - DECAY)·s over the run


def decay(run_progress: float) -> float:
    """Return the factor on the penalty at a share of the run in [0, 1]: 1 − 0.9·progress."""
    return 1 - DECAY * min(max(run_progress, 0.0), 1.0)


@torch.no_grad()
def soft_threshold_(scales: list[torch.Tensor], threshold: float) -> None:
    """Move every γ towards 0 by the threshold and stop at exactly 0: the proximal operator of threshold·|γ|."""
    for gamma in scales:
        gamma.copy_(gamma.sign() * (gamma.abs() - threshold).clamp_min_(0))


class SparsityPenalty:
    """The penalty of one training run, in units that do not depend on optimizer, learning rate or length.

    `strength` says how far the penalty alone would move γ over the whole run, as a multiple of the median |γ| at the
    start: step t moves γ by strength · median · w_t / Σ w, where w_t = lr_t · decay_t. So 1 brings a channel of median
    scale, which nothing pulls back, exactly to 0. Channels that are near 0 already do not count for the median.

    Args:
        model: The model being trained.
        strength: ≥ 0, or None for `PACE` times the number of steps, at most 1.

    Raises:
        InputError: If the model has no γ to penalise.
    """

    def __init__(self, model: nn.Module, strength: float | None):
        self.scales = gammas(model)
        if not self.scales:
            raise InputError(
                "loss_type='sparse' needs BatchNorm scales to penalise, but the model has no trainable BatchNorm. "
                "A fused model has none: train from the unfused checkpoint."
            )
        values = absolute_gammas(model)
        alive = values[values >= NEAR_ZERO]
        self.strength, self.median = strength, (alive if len(alive) else values).median().item()
        self.rate = 0.0

    def set_rate(self, weight: float, steps: float, moved: float = 0.0) -> None:
        """Set the rate.

        Args:
            weight: Σ w over the steps that are to come.
            steps: How many steps the whole run has.
            moved: By how much γ was moved in those that were made.
        """
        if self.strength is None:
            self.strength = min(1.0, PACE * steps)
        left = max(self.strength * self.median - moved, 0.0)
        self.rate = left / weight if weight > 0 else 0.0

    def step(self, lr: float, run_progress: float) -> float:
        """Apply the penalty of one optimizer step; return by how much each γ was moved towards 0."""
        threshold = self.rate * lr * decay(run_progress)
        soft_threshold_(self.scales, threshold)
        return threshold
