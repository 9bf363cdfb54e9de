"""Response distillation for detectors with sigmoid class scores: the student's raw predictions follow the teacher's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import InputError


class LogitLoss(nn.Module):
    """Class scores and box distributions of the teacher as soft targets, at every anchor point.

    Classes: each class is a binary problem; with p = σ(teacher), q = σ(student), the divergence
    p·log(p/q) + (1−p)·log((1−p)/(1−q)) is weighted by |p − q| and summed over anchors and classes.
    Source: Yang et al. (BCKD), arXiv 2308.14286, section 3.2.
    Boxes: where both heads predict distributions over distance bins, KL(T‖S) of each side at temperature τ, times τ²,
    averaged over the four sides and weighted by the teacher's best class score.
    Source: Zheng et al. (localization distillation), arXiv 2102.12252, section 3.
    Both sums are divided by the sum of the teacher's best class scores, which counts the objects that it sees, so the
    value depends neither on the batch size nor on the image size.

    Args:
        tau: Temperature τ > 0 of the box distributions.
        bins: Number of distance bins of both heads (`reg_max`), or 1 where they have none: then classes only.
    """

    def __init__(self, tau: float = 1.0, bins: int = 16):
        super().__init__()
        if tau <= 0:
            raise InputError(f"tau must be positive, got {tau}")
        self.tau, self.bins = tau, bins

    def forward(self, student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the scalar loss of raw predictions: `scores` (N, classes, A) logits, `boxes` (N, 4·bins, A) logits."""
        with torch.autocast(student["scores"].device.type, enabled=False):
            s, t = student["scores"].float(), teacher["scores"].float()
            p, q = t.sigmoid(), s.detach().sigmoid()
            confidence = p.amax(1)  # (N, A)
            divergence = F.binary_cross_entropy_with_logits(s, p, reduction="none") - _entropy(t)
            loss = (divergence * (p - q).abs()).sum()
            if self.bins > 1:
                loss = loss + (self._box_divergence(student["boxes"], teacher["boxes"]) * confidence).sum()
            return loss / confidence.sum().clamp_min(1e-6)

    def _box_divergence(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return (N, A): KL over the bins, a mean over the four sides."""
        n, _, a = teacher.shape
        log_q = F.log_softmax(student.float().reshape(n, 4, self.bins, a) / self.tau, dim=2)
        log_p = F.log_softmax(teacher.float().reshape(n, 4, self.bins, a) / self.tau, dim=2)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(2).mean(1) * self.tau**2


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy of each Bernoulli variable: what binary cross entropy keeps when both sides agree."""
    return F.binary_cross_entropy_with_logits(logits, logits.sigmoid(), reduction="none")


def raw_predictions(output: Any) -> dict[str, torch.Tensor]:
    """Return the dictionary of raw predictions from a head's output, in training or evaluation mode.

    Of a head with one-to-many and one-to-one branches it is the one-to-many branch, which is trained densely.
    """
    raw = output[-1] if isinstance(output, tuple) else output
    raw = raw.get("one2many", raw) if isinstance(raw, dict) else raw
    if not (isinstance(raw, dict) and {"boxes", "scores"} <= raw.keys()):
        raise InputError(
            "loss_type 'logit' needs a head that predicts boxes and class scores (Detect and those built on it)"
        )
    return raw


def check_heads(student: nn.Module, teacher: nn.Module) -> int:
    """Return the number of distance bins that both heads share, 1 where classes alone can be compared.

    Raises:
        InputError: If the heads cannot be compared; the message says what differs.
    """
    heads = student.model[-1], teacher.model[-1]
    counts = [getattr(h, "nc", None) for h in heads]
    if None in counts or not all(hasattr(h, "reg_max") for h in heads):
        names = " and ".join(type(h).__name__ for h in heads)
        raise InputError(f"loss_type 'logit' needs detection heads, got {names}. Use a feature loss such as cwd.")
    if counts[0] != counts[1]:
        raise InputError(
            f"loss_type 'logit' needs equal classes, the student has {counts[0]} and the teacher {counts[1]}. "
            "Use a feature loss such as cwd."
        )
    strides = [h.stride.tolist() for h in heads]
    if strides[0] != strides[1]:
        raise InputError(f"loss_type 'logit' needs equal strides, got {strides[0]} and {strides[1]}")
    bins = {int(h.reg_max) for h in heads}
    return bins.pop() if len(bins) == 1 else 1
