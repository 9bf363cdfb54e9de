"""Head-aware channel rules for Ultralytics' attention blocks, `Attention`, `AAttn` and `MaxSigmoidAttnBlock`.

The first two cut one convolution's output into heads, and every head into query, key and value, by sizes written out in
attributes. All heads must therefore keep the same number of channels: the heads are tied position by position. Query
and key meet in a product and are tied there (`products.matmul`). `Attention` reads the width of its result from its
input, and so does `AAttn` in older releases, which are to load the result too: value and input are tied. `AAttn`
demands equally wide query, key and value, and divides by the root of that width (which `rewrite` makes up for). In its
first form, that of the repositories where YOLOv12 and YOLOv13 came from, one convolution makes query and key, `qk`, and
another the value, `v`; all three are as wide as the input.

`MaxSigmoidAttnBlock`, of YOLO-World, cuts its image features and what it makes of the texts into heads of one width,
`hc`, by the root of which it divides their product; what it weighs with that is cut into as many heads of any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ...kinds import is_a

if TYPE_CHECKING:
    from .trace import Trace


def is_attention(module: nn.Module) -> bool:
    """Return whether a module is an `Attention` of Ultralytics, by what it keeps."""
    return is_a(module, "Attention") and hasattr(module, "qkv") and hasattr(module, "key_dim")


def is_area_attention(module: nn.Module) -> bool:
    """Return whether a module is an `AAttn`, in either form."""
    return is_a(module, "AAttn") and (hasattr(module, "qkv") or is_first_form(module))


def is_first_form(module: nn.Module) -> bool:
    """Return whether an `AAttn` makes its value by a convolution of its own."""
    return hasattr(module, "qk") and hasattr(module, "v")


def view_in_attention(trace: Trace, x: torch.Tensor, shape: Sequence[int]) -> np.ndarray | None:
    """Return the labels of a view inside an attention block, or None where the block is none."""
    module, out = trace.module, trace.result
    if is_a(module, "MaxSigmoidAttnBlock"):
        return _view_in_text_attention(trace, x, shape)
    if not (is_attention(module) or is_area_attention(module)):
        return None
    labels = trace.reshaped(x)
    heads = int(np.argmax(trace.labels(x).shape))  # the dimension that is cut: (B, heads, w, N) or (B, N, heads, w)
    if out.dim() == 4 and tuple(out.shape[heads : heads + 2]) == (module.num_heads, x.shape[heads] // module.num_heads):
        first = np.take(labels, [0], axis=heads)
        trace.book.unite(np.broadcast_to(first, labels.shape), labels)
    elif is_attention(module) and trace.module_input is not None:
        trace.book.unite(trace.labels(trace.module_input), labels)
    return labels


def _view_in_text_attention(trace: Trace, x: torch.Tensor, shape: Sequence[int]) -> np.ndarray:
    """Return the labels of a view into heads, those of the first for all of them, or back."""
    labels = trace.reshaped(x)
    if len(shape) == x.dim():  # back
        return labels
    heads = 1 if x.dim() == 4 else 2  # features (B, heads, w, H, W), texts (B, N, heads, w)
    first = np.take(labels, [0], axis=heads)
    trace.book.unite(np.broadcast_to(first, labels.shape), labels)
    if -1 not in shape:
        trace.attribute("hc", first.ravel())
    return first


def split_in_attention(trace: Trace, parts: Sequence[np.ndarray]) -> bool:
    """Tie query, key and value as the block demands and note its widths; return whether this was such a split."""
    module = trace.module
    if is_area_attention(module) and len(parts) == 2 and is_first_form(module):
        return _split_first_form(trace, *parts)
    if not (is_attention(module) or is_area_attention(module)) or len(parts) != 3:
        return False
    q, k, v = parts  # each (1, heads, width, 1)
    if is_area_attention(module):
        trace.book.unite(q, k)
        trace.book.unite(q, v)
        ins = trace.labels(trace.module_input)
        if ins.size == v.size:
            trace.book.unite(ins.ravel(), v[0, :, :, 0].ravel())
        trace.attribute("head_dim", q[0, 0, :, 0])
        trace.attribute("all_head_dim", q[0, :, :, 0])
    else:
        trace.attribute("key_dim", q[0, 0, :, 0])
        trace.attribute("head_dim", v[0, 0, :, 0])
    return True


def _split_first_form(trace: Trace, q: np.ndarray, k: np.ndarray) -> bool:
    """Tie query and key, each (1, 1, channels), and the value to the input, whose width the block reads."""
    module, ins = trace.module, trace.labels(trace.module_input).ravel()
    value = trace.made_by(module.v)
    if not ins.size == q.size == k.size == value.size:
        return False
    for labels in (q, k, value):
        trace.book.unite(ins, labels.ravel())
    trace.attribute("head_dim", q.ravel()[: q.size // module.num_heads])
    trace.attribute("all_head_dim", q.ravel())
    return True
