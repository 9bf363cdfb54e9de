"""Response distillation for detectors with sigmoid class scores: the student's raw predictions follow the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..classes import is_unnamed, listed, names_of, pair_classes
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
        classes: (student's number, teacher's number) of the classes to compare, None for all in the same order.
            Only these count, also as what the teacher sees.
        levels: (student's, teacher's) of the levels of the heads to compare, finest first, None for all.
    """

    def __init__(
        self,
        tau: float = 1.0,
        bins: int = 16,
        classes: Sequence[tuple[int, int]] | None = None,
        levels: Sequence[tuple[int, int]] | None = None,
    ):
        super().__init__()
        if tau <= 0:
            raise InputError(f"tau must be positive, got {tau}")
        self.tau, self.bins = tau, bins
        self.classes, self.levels = (tuple(zip(*pairs)) if pairs else (None, None) for pairs in (classes, levels))

    def forward(self, student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the scalar loss of raw predictions: `scores` (N, classes, A) logits, `boxes` (N, 4·bins, A) logits.

        Where levels are chosen, `feats`, a list of (N, C, H, W), says how many of the A anchor points each level has.
        """
        student, teacher = (_part(raw, *of) for raw, of in zip((student, teacher), zip(self.classes, self.levels)))
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


def _part(
    raw: dict[str, torch.Tensor], classes: Sequence[int] | None, levels: Sequence[int] | None
) -> dict[str, torch.Tensor]:
    """Return the scores and boxes of some classes, in this order, and of some levels; None is for all."""
    scores, boxes = raw["scores"], raw["boxes"]
    if levels is not None:
        counts = [level.shape[-2] * level.shape[-1] for level in raw["feats"]]
        scores, boxes = (torch.cat([x.split(counts, 2)[i] for i in levels], 2) for x in (scores, boxes))
    return {"scores": scores if classes is None else scores[:, list(classes)], "boxes": boxes}


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy of each Bernoulli variable: what binary cross entropy keeps when both sides agree."""
    return F.binary_cross_entropy_with_logits(logits, logits.sigmoid(), reduction="none")


def raw_predictions(output: Any, head: nn.Module) -> dict[str, Any]:
    """Return `scores` (N, nc, A), `boxes` (N, 4·bins, A) and `feats` of a head's output, in whatever form it has them.

    The newer form is a dictionary of just these. In releases before 8.4 there is a map (N, 4·bins + nc, H, W) a level,
    beside which heads of other tasks put mask coefficients, keypoints or angles. Outside training the decoded
    predictions stand before either. Of a head with one-to-many and one-to-one branches it is the one-to-many branch,
    which is trained densely.

    Args:
        output: What the head put out, in training or evaluation mode.
        head: The head, whose `reg_max` and `nc` say how its maps are divided.

    Raises:
        InputError: There are no such predictions in the output.
    """
    raw = _undecoded(output)
    if isinstance(raw, dict) and {"boxes", "scores"} <= raw.keys():
        return raw
    bins, classes = getattr(head, "reg_max", None), getattr(head, "nc", None)
    if bins is None or classes is None or not _are_maps(raw):
        raise InputError(
            "loss_type 'logit' needs a head that predicts boxes and class scores (Detect and those built on it); "
            f"{type(head).__name__} puts out {_described(raw)}"
        )
    widths = [4 * int(bins), int(classes)]
    if other := sorted({level.shape[1] for level in raw} - {sum(widths)}):
        raise InputError(
            f"loss_type 'logit' divides the maps of {type(head).__name__} into 4·{bins} channels of boxes and "
            f"{classes} of classes, but they have {', '.join(map(str, other))}. Use a feature loss such as cwd"
        )
    boxes, scores = torch.cat([level.flatten(2) for level in raw], 2).split(widths, 1)
    return {"boxes": boxes, "scores": scores, "feats": list(raw)}


def _undecoded(output: Any) -> Any:
    """Return the densely trained raw predictions: a dictionary of tensors, or a sequence of maps, one a level."""
    if isinstance(output, dict) and "one2many" in output:
        return _undecoded(output["one2many"])
    if isinstance(output, tuple) and output and not _are_maps(output):
        first = output[0]  # in training; decoded predictions are a tensor, or a tuple of tensors
        return _undecoded(first if isinstance(first, dict) or _are_maps(first) else output[-1])
    return output


def _are_maps(value: Any) -> bool:
    """Return whether this is a sequence of tensors (N, C, H, W) of one C."""
    if not (isinstance(value, (list, tuple)) and value):
        return False
    return all(isinstance(x, torch.Tensor) and x.ndim == 4 for x in value) and len({x.shape[1] for x in value}) == 1


def _described(raw: Any) -> str:
    if isinstance(raw, dict):
        return f"a dictionary of {', '.join(map(str, raw)) or 'nothing'}"
    return f"a tensor {tuple(raw.shape)}" if isinstance(raw, torch.Tensor) else f"a {type(raw).__name__}"


@dataclass(frozen=True)
class SharedPart:
    """What the heads of a student and its teacher have in common.

    Attributes:
        bins: Number of distance bins; 1 where they differ, so that classes alone can be compared.
        classes: (student's number, teacher's number) of each class, see `pair_classes`; None where all are the same.
        levels: (student's, teacher's) of each level of one stride; None where all are the same.
    """

    bins: int
    classes: list[tuple[int, int]] | None = None
    levels: list[tuple[int, int]] | None = None


def shared_part(student: nn.Module, teacher: nn.Module) -> SharedPart:
    """Return what the heads of two models share.

    Raises:
        InputError: If the heads cannot be compared; the message says what differs.
    """
    heads = student.model[-1], teacher.model[-1]
    if not all(hasattr(h, "nc") and hasattr(h, "reg_max") for h in heads):
        names = " and ".join(type(h).__name__ for h in heads)
        raise InputError(f"loss_type 'logit' needs detection heads, got {names}. Use a feature loss such as cwd.")
    ours, theirs = names_of(student), names_of(teacher)
    classes = pair_classes(ours, theirs)
    if not classes:
        nameless = " (numbers are no names)" if is_unnamed(ours) or is_unnamed(theirs) else ""
        raise InputError(
            f"loss_type 'logit' needs classes of the same names{nameless}: the student has {len(ours)}, "
            f"{listed(ours)}, and the teacher {len(theirs)}, {listed(theirs)}. Name them alike in the data's names:, "
            "or use a feature loss such as cwd"
        )
    strides = [h.stride.tolist() for h in heads]
    levels = [(i, strides[1].index(stride)) for i, stride in enumerate(strides[0]) if stride in strides[1]]
    if not levels:
        raise InputError(f"loss_type 'logit' needs a stride that both heads have, got {strides[0]} and {strides[1]}")
    bins = {int(h.reg_max) for h in heads}
    same = [(number, number) for number in range(max(len(ours), len(theirs)))]
    return SharedPart(
        bins.pop() if len(bins) == 1 else 1,
        None if classes == same else classes,
        None if strides[0] == strides[1] else levels,
    )
