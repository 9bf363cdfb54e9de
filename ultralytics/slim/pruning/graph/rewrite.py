"""Cut channels out of a model in place, and put right every number that its modules keep about their widths."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ultralytics.nn.modules import RepConv

from ...compat import RepVGGDW
from ...kinds import is_a
from ...widths import note_parameters
from .attention import is_area_attention, is_first_form
from .channels import ChannelGraph


def sliced(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> nn.Module:
    """Return a copy of `model` with only the channels in `keep`; see `slice_model`."""
    copied = copy.deepcopy(model)
    slice_model(copied, graph, keep)
    return copied


def slice_model(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> None:
    """Keep only the channels whose label is true in `keep`, shape (labels + 1,), `keep[0]` being true."""
    modules = dict(model.named_modules())
    old_dims = {n: m.head_dim for n, m in modules.items() if is_area_attention(m)}
    old_dims |= {n: m.hc for n, m in modules.items() if is_a(m, "MaxSigmoidAttnBlock")}
    _slice_tensors(modules, graph, keep)
    for name, attribute, labels in graph.attributes:
        counts = [int(keep[part].sum()) for part in labels]
        setattr(modules[name], attribute, counts if attribute == "c2s" else counts[0])
    for name, m in modules.items():
        _set_widths(m, int(keep[graph.groups[name]].sum()) if name in graph.groups else None)
    for name, m in modules.items():
        if is_area_attention(m) and m.head_dim != old_dims[name]:
            _rescale_queries(m, (m.head_dim / old_dims[name]) ** 0.5)
        elif is_a(m, "MaxSigmoidAttnBlock"):
            _rescale_texts(m, (m.hc / old_dims[name]) ** 0.5)
        elif isinstance(m, RepConv) and hasattr(m, "conv1"):
            m.c1, m.c2 = m.conv1.conv.in_channels, m.conv1.conv.out_channels
        elif isinstance(m, RepVGGDW):
            m.dim = m.conv.out_channels if isinstance(m.conv, nn.Conv2d) else m.conv.conv.out_channels
    note_parameters(model)


def _slice_tensors(modules: dict[str, nn.Module], graph: ChannelGraph, keep: np.ndarray) -> None:
    """Replace every parameter and buffer that loses channels; shared ones stay shared."""
    cuts: dict[tuple[str, ...], list] = {}
    for slot in graph.slots:
        if not keep[slot.labels].all():
            cuts.setdefault(slot.names, []).append((slot.dim, np.flatnonzero(keep[slot.labels])))
    for names, dims in cuts.items():
        owner, _, key = names[0].rpartition(".")
        old = getattr(modules[owner], key)
        new = old.detach()
        for dim, index in dims:
            new = new.index_select(dim, torch.from_numpy(index).to(new.device))
        new = new.clone(memory_format=torch.contiguous_format)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        for name in names:
            owner, _, key = name.rpartition(".")
            setattr(modules[owner], key, new)


def _set_widths(m: nn.Module, groups: int | None) -> None:
    """Set the widths that a layer reports, from the shape of its tensors."""
    if groups is not None:
        m.groups = groups
    if isinstance(m, nn.modules.conv._ConvTransposeNd):
        m.in_channels, m.out_channels = m.weight.shape[0], m.weight.shape[1] * m.groups
    elif isinstance(m, nn.modules.conv._ConvNd):
        m.out_channels, m.in_channels = m.weight.shape[0], m.weight.shape[1] * m.groups
    elif isinstance(m, nn.Linear):
        m.out_features, m.in_features = m.weight.shape
    elif isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
        m.num_features = len(m.running_mean)
    elif isinstance(m, nn.PReLU):
        m.num_parameters = len(m.weight)


@torch.no_grad()
def _rescale_queries(m: nn.Module, factor: float) -> None:
    """Scale the query channels of `m`, which divides by the root of its head width: the product stays what it was."""
    made_by = m.qk if is_first_form(m) else m.qkv
    layer = made_by.bn if hasattr(made_by, "bn") else made_by.conv
    for tensor in (layer.weight, layer.bias):
        if is_first_form(m):  # all queries, then all keys
            tensor[: len(tensor) // 2] *= factor
        else:
            heads = tensor.view(m.num_heads, 3 * m.head_dim, *tensor.shape[1:])
            heads[:, : m.head_dim] *= factor


@torch.no_grad()
def _rescale_texts(m: nn.Module, factor: float) -> None:
    """Scale what a text attention makes of the texts, for the same reason."""
    m.gl.weight *= factor
    m.gl.bias *= factor
