"""Feature distillation for detectors: which layers are tapped, the hooks, the alignment, and the schedule."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch import nn

from .losses import FEATURE_LOSSES, LossOptions, standardise

REFERENCE_IMGSZ = 640  # losses that add up positions are scaled to what they would be at this image size
FLOOR = 0.1  # the cosine schedule falls from 1 to this


@dataclass(frozen=True)
class Tap:
    """One tapped layer: its index in `model.model`, class name, output channels, and stride in pixels."""

    index: int
    kind: str
    channels: int
    stride: int

    def __str__(self) -> str:
        return f"{self.index} ({self.kind}, {self.channels} channels, stride {self.stride})"


class FeatureTaps:
    """Forward hooks that keep the latest output of chosen layers, between `attach` and `detach`.

    Args:
        model: A model whose `model.model` is its sequence of layers.
        layers: Indices of the layers to tap, in the order in which the features come back.
        stop_after_last: Leave the forward pass at the deepest tapped layer (for a teacher whose head is not needed);
            `run` then returns quietly.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int], stop_after_last: bool = False):
        self.model, self.layers, self.stop_after_last = model, tuple(layers), stop_after_last
        self.features: dict[int, Any] = {}
        self._handles: list = []

    def attach(self) -> None:
        """Set the hooks; a second call changes nothing."""
        if not self._handles:
            self._handles = [self.model.model[i].register_forward_hook(self._keep(i)) for i in self.layers]

    def detach(self) -> None:
        """Remove the hooks and forget the features; a second call changes nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.features.clear()

    def pop(self) -> list:
        """Return the features in the order of the layers and forget them.

        Raises:
            RuntimeError: If a tapped layer has not run since the last call.
        """
        missing = [i for i in self.layers if i not in self.features]
        if missing:
            raise RuntimeError(f"tapped layers {missing} gave no features: they did not run, or their hooks are gone")
        features = [self.features[i] for i in self.layers]
        self.features.clear()
        return features

    def run(self, images: torch.Tensor) -> list:
        """Return the features of images (N, C, H, W) from one pass that keeps no graph and leaves no hook."""
        self.attach()
        try:
            with suppress(_StopForward), torch.no_grad():
                self.model(images)
            return self.pop()
        finally:
            self.detach()

    def _keep(self, index: int):
        deepest = index == max(self.layers)

        def hook(module, inputs, output):
            self.features[index] = output
            if deepest and self.stop_after_last:
                raise _StopForward

        return hook


class _StopForward(Exception):
    """Leaves the teacher's forward pass at its deepest tapped layer."""


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


