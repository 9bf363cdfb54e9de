"""What tensor operations do to channel labels: one small rule each, found by the operation's name.

A rule takes the trace (see `trace.Trace`) and the call's own arguments. It returns the labels of the result and whether
a channel that is zero stays so, a list of such pairs where there are several results, or None where no channel is left.
An operation without a rule freezes every label that reaches it.

Here stand the register and the rules of what works element by element; `shapes` and `products` hold the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

if TYPE_CHECKING:
    from .trace import Trace

Outcome: TypeAlias = "tuple[np.ndarray, bool] | list[tuple[np.ndarray, bool]] | None"
Rule: TypeAlias = Callable[..., Outcome]
RULES: dict[str, Rule] = {}

# f(0) = 0, channel by channel: a removed channel, which is 0 in the masked original, stays 0.
ZERO_KEEPING = (
    "silu relu relu6 leaky_relu gelu tanh hardtanh hardswish mish elu selu celu abs neg dropout dropout1d "
    "dropout2d feature_dropout contiguous clone detach to float half double type type_as alias identity requires_grad "
    "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_max_pool1d adaptive_max_pool2d interpolate upsample sqrt square sign nan_to_num zeros_like cpu cuda"
).split()
ZERO_LOSING = "sigmoid hardsigmoid softplus exp cos logsigmoid reciprocal rsqrt".split()


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of the operations named."""

    def register(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, fn))
        return fn

    return register


@rule(*ZERO_KEEPING)
def keep(trace: Trace, x: torch.Tensor, *args: Any, **kwargs: Any) -> Outcome:
    """Pass labels through an operation that treats channels one by one and maps 0 to 0."""
    return trace.labels(x), trace.zero(x)


@rule("prelu")
def prelu(trace: Trace, x: torch.Tensor, weight: torch.Tensor) -> Outcome:
    """Pass labels; the slopes follow the channels where each has one of its own."""
    if weight.numel() > 1:
        trace.occupy(weight, 0, trace.channels(x, 1), "other")
    return trace.labels(x), trace.zero(x)


@rule(*ZERO_LOSING)
def keep_but_not_zero(trace: Trace, x: torch.Tensor, *args: Any, **kwargs: Any) -> Outcome:
    """Pass labels, and note that a masked channel no longer reads as 0 behind this operation."""
    return trace.labels(x), False


@rule("clamp", "clip")
def clamp(trace: Trace, x: torch.Tensor, min: Any = None, max: Any = None) -> Outcome:
    """Pass labels through limits, between which 0 may lie or not."""
    if isinstance(min, torch.Tensor) or isinstance(max, torch.Tensor):
        return trace.unknown("limits that are tensors", x, min, max)
    keeps_zero = (min is None or min <= 0) and (max is None or max >= 0)
    return trace.labels(x), keeps_zero and trace.zero(x)


@rule("add", "iadd", "radd", "sub", "isub", "rsub", "maximum", "minimum")
def add(trace: Trace, x: torch.Tensor, y: torch.Tensor, *args: Any, **kwargs: Any) -> Outcome:
    """Unite the channels of both operands: they can only be removed together."""
    return trace.combine(x, y), trace.zero(x) and trace.zero(y)


@rule("mul", "imul", "rmul")
def mul(trace: Trace, x: torch.Tensor, y: torch.Tensor, *args: Any, **kwargs: Any) -> Outcome:
    """Unite the channels of both factors; the product is 0 where either factor is."""
    return trace.combine(x, y), trace.zero(x) or trace.zero(y)


@rule("div", "truediv", "itruediv", "true_divide")
def div(trace: Trace, x: torch.Tensor, y: torch.Tensor, *args: Any, **kwargs: Any) -> Outcome:
    """Pass the labels of a quotient whose divisor holds no channels."""
    if trace.has_labels(y):
        return trace.unknown("division by channels", x, y)
    return trace.labels(x), trace.zero(x)
