"""The scales γ of the BatchNorms of a model, and how many of them are near zero."""

from __future__ import annotations

import torch
from torch import nn

NEAR_ZERO = 1e-2  # a γ under this counts as zero in the reports


def gammas(model: nn.Module, trainable_only: bool = True) -> list[nn.Parameter]:
    """Return the scales γ, each of shape (C,), of the model's BatchNorms: all of them, or those that are trained."""
    layers = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return [m.weight for m in layers if m.weight is not None and (m.weight.requires_grad or not trainable_only)]


def absolute_gammas(model: nn.Module, trainable_only: bool = True) -> torch.Tensor:
    """Return |γ| of all channels of the BatchNorms, one float32 tensor (channels,) on the CPU; empty without any."""
    scales = gammas(model, trainable_only)
    return torch.cat([torch.zeros(0), *(g.detach().float().cpu().abs().flatten() for g in scales)])


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


def tell_flat_gammas(model: nn.Module) -> str | None:
    """Return a warning where the gammas carry no information (all equal: a fresh model, or a fused one), else None."""
    gamma = absolute_gammas(model, trainable_only=False)
    if not len(gamma):
        return "the model has no BatchNorm scales (a fused model?): the gamma score cannot rank its channels"
    if (gamma.max() - gamma.min()).item() < 1e-6:
        scale = gamma[0].item()
        return f"all BatchNorm scales are equal ({scale:.3g}): the model was never trained, its ranking is arbitrary"
    return None
