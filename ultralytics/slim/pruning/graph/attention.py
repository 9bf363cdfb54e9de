"""Head-aware channel rules for Ultralytics' attention blocks, `Attention`, `AAttn` and `MaxSigmoidAttnBlock`.

The first two cut one convolution's output into heads, and every head into query, key and value, by sizes written out in
attributes. All heads must therefore keep the same number of channels: the heads are tied position by position. Query
and key meet in a product and are tied there (`products.matmul`). `Attention` reads the width of its result from its
input, and so does `AAttn` in older releases, which are to load the result too: value and input are tied. `AAttn`
demands equally wide query, key and value, and divides by the root of that width (which `rewrite` makes up for).

`MaxSigmoidAttnBlock`, of YOLO-World, cuts its image features and what it makes of the texts into heads of one width,
`hc`, by the root of which it divides their product; what it weighs with that is cut into as many heads of any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...compat import AAttn, Attention
from ...kinds import is_a

if TYPE_CHECKING:
    from .trace import Trace


def view_in_attention(trace: Trace, x: torch.Tensor, shape: Sequence[int]) -> np.ndarray | None:
    """Return the labels of a view inside an attention block, or None where the block is none."""
    module, out = trace.module, trace.result
    if is_a(module, "MaxSigmoidAttnBlock"):
        return _view_in_text_attention(trace, x, shape)
    if not isinstance(module, (AAttn, Attention)):
        return None
    labels = trace.reshaped(x)
    heads = 1 if isinstance(module, Attention) else 2  # dimension of the heads: (B, heads, w, N) or (B, N, heads, w)
    if out.dim() == 4 and out.shape[heads] == module.num_heads and x.dim() == 5 - heads:
        first = np.take(labels, [0], axis=heads)
        trace.book.unite(np.broadcast_to(first, labels.shape), labels)
    elif isinstance(module, Attention) and trace.module_input is not None:
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
    if not isinstance(module, (AAttn, Attention)) or len(parts) != 3:
        return False
    q, k, v = parts  # each (1, heads, width, 1)
    if isinstance(module, AAttn):
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
