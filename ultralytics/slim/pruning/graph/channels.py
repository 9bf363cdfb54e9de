"""Which channels of which layers are one and the same: the channel graph of a model.

`trace_channels` runs a copy of the model once (`trace.Trace`) and returns, by parameter name, the label of every index
that holds a channel. Channels that an operation without a rule touches, and the model's outputs, are frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ...kinds import input_channels
from . import products, shapes  # noqa: F401 (they register their rules)
from .label_book import LabelBook
from .operations import RULES
from .raw import is_fused
from .stand_ins import head_of, stand_ins
from .trace import OUTPUT, Trace, as_dict_of_fields, tensors_in
from .unrun import free_prompts, keep_known, keep_unrun, prediction_readers, sleeping

WAKING = 8  # images of noise that may run what zeros do not, such as the experts behind a router


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
        handled: Labels that the code of each module itself has in hand, by module name.
        norms: The BatchNorm that alone reads what a convolution puts out, and nothing else, by the convolution's name.
    """

    book: LabelBook
    slots: list[Slot]
    layers: dict[str, np.ndarray]
    attributes: list[tuple[str, str, tuple[np.ndarray, ...]]]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    handled: dict[str, list[np.ndarray]] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)

    def total(self) -> int:
        """Return the number of channels that the model's layers put out."""
        return sum(len(labels) for labels in self.layers.values())


def input_size(model: nn.Module, height: int = 2, width: int = 3) -> tuple[int, int, int, int]:
    """Return a small input shape (1, C, H, W) for the model, H and W in multiples of its largest stride."""
    stride = max(int(max(getattr(model, "stride", [32]))), 32)
    return 1, input_channels(model), height * stride, width * stride


@contextmanager
def head_inputs(net: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Gather the tensors that a model's head is given, for the time being."""
    given: list[torch.Tensor] = []
    handle = head_of(net).register_forward_pre_hook(lambda _, args: given.extend(tensors_in(args)))
    try:
        yield given
    finally:
        handle.remove()


def without_features(output: Any, given: Iterable[torch.Tensor]) -> Any:
    """Return a model's raw output without `feats` where those are what its head was given, handed on for their shapes.

    They may be detached, or cloned, as some releases do. What a head makes itself stays, whatever it is called.
    """
    output = as_dict_of_fields(output)
    if isinstance(output, dict):
        handed_on = all(any(_is_same(t, one) for one in given) for t in tensors_in(output.get("feats")))
        own = {k: v for k, v in output.items() if k != "feats" or not handed_on}
        return {k: without_features(v, given) for k, v in own.items()}
    if isinstance(output, (tuple, list)):
        parts = [without_features(v, given) for v in output]
        return parts if isinstance(output, list) else tuple(parts)
    return output


def _is_same(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors lie in the same memory, or hold the same."""
    if tensor.shape != other.shape:
        return False
    return tensor.data_ptr() == other.data_ptr() or bool(torch.equal(tensor, other))


def trace_channels(model: nn.Module) -> ChannelGraph:
    """Return the channel graph of `model`, which is not modified.

    Raises:
        InputError: The model does not run on an image of `input_size`; the message says where it fails.
    """
    net = copy.deepcopy(model).float().cpu()
    _set_mode(net, not is_fused(net))
    trace, hooks, names = Trace(net, RULES), [], _names(net)  # before code that puts others in their place runs
    for m in net.modules():
        if m is not net:
            hooks += [m.register_forward_pre_hook(trace.enter), m.register_forward_hook(trace.leave)]
    with torch.no_grad(), stand_ins(net), head_inputs(net) as given, trace:
        outputs = [_first_run(net, trace)]
        keep_known(net, trace)
        outputs += _wake(net, trace)
    for hook in hooks:  # they would tie the copy to the trace, and so keep it in memory
        hook.remove()
    keep_unrun(net, trace)
    free_prompts(net, trace)
    for output in outputs:
        trace.unknown(OUTPUT, without_features(output, given))
    trace.keep_unread()
    return _named(trace, net, names)


def _first_run(net: nn.Module, trace: Trace) -> Any:
    """Return what a model puts out for an image of zeros."""
    size = input_size(net)
    try:
        return net(torch.zeros(size))
    except Exception as error:  # other people's code raises anything
        raise InputError(
            f"cannot prune this model: on an image of {size[1]} channels, {size[2]} x {size[3]} pixels, it fails in "
            f"{trace.where()}: {error}"
        ) from error


def _set_mode(net: nn.Module, training: bool) -> None:
    """Put a model in training or evaluation mode, and its BatchNorms in the latter."""
    net.train(training)
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.eval()


def _wake(net: nn.Module, trace: Trace) -> list[Any]:
    """Run a model on noise for as long as that may run layers that nothing ran yet; return what it put out.

    The first time it is in evaluation mode, as some layers run in that alone.
    """
    outputs, random, training = [], torch.Generator().manual_seed(0), net.training
    for number in range(WAKING):
        if not sleeping(net, trace):
            break
        _set_mode(net, training and number > 0)
        counted = dict(trace.positions)
        outputs.append(net(torch.rand(input_size(net), generator=random)))
        trace.positions |= counted  # of one image
    return outputs


def tensors_of(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers by name; a state dict lacks the buffers that are not kept with a checkpoint."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def _names(net: nn.Module) -> dict[int, list[str]]:
    """Return every name of each parameter and buffer, by id."""
    names: dict[int, list[str]] = {}
    for prefix, module in net.named_modules():
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                names.setdefault(id(tensor), []).append(f"{prefix}.{key}" if prefix else key)
    return names


def _named(trace: Trace, net: nn.Module, names: dict[int, list[str]]) -> ChannelGraph:
    """Replace the tensors and modules of the traced copy by their names, which the original shares."""
    modules = {id(m): n for n, m in net.named_modules()}
    slots = [Slot(tuple(names[id(t)]), dim, labels, role) for t, dim, labels, role in trace.slots if labels.any()]
    groups = {n.rpartition(".")[0]: ins for w, ins in trace.depthwise_inputs if ins.any() for n in names.get(id(w), [])}
    readers = prediction_readers(net)
    layers = {name: labels for name, labels, _ in trace.produced if name not in readers}
    attributes = [(modules[id(m)], attr, labels) for m, attr, labels in trace.attributes]
    positions = {n: count for key, count in trace.positions.items() for n in names.get(key, [])[:1]}
    handled = {name: list(found.values()) for name, found in trace.handled.items()}
    return ChannelGraph(trace.book, slots, layers, attributes, groups, positions, handled, trace.norms())
