"""Proof that a pruned model computes what the original does with the same channels masked."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from .channels import ChannelGraph, head_inputs, input_size, tensors_of, without_features
from .stand_ins import stand_ins
from .trace import as_dict_of_fields

TOLERANCE = 1e-8  # of the largest output, in float64


@contextmanager
def masking(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> Iterator[None]:
    """Let every channel of a model that is not in `keep` put out 0, for the time being.

    Only what makes a channel is set to 0 (filters, biases, BatchNorm scale, shift and mean), never what reads it: a
    reader that was overlooked, or cut at the wrong index, shows up as a difference.
    """
    undo = _mask(model, graph, keep)
    try:
        yield
    finally:
        tensors = tensors_of(model)  # looked up anew: a change of precision in between makes new buffers
        with torch.no_grad():
            for name, dim, index, values in reversed(undo):
                tensors[name].index_copy_(dim, index, values)


@torch.no_grad()
def _mask(net: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> list[tuple]:
    """Set what makes a channel to 0; return (name, dimension, indices, values before) of all that was."""
    tensors, undo = tensors_of(net), []
    for slot in graph.slots:
        gone = torch.from_numpy(np.flatnonzero(~keep[slot.labels]))
        if slot.role in ("out", "norm") and len(gone):
            name = slot.names[0]
            undo.append((name, slot.dim, gone, tensors[name].index_select(slot.dim, gone)))
            tensors[name].index_fill_(slot.dim, gone, 0)
    return undo


class Unproved(RuntimeError):
    """A pruned model that cannot be shown to compute what it should.

    Attributes:
        where: The module whose code failed or whose output is the first to differ; '' where that cannot be told.
        why: What happened there.
    """

    def __init__(self, message: str, where: str, why: str):
        super().__init__(message)
        self.where, self.why = where, why


def check_equal(reference: nn.Module, model: nn.Module) -> float:
    """Compare both models on two image sizes; return the largest difference relative to the largest output.

    Float64 takes twice the memory of float32, so one model at a time is turned into it, and back, which changes
    nothing.

    Args:
        reference: What is right; on the CPU.
        model: What is tested; on the CPU.

    Raises:
        Unproved: If they differ by more than `TOLERANCE` or the model cannot run; the message names the layer.
        InputError: The reference cannot run in float64, or puts out nothing that could be compared.
    """
    random = torch.Generator().manual_seed(0)
    sizes = [input_size(model, *sides) for sides in ((2, 3), (3, 2))]
    inputs = [torch.rand(size, dtype=torch.float64, generator=random) for size in sizes]
    with torch.no_grad():
        with in_float64(reference), stand_ins(reference):
            wanted = [_compared(reference, x, run_reference) for x in inputs]
        with in_float64(model), stand_ins(model):
            got = [_compared(model, x, run) for x in inputs]
    gaps = [difference(w, g) for w, g in zip(wanted, got)]
    for x, gap in zip(inputs, gaps):
        if not gap <= TOLERANCE:
            with in_float64(reference), stand_ins(reference), in_float64(model), stand_ins(model):
                where = first_difference(reference, model, x)
            why = f"outputs differ by {gap:.2e} of the largest (allowed {TOLERANCE:.0e})"
            told = f"pruning is not exact: {why}, first in {where or 'what the model makes of its layers'}"
            raise Unproved(f"{told}. Nothing was saved", where, why)
    return max(gaps)


def advice(layers: Iterable[str], where: str) -> str:
    """Return what to do about a module at fault: excluding the innermost one around it that holds a layer, if any does.

    Args:
        layers: Names that `exclude=` takes, as those of a graph; what holds one of them is taken, too.
        where: The module's name.
    """
    parts = where.split(".") if where else []
    for depth in range(len(parts), 0, -1):
        name = ".".join(parts[:depth])
        if any(layer == name or layer.startswith(f"{name}.") for layer in layers):
            return f"prune with exclude=['{name}'], and report the model"
    return "please report the model"


@contextmanager
def in_float64(model: nn.Module, attributes: bool = True) -> Iterator[None]:
    """Turn a model into float64 and evaluation mode for the time being; what its modules keep from a run goes again.

    Args:
        model: The model.
        attributes: Whether tensors that are neither parameters nor buffers, such as fixed kernels, are turned as well;
            they are not in a copy that is made in the meantime and stays.
    """
    dtype, before_run = next(model.parameters()).dtype, [(m, dict(vars(m))) for m in model.modules()]
    model.double().eval()
    for module, values in before_run if attributes else ():
        vars(module).update({k: v.double() for k, v in values.items() if _is_floating(v)})
    try:
        yield
    finally:
        model.to(dtype)
        for module, before in before_run:  # a head's anchors, in float64; and whether it is in training
            vars(module).clear()
            vars(module).update(before)


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def run_reference(model: nn.Module, x: torch.Tensor) -> Any:
    """Run the original, `in_float64`.

    Raises:
        InputError: Its code fails in that precision; names the module.
    """
    try:
        return run(model, x)
    except Unproved as error:
        raise InputError(
            f"cannot prune this model: a cut is proved in float64, in which its code fails in "
            f"{error.where or 'the model'}: {error.why}. Let the code there compute in the precision of its input, "
            "`.to(x.dtype)` in place of `.float()`"
        ) from error


def run(model: nn.Module, x: torch.Tensor) -> Any:
    """Run the model; where it fails, say in the code of which module.

    Raises:
        Unproved: It does; what it raised is the cause.
    """
    running: list[str] = []  # innermost last: an error leaves them there
    handles = []
    for name, m in model.named_modules():
        if name:
            handles.append(m.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
            handles.append(m.register_forward_hook(lambda *_: running.pop() and None))
    try:
        return model(x)
    except Exception as error:  # other people's code raises anything
        where, why = running[-1] if running else "", str(error) or type(error).__name__
        told = f"the pruned model does not run: {where or 'the model'}: {why}"
        raise Unproved(f"{told}. Nothing was saved", where, why) from error
    finally:
        for handle in handles:
            handle.remove()


def _compared(model: nn.Module, x: torch.Tensor, work: Callable) -> list[torch.Tensor]:
    """Run a model and return what of its output is to be equal: all but the features that its head hands through.

    Raises:
        InputError: It puts out nothing that could be compared.
    """
    with head_inputs(model) as given:
        output = work(model, x)
    found = flatten(without_features(output, given), skip=())
    if not found:
        raise InputError(
            f"cannot prune this model: it puts out no floating-point tensor that could be compared, but "
            f"{type(output).__name__}: let it return tensors, alone or in tuples, lists, dictionaries or dataclasses"
        )
    return found


def difference(want: list[torch.Tensor], got: list[torch.Tensor]) -> float:
    """Return the largest difference of two lists of tensors, each relative to the largest value of its pair."""
    if [t.shape for t in want] != [t.shape for t in got]:
        return float("inf")
    worst = 0.0
    for a, b in zip(want, got):
        if a.numel():
            gap = (a - b).abs().max().item() / max(a.abs().max().item(), 1e-12)
            worst = max(worst, float("inf") if math.isnan(gap) else gap)
    return worst


def flatten(output: Any, skip: Container[str] = ("feats",)) -> list[torch.Tensor]:
    """Return the floating-point tensors of a model's output, without what is in dictionaries under names to skip.

    Of an end-to-end head only the raw predictions count: its sorted detections change order at ties.
    """
    output = as_dict_of_fields(output)
    if isinstance(output, tuple) and isinstance(output[-1], dict) and "one2one" in output[-1]:
        extra = output[0][1:] if isinstance(output[0], tuple) else ()  # mask prototypes
        return flatten([*extra, output[-1]], skip)
    if isinstance(output, torch.Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        return [t for k, v in output.items() if k not in skip for t in flatten(v, skip)]
    return [t for v in output for t in flatten(v, skip)] if isinstance(output, (tuple, list)) else []


def first_difference(reference: nn.Module, model: nn.Module, x: torch.Tensor) -> str:
    """Return the name of the module whose code is the first to make a difference; '' where it is the model's own.

    Tensors are compared by their sums over channels and positions, in the order in which modules start and end. What a
    module is given was made by the code of the one that runs it. A difference that does not last until all that run the
    module end is none: behind a sigmoid, say, a masked channel is not 0, and what reads it makes it so again.
    """
    wanted, got = _sums(reference, x), _sums(model, x)
    differ = {key for key, (value, _) in wanted.items() if key in got and not _close(value, got[key][0])}
    found = [(name, starts, wanted[name, starts][1]) for name, starts in wanted if (name, starts) in differ]
    for name, starts, callers in found:
        makers = callers if starts else (*callers, name)
        if all((maker, False) in differ for maker in makers if maker):
            return makers[-1]
    return ""


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(abs(a), 1)


def _sums(net: nn.Module, x: torch.Tensor) -> dict[tuple[str, bool], tuple[float, tuple[str, ...]]]:
    """Return {(module, whether it starts): (sum of what it is given or puts out, modules that run it)}, in order."""
    found: dict[tuple[str, bool], tuple[float, tuple[str, ...]]] = {}
    running = [""]

    def total(values: Any) -> float:
        return sum(t.sum().item() for t in flatten(values, skip=()))

    def start(name: str):
        def hook(module: nn.Module, args: Any) -> None:
            found.setdefault((name, True), (total(list(args)), tuple(running)))
            running.append(name)

        return hook

    def end(name: str):
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            running.pop()
            found.setdefault((name, False), (total(output), tuple(running)))

        return hook

    handles = []
    for name, m in net.named_modules():
        if name:
            handles += [m.register_forward_pre_hook(start(name)), m.register_forward_hook(end(name))]
    try:
        with torch.no_grad():
            net(x)
    finally:
        for handle in handles:
            handle.remove()
    return found
