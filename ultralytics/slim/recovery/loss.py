"""How far a student's raw predictions are from its teacher's, whatever the head: what a recovery makes small."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..classes import Names, listed, names_of, pair_classes, task_of
from ..errors import InputError
from ..kinds import is_a
from ..losses.logit import SharedPart, raw_predictions, shared_part

BOXES, EXTRAS = 2.0, 1.0  # weights beside the class scores
TOLD = ("WorldDetect", "YOLOEDetect")  # heads that compare with texts
TASKS = ("detect", "segment", "pose", "obb", "classify")


class RecoveryLoss:
    """Divergence of raw predictions from a teacher's, weighted by what the teacher sees.

    At every anchor point the class scores are binary problems, p = σ(teacher), q = σ(student), whose divergence counts
    |p − q| (Yang et al., BCKD, arXiv 2308.14286, section 3.2) plus the teacher's best score there, so that objects
    are held even where the student has come close. Distributions of the box sides are compared by KL (Zheng et al.,
    localization distillation, arXiv 2102.12252, section 3), plain distances, mask coefficients, keypoints and angles by
    their squared difference over the teacher's variance, all weighted by the teacher's best score; the sums are divided
    by the sum of these scores. Mask prototypes count by their squared difference over their variance, classifiers by
    the KL of their probabilities. Of heads with a one-to-many and a one-to-one branch both are compared.

    Args:
        student, teacher: Models of one task and of the same classes by name.

    Raises:
        InputError: The heads cannot be compared; the message says what differs.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module):
        tasks = [task_of(model) for model in (student, teacher)]
        self._heads = heads = [model.model[-1] for model in (student, teacher)]
        if tasks[0] != tasks[1]:
            raise InputError(f"the model's task is {tasks[0]} and the teacher's {tasks[1]}; give a teacher of its task")
        if tasks[0] not in TASKS or (tasks[0] != "classify" and not hasattr(heads[0], "reg_max")):
            kind = type(heads[0]).__name__
            raise InputError(f"recover compares predictions at anchor points, or of a classifier; {kind} has neither")
        if kind := next((type(h).__name__ for h in heads for told in TOLD if is_a(h, told)), None):
            raise InputError(f"recover cannot compare models that are told their classes in words ({kind})")
        if tasks[0] == "classify":
            self.part = SharedPart(1, _same_classes(names_of(student), names_of(teacher)))
        else:
            self.part = shared_part(student, teacher)

    @property
    def classes(self) -> dict[int, int] | None:
        """The teacher's number of each of the student's classes; None where they are the same."""
        return dict(self.part.classes) if self.part.classes else None

    def __call__(self, student: Any, teacher: Any) -> torch.Tensor:
        """Return the scalar divergence of raw predictions as `run_raw` returns them."""
        student, teacher = (_named(raw, head) for raw, head in zip((student, teacher), self._heads))
        if isinstance(teacher, dict) and "scores" in teacher:
            return self._anchors(_branch(student), teacher)
        if isinstance(teacher, dict):
            shared = [name for name in teacher if isinstance(student, dict) and name in student and teacher[name]]
            if "one2one" in teacher and "one2one" not in shared:
                raise InputError(
                    "the teacher has a one-to-one branch and the model has none, so they cannot be compared"
                )
            return sum(self(student[name], teacher[name]) for name in shared) / len(shared)
        if teacher.dim() in (2, 4):
            theirs = teacher if self.part.classes is None else teacher[:, list(dict(self.part.classes).values())]
            log_p, log_q = (x.float().log_softmax(1) for x in (theirs, student))
            return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1).mean()
        raise InputError(f"predictions of shape {tuple(teacher.shape)} cannot be compared")

    def _anchors(self, student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compare the predictions of a detection head: `scores` (N, nc, A), `boxes` (N, 4·bins, A) and its extras."""
        chosen = list(zip(*self.part.classes)) if self.part.classes else (None, None)
        s, t = (_scores(raw, numbers).float() for raw, numbers in zip((student, teacher), chosen))
        keep = _kept_anchors(student, teacher, self.part.levels)
        s, t = (x if at is None else x[..., at] for x, at in zip((s, t), keep))
        p, q = t.sigmoid(), s.detach().sigmoid()
        best = p.amax(1)  # (N, A)
        total = (_bernoulli_divergence(s, t, p) * ((p - q).abs() + best[:, None])).sum()
        total = total + BOXES * (self._boxes(student["boxes"], teacher["boxes"], keep, best) * best).sum()
        whole = 0.0
        for name in teacher.keys() - {"scores", "boxes", "feats"}:
            ours, theirs = student.get(name), teacher[name]
            ours, theirs = (x[0] if isinstance(x, (tuple, list)) else x for x in (ours, theirs))
            if ours is None or ours.shape != theirs.shape:
                raise InputError(f"{name} of the model and of the teacher differ, so they cannot be compared")
            if theirs.dim() == 3 and theirs.shape[2] == best.shape[1]:
                total = total + EXTRAS * (_relative(ours, theirs, best[:, None]) * best).sum()
            else:
                whole = whole + EXTRAS * _relative(ours, theirs).mean()
        return total / best.sum().clamp_min(1e-6) + whole

    def _boxes(self, student: torch.Tensor, teacher: torch.Tensor, keep: tuple, best: torch.Tensor) -> torch.Tensor:
        """Return (N, A): how far the boxes are apart."""
        student, teacher = (x.float() if at is None else x.float()[..., at] for x, at in zip((student, teacher), keep))
        n, width, a = teacher.shape
        if student.shape[1] != width or width == 4:
            return _relative(student, teacher, best[:, None]) if student.shape[1] == width else torch.zeros_like(best)
        log_q, log_p = (x.reshape(n, 4, width // 4, a).log_softmax(2) for x in (student, teacher))
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(2).mean(1)


def _same_classes(ours: Names, theirs: Names) -> list[tuple[int, int]] | None:
    """Return (our number, their number) of each class, None where all are the same.

    Raises:
        InputError: One side has a class that the other lacks: probabilities of others are no probabilities of these.
    """
    pairs = pair_classes(ours, theirs)
    if not len(pairs) == len(ours) == len(theirs):
        both = [set(numbers) for numbers in zip(*pairs)] or [set(), set()]
        alone = (listed(names, sorted(set(names) - seen)) or "none" for names, seen in zip((ours, theirs), both))
        raise InputError(
            f"the model has {len(ours)} classes and the teacher {len(theirs)}; they must be the same by name; "
            "only in the model: {}; only in the teacher: {}".format(*alone)
        )
    return pairs if any(our != their for our, their in pairs) else None


def _named(raw: Any, head: nn.Module) -> Any:
    """Return predictions by name, as newer releases give them; older ones give maps, and behind them the extras."""
    if isinstance(raw, dict):
        return raw if "scores" in raw else {name: _named(branch, head) for name, branch in raw.items()}
    if not isinstance(raw, (list, tuple)):
        return raw
    extras = raw[1:] if isinstance(raw[0], (list, tuple)) else ()
    return {**raw_predictions(raw, head), **{f"extra {i}": extra for i, extra in enumerate(extras)}}


def _branch(raw: Any) -> dict[str, torch.Tensor]:
    """Return the predictions to compare with a teacher that has a single branch: those trained densely."""
    return raw.get("one2many", raw) if isinstance(raw, dict) else raw


def _scores(raw: dict[str, torch.Tensor], numbers: tuple[int, ...] | None) -> torch.Tensor:
    return raw["scores"] if numbers is None else raw["scores"][:, list(numbers)]


def _kept_anchors(student: dict, teacher: dict, levels: list[tuple[int, int]] | None) -> tuple:
    """Return the indices of the anchor points of the levels that both heads have, of each side; None for all."""
    if levels is None:
        return None, None
    kept = []
    for raw, own in zip((student, teacher), zip(*levels)):
        counts = [level.shape[-2] * level.shape[-1] for level in raw["feats"]]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        kept.append(torch.cat([torch.arange(starts[i], starts[i] + counts[i]) for i in own]).to(raw["scores"].device))
    return tuple(kept)


def _bernoulli_divergence(s: torch.Tensor, t: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Return KL of binary variables from logits: 0 where they agree, never negative."""
    cross = F.binary_cross_entropy_with_logits(s, p, reduction="none")
    return cross - F.binary_cross_entropy_with_logits(t, p, reduction="none")


def _relative(student: torch.Tensor, teacher: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the squared difference over the teacher's (weighted) variance, a mean over channels."""
    student, teacher = student.float(), teacher.float()
    if weight is None:
        variance = teacher.var()
    else:
        share = weight / weight.sum().clamp_min(1e-6)
        mean = (teacher * share).sum((0, 2), keepdim=True)
        variance = ((teacher - mean).square() * share).sum((0, 2), keepdim=True)
    return ((student - teacher).square() / variance.clamp_min(1e-6)).mean(1)
