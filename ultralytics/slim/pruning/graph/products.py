"""Rules of what multiplies by weights, or matrices with each other: it makes channels, or reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from .operations import Outcome, rule

if TYPE_CHECKING:
    from .trace import Trace

Size: TypeAlias = "int | tuple[int, ...]"


@rule("matmul", "bmm")
def matmul(trace: Trace, x: torch.Tensor, y: torch.Tensor) -> Outcome:
    """Multiply matrices: (..., M, K) by (..., K, N); the channels of both along K are removed together."""
    a, b = trace.labels(x), trace.labels(y)
    if x.dim() != y.dim() or x.dim() < 2:
        return trace.unknown("matrix product of vectors", x, y)
    if a.shape[-1] != 1 and b.shape[-2] != 1:
        if a.shape[-2] != 1 or b.shape[-1] != 1 or not (trace.zero(x) or trace.zero(y)):
            return trace.unknown("matrix product with channels in two dimensions", x, y)
        trace.book.unite(np.swapaxes(a, -1, -2), b)
        trace.read(b)
        return None
    if a.shape[-1] != 1 or b.shape[-2] != 1 or (a.any() and b.any()):
        return trace.unknown("matrix product over channels of one side", x, y)
    if a.any():
        return a, trace.zero(x)
    return b, trace.zero(y)


@rule("conv1d", "conv2d", "conv3d")
def conv(
    trace: Trace,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Outcome:
    """Convolve: weight (out, in / groups, *kernel). Channelwise layers pass labels on, the others make new ones."""
    ins, outs = trace.channels(x, x.dim() - weight.dim() + 1), weight.shape[0]
    if groups > 1 and groups == x.shape[-weight.dim() + 1]:
        labels = trace.depthwise(ins, weight, groups, outs, trace.zero(x))
    else:
        labels = trace.produce(outs, weight)
        if groups > 1:
            trace.book.freeze(ins, f"{trace.where()}: grouped convolution")
            trace.book.freeze(labels, f"{trace.where()}: grouped convolution")
        else:
            trace.consume(weight, 1, ins, x)
    trace.occupy(weight, 0, labels, "out")
    trace.occupy(bias, 0, labels, "out")
    return labels.reshape((-1,) + (1,) * (weight.dim() - 2))[None], True


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(
    trace: Trace,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Outcome:
    """Convolve transposed: weight (in, out / groups, *kernel)."""
    ins = trace.channels(x, 1)
    labels = trace.produce(weight.shape[1] * groups, weight)
    if groups > 1:
        trace.book.freeze(ins, f"{trace.where()}: grouped transposed convolution")
        trace.book.freeze(labels, f"{trace.where()}: grouped transposed convolution")
    else:
        trace.consume(weight, 0, ins, x)
        trace.occupy(weight, 1, labels, "out")
        trace.occupy(bias, 0, labels, "out")
    return labels.reshape((-1,) + (1,) * (weight.dim() - 2))[None], True


@rule("linear")
def linear(trace: Trace, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Outcome:
    """Multiply the last dimension by weight (out, in)."""
    labels = trace.produce(weight.shape[0], weight)
    trace.consume(weight, 1, trace.channels(x, x.dim() - 1), x)
    trace.occupy(weight, 0, labels, "out")
    trace.occupy(bias, 0, labels, "out")
    return labels.reshape((1,) * (x.dim() - 1) + (-1,)), True


@rule("batch_norm")
def batch_norm(
    trace: Trace,
    x: torch.Tensor,
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Outcome:
    """Normalise channel by channel; with scale, shift and mean at 0 a masked channel is 0 behind it."""
    ins = trace.channels(x, 1)
    for tensor in (weight, bias, running_mean):
        trace.occupy(tensor, 0, ins, "norm")
    trace.occupy(running_var, 0, ins, "var")
    return trace.labels(x), weight is not None or trace.zero(x)
