"""Is a model sparse enough that its weakest channels, by |γ|, can go without loss?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from ..sparsity.gammas import NEAR_ZERO, absolute_gammas, tell_flat_gammas

ENOUGH = 0.01  # of the total |γ|: what may go with the channels for a model to be called sparse enough


@dataclass
class GammaCheck:
    """What the BatchNorm scales say about cutting a share of the channels.

    Attributes:
        factor: Share of the channels in question.
        near_zero: Share of all |γ| that are under 1e-2.
        lost: Share of the total |γ| that goes with the weakest `factor` of all channels.
        ready: Largest share of the channels for which the model is sparse enough.
        fault: Why γ says nothing about this model; empty if it does.
    """

    factor: float
    near_zero: float = 0.0
    lost: float = 1.0
    ready: float = 0.0
    fault: str = ""

    @property
    def enough(self) -> bool:
        """Whether the channels in question hold at most 1 % of the total |γ|."""
        return not self.fault and self.lost <= ENOUGH

    def __str__(self) -> str:
        """Return the verdict and its figures in a few words."""
        if self.fault:
            return f"sparse enough? unknown: {self.fault}"
        return (
            f"sparse enough to remove {self.factor:.0%} of the channels by gamma? {'yes' if self.enough else 'no'}: "
            f"the "
            f"weakest {self.factor:.0%} hold {self.lost:.1%} of the total |gamma| (at most {ENOUGH:.0%} is enough, "
            f"which "
            f"holds up to {self.ready:.0%} of the channels); {self.near_zero:.1%} of the gammas are under {NEAR_ZERO:g}"
        )


def check_gammas(model: nn.Module, factor: float) -> GammaCheck:
    """Read the BatchNorm scales of a model: would the weakest `factor` of its channels be missed?

    All BatchNorms count alike, as in a cut by one global threshold; ties and floors of a pruning are left out.
    """
    if fault := tell_flat_gammas(model):
        return GammaCheck(factor, fault=fault)
    gamma = np.sort(absolute_gammas(model, trainable_only=False).numpy().astype(np.float64))
    held = np.concatenate([[0], np.cumsum(gamma)]) / max(gamma.sum(), 1e-12)  # by how many are gone
    ready = int(np.flatnonzero(held <= ENOUGH).max()) / len(gamma)
    return GammaCheck(factor, float((gamma < NEAR_ZERO).mean()), float(held[round(factor * len(gamma))]), ready)
