"""Rules of operations that reorder, cut or join dimensions, or reduce over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .attention import split_in_attention, view_in_attention
from .operations import Outcome, rule

if TYPE_CHECKING:
    from .trace import Trace


@rule("cat", "concat", "concatenate")
def cat(trace: Trace, tensors: Sequence[torch.Tensor], dim: int = 0, **kwargs: Any) -> Outcome:
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
        return np.concatenate(wide, axis=dim), all(trace.zero(t) for t in tensors if trace.has_labels(t))
    if any(p.shape[dim] != 1 for p in parts):
        return trace.unknown("concatenation across channels in two dimensions", *tensors)
    for p in parts[1:]:
        trace.book.unite(parts[0], p)
    return parts[0], all(trace.zero(t) for t in tensors)


@rule("stack")
def stack(trace: Trace, tensors: Sequence[torch.Tensor], dim: int = 0, **kwargs: Any) -> Outcome:
    """Unite the channels of stacked tensors and add the new dimension."""
    tensors = list(tensors)
    parts = [trace.labels(t) for t in tensors]
    for p in parts[1:]:
        trace.book.unite(parts[0], p)
    return np.expand_dims(parts[0], dim % (tensors[0].dim() + 1)), all(trace.zero(t) for t in tensors)


@rule("sum", "mean", "amax", "amin")
def reduce(
    trace: Trace, x: torch.Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, **kwargs: Any
) -> Outcome:
    """Drop reduced dimensions that hold no channels."""
    labels = trace.labels(x)
    dims = range(x.dim()) if dim is None else [d % x.dim() for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if any(labels.shape[d] != 1 for d in dims):
        return trace.unknown("reduction over channels", x)
    return (labels if keepdim else np.squeeze(labels, axis=tuple(dims))), trace.zero(x)


@rule("softmax")
def softmax(trace: Trace, x: torch.Tensor, dim: int | None = None, **kwargs: Any) -> Outcome:
    """Pass labels of a softmax over positions; over channels it mixes them all."""
    labels = trace.labels(x)
    if dim is None or labels.shape[dim] != 1:
        return trace.unknown("softmax over channels", x)
    return labels, False


@rule("pad")
def pad(
    trace: Trace, x: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None, **kwargs: Any
) -> Outcome:
    """Pass labels through padding of dimensions that hold no channels."""
    labels = trace.labels(x)
    if any(labels.shape[x.dim() - 1 - d // 2] != 1 for d, n in enumerate(pad) if n):
        return trace.unknown("padding of channels", x)
    return labels, trace.zero(x) and (mode != "constant" or not value)


@rule("transpose", "swapaxes")
def transpose(trace: Trace, x: torch.Tensor, a: int, b: int) -> Outcome:
    """Swap two dimensions."""
    return np.swapaxes(trace.labels(x), a, b), trace.zero(x)


@rule("permute")
def permute(trace: Trace, x: torch.Tensor, *dims: Any) -> Outcome:
    """Reorder dimensions."""
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return np.transpose(trace.labels(x), dims), trace.zero(x)


@rule("unsqueeze")
def unsqueeze(trace: Trace, x: torch.Tensor, dim: int) -> Outcome:
    """Add a dimension."""
    return np.expand_dims(trace.labels(x), dim % (x.dim() + 1)), trace.zero(x)


@rule("squeeze")
def squeeze(trace: Trace, x: torch.Tensor, dim: int | tuple[int, ...] | None = None) -> Outcome:
    """Drop dimensions of size 1 (never one that held channels)."""
    dims = [d for d in range(x.dim()) if x.shape[d] == 1]
    if dim is not None:
        dims = [d for d in dims if d in [i % x.dim() for i in (dim if isinstance(dim, tuple) else (dim,))]]
    return np.squeeze(trace.labels(x), axis=tuple(dims)), trace.zero(x)


@rule("expand", "expand_as")
def expand(trace: Trace, x: torch.Tensor, *args: Any) -> Outcome:
    """Pass labels of a tensor that is only repeated along dimensions without channels."""
    labels, out = trace.labels(x), trace.result
    return labels.reshape((1,) * (out.dim() - labels.ndim) + labels.shape), trace.zero(x)


@rule("flatten")
def flatten(trace: Trace, x: torch.Tensor, start_dim: int = 0, end_dim: int = -1) -> Outcome:
    """Merge dimensions, sizes taken from the tensor itself."""
    return trace.reshaped(x), trace.zero(x)


@rule("view", "reshape", "unflatten")
def view(trace: Trace, x: torch.Tensor, *shape: Any, **kwargs: Any) -> Outcome:
    """Split or merge dimensions; channels survive only in blocks whose written-out sizes can be rewritten."""
    if not trace.has_labels(x):
        return None
    special = view_in_attention(trace, x, shape)
    if special is not None:
        return special, trace.zero(x)
    if trace.known_view():
        return trace.reshaped(x), trace.zero(x)
    return trace.unknown("view with written-out sizes", x)


@rule("chunk")
def chunk(trace: Trace, x: torch.Tensor, chunks: int, dim: int = 0) -> Outcome:
    """Cut the channels into equal parts, each of which must lose as many as the others."""
    labels = trace.labels(x)
    if labels.shape[dim] == 1:
        return [(labels, trace.zero(x))] * len(trace.result)
    if labels.shape[dim] % chunks:
        return trace.unknown("uneven chunks", x)
    parts = np.split(labels, chunks, axis=dim)
    trace.book.equal_counts(parts)
    width = getattr(trace.module, "c", None)
    if trace.upstream_module() and isinstance(width, int) and width == parts[0].shape[dim]:
        trace.attribute("c", parts[0])  # other code may mean anything by it
    return [(p, trace.zero(x)) for p in parts]


@rule("split", "split_with_sizes")
def split(trace: Trace, x: torch.Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> Outcome:
    """Cut the channels into parts of written-out sizes; only blocks whose sizes can be rewritten keep their labels."""
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
def getitem(trace: Trace, x: torch.Tensor, index: Any) -> Outcome:
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