def probe(model: nn.Module, layers: Sequence[int]) -> list[Tap]:
    """Return channels and stride of the outputs of layers, from one pass of zeros; the model's mode is restored.

    Raises:
        ValueError: If an index is not a layer of the model, or a layer puts out something else than (N, C, H, W).
    """
    names = [type(m).__name__ for m in model.model]
    for i in layers:
        if not 0 <= i < len(names) - 1:
            candidates = ", ".join(f"{j} ({n})" for j, n in enumerate(names[:-1]))
            raise ValueError(f"layer {i} cannot be tapped, the model has: {candidates}")
    size = 4 * max(int(getattr(model, "stride", torch.tensor([32])).max()), 32)
    first = next(model.parameters())
    images = torch.zeros(1, _input_channels(model), size, size, device=first.device, dtype=first.dtype)
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        features = FeatureTaps(model, layers, stop_after_last=True).run(images)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for i, f in zip(layers, features):
        if not isinstance(f, torch.Tensor) or f.ndim != 4:
            raise ValueError(f"layer {i} ({names[i]}) has no feature map (N, C, H, W) to distil")
    return [Tap(i, names[i], f.shape[1], size // f.shape[-1]) for i, f in zip(layers, features)]


def match_layers(
    student: nn.Module, teacher: nn.Module, layers: Sequence[int] | None = None
) -> list[tuple[Tap, Tap]]:
    """Pair the student's layers with the teacher's.

    Models with equal numbers of chosen layers at equal strides are paired in order; others by the layers that feed
    their heads. `layers` names the indices in both.

    Raises:
        ValueError: If paired layers differ in stride, or the heads have different numbers of inputs.
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
            raise ValueError(
                f"student layer {s} and teacher layer {t} differ in stride, so their features cannot be compared. "
                "Pass distill_layers= with layers of equal strides."
            )
    return pairs


def _match_head_inputs(student: nn.Module, teacher: nn.Module) -> list[tuple[Tap, Tap]]:
    taps = [probe(model, _head_inputs(model)) for model in (student, teacher)]
    if [t.stride for t in taps[0]] != [t.stride for t in taps[1]]:
        listing = "; ".join(f"{who}: {', '.join(map(str, t))}" for who, t in zip(("student", "teacher"), taps))
        raise ValueError(f"the heads of student and teacher read features at different strides. {listing}")
    return list(zip(*taps))


def _head_inputs(model: nn.Module) -> list[int]:
    """Return the indices of the layers that feed the head, in its order."""
    f = model.model[-1].f
    return [i if i >= 0 else len(model.model) - 1 + i for i in ([f] if isinstance(f, int) else f)]


def _input_channels(model: nn.Module) -> int:
    return next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels


class FeatureLoss(nn.Module):
    """One distillation loss over all tapped layers, with the adapters that align student and teacher.

    A loss from `FEATURE_LOSSES` with an adapter gets the student mapped to the teacher's channels by a 1×1
    convolution where their numbers differ; maps are standardised per channel where the loss asks for it. Adapters and
    generators are parameters of this module: train them.

    Args:
        channels_s: Channels of the student's layers.
        channels_t: Channels of the teacher's layers.
        distiller: Name of the loss in `FEATURE_LOSSES`.
        strides: Strides of the layers in pixels, to make losses that add up positions independent of the image size
            (their value is then that at 640×640); None leaves them as they are.
        options: The losses' own parameters.

    Raises:
        ValueError: If the name is unknown or the lists differ in length.
    """

    def __init__(
        self,
        channels_s: Sequence[int],
        channels_t: Sequence[int],
        distiller: str = "cwd",
        strides: Sequence[int] | None = None,
        options: LossOptions = LossOptions(),
    ):
        super().__init__()
        if distiller not in FEATURE_LOSSES:
            raise ValueError(f"distiller must be one of {', '.join(FEATURE_LOSSES)}, got {distiller!r}")
        if not len(channels_s) == len(channels_t) > 0 or (strides and len(strides) != len(channels_s)):
            raise ValueError("channels_s, channels_t and strides must list the same layers, at least one")
        self.spec = FEATURE_LOSSES[distiller]
        self.strides = tuple(strides) if strides else None
        self.adapters = nn.ModuleList(
            nn.Conv2d(s, t, 1) if self.spec.adapter and s != t else nn.Identity() for s, t in zip(channels_s, channels_t)
        )
        self.losses = nn.ModuleList(self.spec.build(s, t, options) for s, t in zip(channels_s, channels_t))

    def forward(self, student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the scalar sum over the layers of the loss of features (N, C, H, W), each a mean over the batch."""
        total = torch.zeros((), device=student[0].device)
        for i, (s, t) in enumerate(zip(student, teacher)):
            total = total + self._layer_loss(i, s, t.detach())
        return total

    def _layer_loss(self, i: int, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        s = self.adapters[i](s)
        with torch.autocast(s.device.type, enabled=False):
            s, t = s.float(), t.float()
            if self.spec.standardise:
                s, t = standardise(s), standardise(t)
            return self.losses[i](s, t) * self._position_scale(i, t)

    def _position_scale(self, i: int, t: torch.Tensor) -> float:
        if not (self.spec.sums_positions and self.strides):
            return 1.0
        return (REFERENCE_IMGSZ / self.strides[i]) ** 2 / (t.shape[-2] * t.shape[-1])


def schedule_weight(schedule: str, run_progress: float, epoch_progress: float) -> float:
    """Return the factor on the distillation loss: a cosine from 1 to 0.1 over the run or each epoch, or 1.

    Args:
        schedule: 'run', 'epoch' or 'constant'.
        run_progress: Share of the run that is done, in [0, 1].
        epoch_progress: Share of the epoch that is done, in [0, 1].
    """
    if schedule == "constant":
        return 1.0
    progress = {"run": run_progress, "epoch": epoch_progress}[schedule]
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
