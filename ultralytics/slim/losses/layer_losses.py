"""Feature distillation losses: pure modules that compare one student feature map with one teacher feature map.

A new loss is one module with `forward(student, teacher) -> scalar` and one line in `FEATURE_LOSSES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import InputError


def _check_shapes(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher features must have one shape (N, C, H, W), got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; align them first (see FeatureLoss)"
        )


class CWDLoss(nn.Module):
    """Channel-wise distillation: KL divergence between the spatial distributions of each channel.

    With p = softmax(T/τ) and q = softmax(S/τ) over the H·W positions of a channel,
    L = τ²/(N·C) · Σ p·(log p − log q). Source: Shu et al., arXiv 2011.13256, eq. 3 and 4.

    Args:
        tau: Temperature τ > 0; larger values soften both distributions.
    """

    def __init__(self, tau: float = 1.0):
        super().__init__()
        if tau <= 0:
            raise InputError(f"tau must be positive, got {tau}")
        self.tau = tau

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of features of equal shape (N, C, H, W); 0 for equal features, never negative."""
        _check_shapes(student, teacher)
        n, c = student.shape[:2]
        # float32, and log_softmax on both sides: half precision underflows and log(softmax) gives NaN.
        # reshape, not view: features may be channels_last.
        student, teacher = student.float().reshape(n, c, -1), teacher.float().reshape(n, c, -1)
        if self.tau != 1:  # a pass over both maps saved, forward and backward
            student, teacher = student / self.tau, teacher / self.tau
        log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
        return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * (self.tau**2 / (n * c))


class MGDLoss(nn.Module):
    """Masked generative distillation: from a masked student map, generate the whole teacher map.

    L = α/N · Σ (G(M⊙S) − T)²: M drops each location with probability λ, G is conv 3×3 → ReLU → conv 3×3 and also
    maps the student's channels to the teacher's. Source: Yang et al., arXiv 2205.01529, section 3 (α and λ as there
    for one-stage detectors).

    Args:
        student_channels: C_s of the student's map.
        teacher_channels: C_t of the teacher's map.
        alpha: Loss scale α ≥ 0.
        mask_ratio: λ in [0, 1), the share of dropped locations.
    """

    def __init__(self, student_channels: int, teacher_channels: int, alpha: float = 2e-5, mask_ratio: float = 0.65):
        super().__init__()
        if alpha < 0:
            raise InputError(f"alpha must not be negative, got {alpha}")
        if not 0 <= mask_ratio < 1:
            raise InputError(f"mask_ratio must be in [0, 1), got {mask_ratio}")
        self.alpha, self.mask_ratio = alpha, mask_ratio
        self.generator = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of a student map (N, C_s, H, W) and a teacher map (N, C_t, H, W)."""
        n, _, h, w = student.shape
        keep = (torch.rand(n, 1, h, w, device=student.device) >= self.mask_ratio).to(student.dtype)
        generated = self.generator(student * keep)
        _check_shapes(generated, teacher)
        # The sum overflows in half precision, so it is accumulated in float32.
        return self.alpha / n * (generated.float() - teacher.float()).square().sum()


class MimicLoss(nn.Module):
    """Plain mean squared error between aligned features, the baseline of feature imitation.

    L = 1/(N·C·H·W) · Σ (S − T)². Source: Romero et al. (FitNets), arXiv 1412.6550, eq. 3.
    """

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of features of equal shape (N, C, H, W)."""
        _check_shapes(student, teacher)
        return F.mse_loss(student.float(), teacher.float())


class PKDLoss(nn.Module):
    """Pearson distillation: squared distance of features standardised per channel over N, H, W, halved: 1 − r.

    With both maps at mean 0 and variance 1 in each channel, L = 1/2 · mean (S − T)² = 1 − Pearson's r.
    Source: Cao et al., arXiv 2207.02039, section 3.2.
    """

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss in [0, 2] of features of equal shape (N, C, H, W)."""
        _check_shapes(student, teacher)
        return 0.5 * F.mse_loss(standardise(student.float()), standardise(teacher.float()))


def standardise(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Return x (N, C, H, W) with mean 0 and variance 1 in each channel: BatchNorm without affine, on this batch.

    A single value per channel (batch of 1 at a 1×1 map) has no variance and comes back unchanged.
    """
    if x.numel() == x.shape[1]:
        return x
    return F.batch_norm(x, None, None, training=True, eps=eps)


@dataclass(frozen=True)
class LossOptions:
    """Parameters of the losses that a user may set; each loss reads its own."""

    tau: float = 1.0
    alpha: float = 2e-5
    mask_ratio: float = 0.65


@dataclass(frozen=True)
class LossSpec:
    """How `FeatureLoss` uses one loss.

    Attributes:
        build: Makes the loss module from the student's and the teacher's number of channels and the options.
        weight: Weight of the loss, on top of which `distill_weight` comes.
        adapter: Whether `FeatureLoss` maps the student to the teacher's channels by a 1×1 convolution beforehand,
            where their numbers differ.
        standardise: Whether both maps are standardised per channel before they are compared.
        sums_positions: Whether the loss adds up positions, so that it must be scaled to one image size.
    """

    build: Callable[[int, int, LossOptions], nn.Module]
    weight: float
    adapter: bool = True
    standardise: bool = True
    sums_positions: bool = False


# The weights put each loss at 0.2 to 0.5 of the detection loss of a pruned, not yet retrained student (measured on real
# diagrams, see docs/distillation.md). The well-known ports use 1 for cwd and 0.3 for the others, but do not scale with
# the batch as the detection loss does: at their batch of 20 that is 0.05 and 0.015 here.
FEATURE_LOSSES: dict[str, LossSpec] = {
    "cwd": LossSpec(lambda c_s, c_t, o: CWDLoss(o.tau), weight=0.15),
    "mgd": LossSpec(
        lambda c_s, c_t, o: MGDLoss(c_s, c_t, o.alpha, o.mask_ratio), weight=0.1, adapter=False, sums_positions=True
    ),
    "mimic": LossSpec(lambda c_s, c_t, o: MimicLoss(), weight=0.2),
    "pkd": LossSpec(lambda c_s, c_t, o: PKDLoss(), weight=0.4, standardise=False),
}
