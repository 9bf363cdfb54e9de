"""Which layers are distilled, and which layer of the teacher each of the student's learns from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..errors import InputError
from .taps import Tap, probe


def choose_layers(model: nn.Module) -> list[int]:
    """Return the layers to distil: the blocks of the neck, and the backbone's blocks of the same kinds at stride ≥ 16.

    The kinds are those of the layers that feed the head, so YOLOv8 gives 6, 8, 12, 15, 18, 21 and YOLO11 gives 6, 8,
    13, 16, 19, 22. Where the head is fed by plain convolutions (YOLOv6), only the layers that feed it are taken.
    """
    feeds = _head_inputs(model)
    kinds = {type(model.model[i]).__name__ for i in feeds}
    if kinds & {"Conv", "DWConv", "Conv2d", "Concat"}:
        return sorted(feeds)
    blocks = [i for i, m in enumerate(model.model) if type(m).__name__ in kinds]
    neck_start = next((i for i, m in enumerate(model.model) if not isinstance(m.f, int)), len(model.model))
    strides = {tap.index: tap.stride for tap in probe(model, blocks)}
    return [i for i in blocks if i in feeds or i > neck_start or strides[i] >= 16]


def match_layers(student: nn.Module, teacher: nn.Module, layers: Sequence[int] | None = None) -> list[tuple[Tap, Tap]]:
    """Pair the student's layers with the teacher's.

    Models with equal numbers of chosen layers at equal strides are paired in order; others by the layers that feed
    their heads, at the strides that both heads read. `layers` names the indices in both.

    Raises:
        InputError: If paired layers differ in stride, or the heads read features at no common stride.
    """
    if layers is not None:
        pairs = list(zip(probe(student, layers), probe(teacher, layers)))
    else:
        taps = [probe(model, choose_layers(model)) for model in (student, teacher)]
        pairs = list(zip(*taps))
        if len(taps[0]) != len(taps[1]) or any(s.stride != t.stride for s, t in pairs):
            pairs = _match_head_inputs(student, teacher)
    for s, t in pairs:
        if s.stride != t.stride:
            raise InputError(
                f"student layer {s} and teacher layer {t} differ in stride, so their features cannot be compared. "
                "Pass distill_layers= with layers of equal strides."
            )
    return pairs


def _match_head_inputs(student: nn.Module, teacher: nn.Module) -> list[tuple[Tap, Tap]]:
    taps = [probe(model, _head_inputs(model)) for model in (student, teacher)]
    teachers = {tap.stride: tap for tap in taps[1]}
    pairs = [(tap, teachers[tap.stride]) for tap in taps[0] if tap.stride in teachers]
    if not pairs:
        listing = "; ".join(f"{who}: {', '.join(map(str, t))}" for who, t in zip(("student", "teacher"), taps))
        raise InputError(f"the heads of student and teacher read features at no stride that both have. {listing}")
    return pairs


def _head_inputs(model: nn.Module) -> list[int]:
    """Return the indices of the layers that feed the head, in its order."""
    f = model.model[-1].f
    return [i if i >= 0 else len(model.model) - 1 + i for i in ([f] if isinstance(f, int) else f)]
