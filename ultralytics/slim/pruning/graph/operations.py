"""What each tensor operation does to channel labels: one small rule an operation, found by the operation's name.

A rule takes the trace (see `channels.Trace`) and the call's own arguments and returns the labels of the result (or a
list of them). An operation without a rule freezes every label that reaches it.
"""

from __future__ import annotations

import numpy as np

RULES: dict = {}

# f(0) = 0, channel by channel: a removed channel, which is 0 in the masked original, stays 0.
ZERO_KEEPING = (
    "silu relu relu6 leaky_relu gelu tanh hardtanh hardswish mish elu selu celu prelu abs neg dropout dropout1d "
    "dropout2d feature_dropout contiguous clone detach to float half double type type_as alias identity requires_grad "
    "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_max_pool1d adaptive_max_pool2d interpolate upsample sqrt square sign cpu cuda"
).split()
ZERO_LOSING = "sigmoid hardsigmoid softplus exp cos logsigmoid reciprocal rsqrt".split()
WITHOUT_CHANNELS = (  # read only a tensor's form, or make tensors that carry no channel
    "get set size dim numel stride is_floating_point is_complex len data_ptr get_device is_contiguous "
    "empty zeros ones arange full zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full "
    "linspace tensor"
).split()


def rule(*names: str):
    """Register the decorated function as the rule of the operations named."""

    def register(fn):
        RULES.update(dict.fromkeys(names, fn))
        return fn

    return register


@rule(*ZERO_KEEPING)
def keep(trace, x, *args, **kwargs):
    """Pass labels through an operation that treats channels one by one and maps 0 to 0."""
    return trace.labels(x), trace.zero(x)


@rule(*ZERO_LOSING)
def keep_but_not_zero(trace, x, *args, **kwargs):
    """Pass labels, and note that a masked channel no longer reads as 0 behind this operation."""
    return trace.labels(x), False


@rule("add", "iadd", "radd", "sub", "isub", "rsub", "maximum", "minimum")
def add(trace, x, y, *args, **kwargs):
    """Unite the channels of both operands: they can only be removed together."""
    return trace.combine(x, y), trace.zero(x) and trace.zero(y)


@rule("mul", "imul", "rmul")
def mul(trace, x, y, *args, **kwargs):
    """Unite the channels of both factors; the product is 0 where either factor is."""
    return trace.combine(x, y), trace.zero(x) or trace.zero(y)


@rule("div", "truediv", "itruediv", "true_divide")
def div(trace, x, y, *args, **kwargs):
    """Pass the labels of a quotient whose divisor holds no channels."""
    if trace.has_labels(y):
        return trace.unknown("division by channels", x, y)
    return trace.labels(x), trace.zero(x)


@rule("cat", "concat", "concatenate")
def cat(trace, tensors, dim=0, **kwargs):
    """Join labels along `dim`; where pieces hold channels along another dimension, unite those."""
    tensors = list(tensors)
    if not any(trace.has_labels(t) for t in tensors):
        return None
    dim = dim % tensors[0].dim()
    parts = [trace.labels(t) for t in tensors]
    full = np.broadcast_shapes(*[tuple(n if d != dim else 1 for d, n in enumerate(p.shape)) for p in parts])
    if all(n == 1 for n in full):
        wide = [
            np.broadcast_to(p, tuple(t.shape[dim] if d == dim else 1 for d in range(t.dim())))
            for p, t in zip(parts, tensors)
        ]
        return np.concatenate(wide, axis=dim), all(trace.zero(t) for t in tensors)
    if any(p.shape[dim] != 1 for p in parts):
        return trace.unknown("concatenation across channels in two dimensions", *tensors)
    for p in parts[1:]:
        trace.book.unite(parts[0], p)
    return parts[0], all(trace.zero(t) for t in tensors)


