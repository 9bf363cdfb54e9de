"""Weights and activations rounded as an int8 file rounds them, so that a recovery learns to do with what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from ..pruning.graph.stand_ins import head_of

WEIGHT_LEVELS, LEVELS = 127, 255  # to either side of 0; of activations, which are unsigned
SILU_FLOOR = -8.0  # where the range of what a SiLU reads ends at the latest, in files too: SiLU(-8) = -0.003


class Int8Rounding:
    """Lets a network compute with what int8 leaves of its weights and activations (Jacob et al., CVPR 2018, section 3).

    Weights keep 255 values an output channel. The inputs of layers, and what BatchNorm hands to an activation function,
    keep 256 between the mean of their least values and that of their greatest, over batches of images. The first
    convolution and the head's last ones are left alone, and what a SiLU reads is cut off where it puts out nothing, as
    in the files of `exporting.int8`. The gradient goes straight through, except where a value was cut off.

    Args:
        model: The network; nothing of it is changed.
        passes: Each item is drawn after a pass of the network over some images.
    """

    def __init__(self, model: nn.Module, passes: Iterable[object]):
        self.layers = rounded_layers(model)
        self._before_silu = {
            id(m.bn) for m in model.modules() if isinstance(getattr(m, "act", None), nn.SiLU) and hasattr(m, "bn")
        }
        self._extremes: dict[str, list[torch.Tensor]] = {}
        hooks = [
            layer.register_forward_hook(partial(self._watch, name))
            for name, layer in model.named_modules()
            if name in self.layers
        ]
        try:
            for _ in passes:
                pass
        finally:
            for hook in hooks:
                hook.remove()
        self.ranges = {name: _steps(torch.stack(seen).mean(0)) for name, seen in self._extremes.items()}

    def _watch(self, name: str, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        value = (output if isinstance(layer, nn.BatchNorm2d) else inputs[0]).detach()
        low, high = value.aminmax()
        low = low.clamp_min(SILU_FLOOR) if id(layer) in self._before_silu else low
        self._extremes.setdefault(name, []).append(torch.stack([low, high]))

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        """Let this network, the same or a copy with other weights, round for the time being."""
        changed = [(layer, self.ranges[name]) for name, layer in model.named_modules() if name in self.ranges]
        for layer, steps in changed:
            layer.forward = _rounding(layer, steps)
        try:
            yield
        finally:
            for layer, _ in changed:
                del layer.forward


def rounded_layers(model: nn.Module) -> set[str]:
    """Return the names of the convolutions and linear layers that int8 rounds, and of the BatchNorms."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    layers = {name: layer for name, layer in model.named_modules() if type(layer).forward in {k.forward for k in kinds}}
    first = next((name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)), None)
    stacks = (part for part in head_of(model).modules() if isinstance(part, nn.Sequential) and len(part))
    last = {id(stack[-1]) for stack in stacks}
    return {n for n, layer in layers.items() if n != first and id(layer) not in last and ".dfl." not in n}


def _steps(extremes: torch.Tensor) -> tuple[float, int]:
    """Return the width of a step and the number of the one that is 0, of a range that holds 0."""
    low, high = min(float(extremes[0]), 0.0), max(float(extremes[1]), 0.0)
    scale = (high - low) / LEVELS or 1.0
    return scale, round(-low / scale)


def _rounding(layer: nn.Module, steps: tuple[float, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    scale, zero = steps
    round_values = partial(
        torch.fake_quantize_per_tensor_affine, scale=scale, zero_point=zero, quant_min=0, quant_max=LEVELS
    )
    if isinstance(layer, nn.BatchNorm2d):
        forward = layer.forward
        return lambda x: round_values(forward(x))
    if isinstance(layer, nn.Conv2d):
        return lambda x: layer._conv_forward(round_values(x), round_weight(layer.weight), layer.bias)
    return lambda x: F.linear(round_values(x), round_weight(layer.weight), layer.bias)


def round_weight(weight: torch.Tensor) -> torch.Tensor:
    """Return a layer's weight (O, ...) with 255 values an output channel, the gradient as if it were not rounded."""
    largest = weight.detach().abs().flatten(1).amax(1)
    scale = torch.where(largest > 0, largest / WEIGHT_LEVELS, 1.0)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS)
