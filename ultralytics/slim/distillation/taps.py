"""Feature distillation for detectors: which layers are tapped, the hooks, the alignment, and the schedule."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch import nn

from ..errors import InputError
from ..kinds import input_channels


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

        def hook(module: nn.Module, inputs: Any, output: Any):
            self.features[index] = output
            if deepest and self.stop_after_last:
                raise _StopForward

        return hook


class _StopForward(Exception):
    """Leaves the teacher's forward pass at its deepest tapped layer."""


def probe(model: nn.Module, layers: Sequence[int]) -> list[Tap]:
    """Return channels and stride of the outputs of layers, from one pass of zeros; the model's mode is restored.

    Raises:
        InputError: If an index is not a layer of the model, or a layer puts out something else than (N, C, H, W).
    """
    names = [type(m).__name__ for m in model.model]
    for i in layers:
        if not 0 <= i < len(names) - 1:
            candidates = ", ".join(f"{j} ({n})" for j, n in enumerate(names[:-1]))
            raise InputError(f"layer {i} cannot be tapped, the model has: {candidates}")
    size = 4 * max(int(getattr(model, "stride", torch.tensor([32])).max()), 32)
    first = next(model.parameters())
    images = torch.zeros(1, input_channels(model), size, size, device=first.device, dtype=first.dtype)
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        features = FeatureTaps(model, layers, stop_after_last=True).run(images)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for i, f in zip(layers, features):
        if not isinstance(f, torch.Tensor) or f.ndim != 4:
            raise InputError(f"layer {i} ({names[i]}) has no feature map (N, C, H, W) to distil")
    return [Tap(i, names[i], f.shape[1], size // f.shape[-1]) for i, f in zip(layers, features)]
