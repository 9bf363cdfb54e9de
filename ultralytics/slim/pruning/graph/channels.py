"""Which channels of which layers are one and the same: the channel graph of a model.

`trace_channels` runs a copy of the model once (`trace.Trace`) and returns, by parameter name, the label of every index
that holds a channel. Channels that an operation without a rule touches, and the model's outputs, are frozen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ...kinds import input_channels
from . import products, shapes  # noqa: F401 (they register their rules)
from .label_book import LabelBook
from .operations import RULES
from .raw import is_fused
from .refusals import refuse_unrun
from .stand_ins import stand_ins
from .trace import OUTPUT, Trace
from .unrun import free_prompts, keep_unrun


@dataclass
class Slot:
    """One dimension of one parameter or buffer whose indices are channels."""

    names: tuple[str, ...]  # every name the tensor has in the model; one unless parameters are shared
    dim: int
    labels: np.ndarray  # (size of the dimension,), 0 where an index is no channel
    role: str  # 'out', 'norm', 'var', 'in' or 'other'


@dataclass
class ChannelGraph:
    """The channels of a model, by label.

    Attributes:
        book: Unions, frozen labels with reasons, equal-count families.
        slots: Everything that has to be cut when a label goes.
        layers: Labels that each channel-making layer puts out.
        attributes: (module name, attribute, label arrays) of sizes written out in modules.
        groups: Input labels of channelwise convolutions, by module name.
        positions: Output positions of each layer's weight, by tensor name, on `input_size`.
    """

    book: LabelBook
    slots: list[Slot]
    layers: dict[str, np.ndarray]
    attributes: list[tuple[str, str, tuple[np.ndarray, ...]]]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    def total(self) -> int:
        """Return the number of channels that the model's layers put out."""
        return sum(len(labels) for labels in self.layers.values())


def input_size(model: nn.Module, height: int = 2, width: int = 3) -> tuple[int, int, int, int]:
    """Return a small input shape (1, C, H, W) for the model, H and W in multiples of its largest stride."""
    stride = max(int(max(getattr(model, "stride", [32]))), 32)
    return 1, input_channels(model), height * stride, width * stride


def without_features(output: Any) -> Any:
    """Return a model's raw output without `feats`, the neck's tensors that heads hand through for their shapes."""
    if isinstance(output, dict):
        return {k: without_features(v) for k, v in output.items() if k != "feats"}
    if isinstance(output, (tuple, list)):
        return [without_features(v) for v in output]
    return output


def trace_channels(model: nn.Module) -> ChannelGraph:
    """Return the channel graph of `model`, which is not modified.

    Raises:
        Refusal: If a layer with weights never ran; the message names it (see `refusals`).
    """
    net = copy.deepcopy(model).float().cpu()
    net.train(not is_fused(net))
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.eval()
    trace, hooks = Trace(net, RULES), []
    for m in net.modules():
        if m is not net:
            hooks += [m.register_forward_pre_hook(trace.enter), m.register_forward_hook(trace.leave)]
    x = torch.zeros(input_size(net))
    with torch.no_grad(), stand_ins(net), trace:
        output = net(x)
    for hook in hooks:  # they would tie the copy to the trace, and so keep it in memory
        hook.remove()
    keep_unrun(net, trace)
    refuse_unrun(net, trace)
    free_prompts(net, trace)
    trace.unknown(OUTPUT, without_features(output))
    return _named(trace, net)


def _named(trace: Trace, net: nn.Module) -> ChannelGraph:
    """Replace the tensors and modules of the traced copy by their names, which the original shares."""
    names: dict[int, list[str]] = {}
    for prefix, module in net.named_modules():
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                names.setdefault(id(tensor), []).append(f"{prefix}.{key}" if prefix else key)
    modules = {id(m): n for n, m in net.named_modules()}
    slots = [Slot(tuple(names[id(t)]), dim, labels, role) for t, dim, labels, role in trace.slots if labels.any()]
    groups = {n.rpartition(".")[0]: ins for w, ins in trace.depthwise_inputs if ins.any() for n in names[id(w)]}
    layers = {name: labels for name, labels, _ in trace.produced}
    attributes = [(modules[id(m)], attr, labels) for m, attr, labels in trace.attributes]
    positions = {n: count for key, count in trace.positions.items() for n in names[key][:1]}
    return ChannelGraph(trace.book, slots, layers, attributes, groups, positions)
