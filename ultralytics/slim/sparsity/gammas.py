"""The scales γ of the BatchNorms of a model, and how many of them are near zero."""

from __future__ import annotations

import torch
from torch import nn

NEAR_ZERO = 1e-2  # a γ under this counts as zero in the reports


def gammas(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable scales γ, each of shape (C,), of the model's BatchNorm layers."""
    layers = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return [m.weight for m in layers if m.weight is not None and m.weight.requires_grad]


def absolute_gammas(model: nn.Module) -> torch.Tensor:
    """Return |γ| of all channels of the trainable BatchNorm layers, one float32 tensor on the CPU; empty without any."""
    return torch.cat([torch.zeros(0), *(g.detach().abs().flatten().float().cpu() for g in gammas(model))])


def gamma_stats(model: nn.Module) -> dict[str, float]:
    """Return the 10, 50 and 90 % quantiles of |γ| over all channels, and the share under 1e-2."""
    values = absolute_gammas(model)
    if not len(values):
        return {}
    p10, p50, p90 = torch.quantile(values[:: max(1, len(values) // 1_000_000)], torch.tensor([0.1, 0.5, 0.9])).tolist()
    return {
        "gamma/p10": p10,
        "gamma/median": p50,
        "gamma/p90": p90,
        "gamma/near_zero": (values < NEAR_ZERO).float().mean().item(),
    }