@rule("stack")
def stack(trace, tensors, dim=0, **kwargs):
    """Unite the channels of stacked tensors and add the new dimension."""
    tensors = list(tensors)
    parts = [trace.labels(t) for t in tensors]
    for p in parts[1:]:
        trace.book.unite(parts[0], p)
    return np.expand_dims(parts[0], dim % (tensors[0].dim() + 1)), all(trace.zero(t) for t in tensors)


@rule("sum", "mean", "amax", "amin")
def reduce(trace, x, dim=None, keepdim=False, **kwargs):
    """Drop reduced dimensions that hold no channels."""
    labels = trace.labels(x)
    dims = range(x.dim()) if dim is None else [d % x.dim() for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if any(labels.shape[d] != 1 for d in dims):
        return trace.unknown("reduction over channels", x)
    return (labels if keepdim else np.squeeze(labels, axis=tuple(dims))), trace.zero(x)


@rule("softmax")
def softmax(trace, x, dim=None, **kwargs):
    """Pass labels of a softmax over positions; over channels it mixes them all."""
    labels = trace.labels(x)
    if dim is None or labels.shape[dim] != 1:
        return trace.unknown("softmax over channels", x)
    return labels, False


@rule("pad")
def pad(trace, x, pad, mode="constant", value=None, **kwargs):
    """Pass labels through padding of dimensions that hold no channels."""
    labels = trace.labels(x)
    if any(labels.shape[x.dim() - 1 - d // 2] != 1 for d, n in enumerate(pad) if n):
        return trace.unknown("padding of channels", x)
    return labels, trace.zero(x) and (mode != "constant" or not value)


@rule("transpose", "swapaxes")
def transpose(trace, x, a, b):
    """Swap two dimensions."""
    return np.swapaxes(trace.labels(x), a, b), trace.zero(x)


@rule("permute")
def permute(trace, x, *dims):
    """Reorder dimensions."""
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return np.transpose(trace.labels(x), dims), trace.zero(x)


@rule("unsqueeze")
def unsqueeze(trace, x, dim):
    """Add a dimension."""
    return np.expand_dims(trace.labels(x), dim % (x.dim() + 1)), trace.zero(x)


@rule("squeeze")
def squeeze(trace, x, dim=None):
    """Drop dimensions of size 1 (never one that held channels)."""
    dims = [d for d in range(x.dim()) if x.shape[d] == 1]
    if dim is not None:
        dims = [d for d in dims if d in [i % x.dim() for i in (dim if isinstance(dim, tuple) else (dim,))]]
    return np.squeeze(trace.labels(x), axis=tuple(dims)), trace.zero(x)


@rule("expand", "expand_as")
def expand(trace, x, *args):
    """Pass labels of a tensor that is only repeated along dimensions without channels."""
    labels, out = trace.labels(x), trace.result
    return labels.reshape((1,) * (out.dim() - labels.ndim) + labels.shape), trace.zero(x)


@rule("flatten")
def flatten(trace, x, start_dim=0, end_dim=-1):
    """Merge dimensions, sizes taken from the tensor itself."""
    return trace.reshaped(x), trace.zero(x)


@rule("view", "reshape", "unflatten")
def view(trace, x, *shape, **kwargs):
    """Split or merge dimensions; channels survive only in blocks whose written-out sizes can be rewritten."""
    from .attention import view_in_attention

    if not trace.has_labels(x):
        return None
    special = view_in_attention(trace, x)
    if special is not None:
        return special, trace.zero(x)
    if trace.known_view():
        return trace.reshaped(x), trace.zero(x)
    return trace.unknown("view with written-out sizes", x)


@rule("chunk")
def chunk(trace, x, chunks, dim=0):
    """Cut the channels into equal parts, each of which must lose as many as the others."""
    labels = trace.labels(x)
    if labels.shape[dim] == 1:
        return [(labels, trace.zero(x))] * len(trace.result)
    if labels.shape[dim] % chunks:
        return trace.unknown("uneven chunks", x)
    parts = np.split(labels, chunks, axis=dim)
    trace.book.equal_counts(parts)
    trace.attribute("c", parts[0])
    return [(p, trace.zero(x)) for p in parts]


@rule("split", "split_with_sizes")
def split(trace, x, split_size_or_sections, dim=0):
    """Cut the channels into parts of written-out sizes; only blocks whose sizes can be rewritten keep their labels."""
    from .attention import split_in_attention

    labels, sizes = trace.labels(x), split_size_or_sections
    if labels.shape[dim] == 1:
        return [(labels, trace.zero(x))] * len(trace.result)
    parts = np.split(labels, np.cumsum([r.shape[dim] for r in trace.result])[:-1], axis=dim)
    module = trace.module
    if split_in_attention(trace, parts):
        pass
    elif getattr(module, "c2s", None) is sizes:
        trace.attribute("c2s", *parts)
    elif len(parts) == 2 and tuple(sizes) == (getattr(module, "c", None),) * 2 and trace.upstream_module():
        trace.book.equal_counts(parts)
        trace.attribute("c", parts[0])
    else:
        return trace.unknown("split with written-out sizes", x)
    return [(p, trace.zero(x)) for p in parts]


@rule("getitem")
def getitem(trace, x, index):
    """Index dimensions that hold no channels; indexing channels by number freezes them."""
    labels, out = trace.labels(x), []
    index = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [i for i in index if i is Ellipsis]:
        at = next(k for k, i in enumerate(index) if i is Ellipsis)
        used = sum(i is not None and i is not Ellipsis for i in index)
        index[at : at + 1] = [slice(None)] * (x.dim() - used)
    dim = 0
    for i in index:
        if i is None:
            out.append(None)
            continue
        whole = isinstance(i, slice) and i == slice(None)
        if not (isinstance(i, (int, slice))) or (labels.shape[dim] != 1 and not whole):
            return trace.unknown("indexing of channels", x)
        out.append(0 if isinstance(i, int) else slice(None))
        dim += 1
    return labels[tuple(out)], trace.zero(x)


@rule("matmul", "bmm")
def matmul(trace, x, y):
    """Multiply matrices: (..., M, K) by (..., K, N); the channels of both along K are removed together."""
    a, b = trace.labels(x), trace.labels(y)
    if x.dim() != y.dim() or x.dim() < 2:
        return trace.unknown("matrix product of vectors", x, y)
    if a.shape[-1] != 1 and b.shape[-2] != 1:
        if a.shape[-2] != 1 or b.shape[-1] != 1 or not (trace.zero(x) or trace.zero(y)):
            return trace.unknown("matrix product with channels in two dimensions", x, y)
        trace.book.unite(np.swapaxes(a, -1, -2), b)
        return None
    if a.shape[-1] != 1 or b.shape[-2] != 1 or (a.any() and b.any()):
        return trace.unknown("matrix product over channels of one side", x, y)
    if a.any():
        return a, trace.zero(x)
    return b, trace.zero(y)


@rule("conv1d", "conv2d", "conv3d")
def conv(trace, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
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
def conv_transpose(trace, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
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
def linear(trace, x, weight, bias=None):
    """Multiply the last dimension by weight (out, in)."""
    labels = trace.produce(weight.shape[0], weight)
    trace.consume(weight, 1, trace.channels(x, x.dim() - 1), x)
    trace.occupy(weight, 0, labels, "out")
    trace.occupy(bias, 0, labels, "out")
    return labels.reshape((1,) * (x.dim() - 1) + (-1,)), True


@rule("batch_norm")
def batch_norm(trace, x, running_mean, running_var, weight=None, bias=None, *args, **kwargs):
    """Normalise channel by channel; with scale, shift and mean at 0 a masked channel is 0 behind it."""
    ins = trace.channels(x, 1)
    for tensor in (weight, bias, running_mean):
        trace.occupy(tensor, 0, ins, "norm")
    trace.occupy(running_var, 0, ins, "var")
    return trace.labels(x), weight is not None or trace.zero(x)
