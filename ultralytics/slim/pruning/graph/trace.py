"""Run a model once and follow every channel through it.

The model is run on a small input in training mode (raw outputs, nothing cached), with the BatchNorms in evaluation
mode (a fused model, whose head lacks what training needs, in evaluation mode altogether), under a `TorchFunctionMode`
that sees every tensor operation before PyTorch takes it apart: `chunk` is a chunk here, not eight slices. Unlike
`torch.export` this takes a fraction of a second, knows which module is running, and leaves nothing behind in the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .label_book import LabelBook

TO_TEXTS = "compared with embeddings of texts, whose width stays"
COMPARED = {"ContrastiveHead": TO_TEXTS, "BNContrastiveHead": TO_TEXTS}  # reasons by block, in place of operations
OUTPUT = "model output"  # the reason for which predictions are frozen
NUMPY_WORDS = {"axis": "dim", "keepdims": "keepdim"}  # PyTorch takes these, too
WITHOUT_CHANNELS = (  # read only a tensor's form, or make tensors that carry no channel
    "get set size dim numel stride is_floating_point is_complex len data_ptr get_device is_contiguous "
    "empty zeros ones arange full ones_like empty_like full_like new_zeros new_ones new_empty new_full "
    "linspace tensor isnan isinf isfinite"
).split()


def tensors_in(value: object) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists, dictionaries and dataclasses."""
    if isinstance(value, torch.Tensor):
        return [value]
    value = as_dict_of_fields(value)
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for inner in values for tensor in tensors_in(inner)]


def as_dict_of_fields(value: object) -> object:
    """Return {field: value} of a dataclass, and any other value as it is."""
    if not is_dataclass(value) or isinstance(value, (dict, type)):
        return value
    return {field.name: getattr(value, field.name) for field in fields(value)}


class Trace(TorchFunctionMode):
    """Give labels to tensors as they are made, and note every index of every parameter that a label occupies.

    Args:
        model: The model that will run.
        rules: What operations do to labels, by name (`operations.RULES`).

    Attributes:
        book: Labels, their unions, what is frozen.
        slots: (tensor, dimension, labels, role) of each parameter or buffer dimension that holds channels; the
            role is 'out', 'norm', 'var', 'in' or 'other'.
        produced: (layer name, labels) of each layer that makes channels.
        attributes: (module, attribute, label arrays): sizes that modules carry written out.
        depthwise_inputs: (weight, labels) of channelwise convolutions, for their `groups`.
        positions: How often each weight is applied, by id: output positions of its layer on the traced input.
        readers: Names of the BatchNorms that read what a convolution puts out, by its name; '' for anything else.
        normalised: Names of the convolutions that each BatchNorm reads, by its name; '' for anything else.
        entered: Names of the modules that ran.
        handled: Labels that the code of each module itself worked on, handed on or was given, by module name.
    """

    def __init__(self, model: nn.Module, rules: Mapping[str, Callable]):
        super().__init__()
        self._rules = rules
        self.book, self.slots, self.produced = LabelBook(), [], []
        self.attributes, self.depthwise_inputs, self.positions = [], [], {}
        self.handled: dict[str, dict[int, np.ndarray]] = {}
        self.readers: dict[str, set[str]] = {}
        self.normalised: dict[str, set[str]] = {}
        self._read: list[np.ndarray] = []
        self._labels, self._zero, self._alive = {}, {}, []
        self._makers: dict[int, str] = {}  # id of a tensor -> the convolution that put it out
        self.entered: set[str] = set()
        self._met: set[int] = set()
        self._slot_of = {}
        self._stack = [("", model, None)]
        self._own = {id(t) for t in [*model.parameters(), *model.buffers()]}
        self._names = {id(m): name for name, m in model.named_modules()}

    # -- the running module -------------------------------------------------------------------------------------------
    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Forward pre-hook: `module` starts to run."""
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        self._handle(args)
        self.entered.add(self._names[id(module)])
        self._stack.append((self._names[id(module)], module, first))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook: the running module is done."""
        self._stack.pop()
        self._handle(output)

    def _handle(self, values: Any) -> None:
        """Note that the running module's own code has these tensors in hand."""
        mine = self.handled.setdefault(self._stack[-1][0], {})
        for tensor in tensors_in(values):
            labels = self._labels.get(id(tensor))
            if labels is not None and labels.any():
                mine[id(labels)] = labels

    def ran(self, name: str) -> bool:
        """Return whether the module of this name ran; the model itself did."""
        return not name or name in self.entered

    @property
    def module(self) -> nn.Module:
        """Return the innermost module that is running."""
        return self._stack[-1][1]

    @property
    def module_input(self) -> torch.Tensor | None:
        """Return the tensor that the running module was called with."""
        return self._stack[-1][2]

    def where(self) -> str:
        """Return the running module's name and class, for messages."""
        return f"{self._stack[-1][0] or 'model'} ({type(self.module).__name__})"

    def upstream_module(self) -> bool:
        """Return whether the running module is of a class of Ultralytics, or of one derived from such."""
        return any(kind.__module__.startswith("ultralytics.nn.") for kind in type(self.module).__mro__)

    def known_view(self) -> bool:
        """Return whether views in the running module take their sizes from what the pruned module will hold."""
        from ultralytics.nn.modules import Detect

        from ...compat import A2C2f

        return isinstance(self.module, (A2C2f, Detect))

    # -- labels of tensors --------------------------------------------------------------------------------------------
    def labels(self, x: Any) -> np.ndarray:
        """Return a tensor's labels, an array that broadcasts against it; a parameter gets labels when first seen."""
        if not isinstance(x, torch.Tensor):
            return np.zeros((), dtype=int)
        if id(x) not in self._labels:
            none = np.zeros((1,) * x.dim(), dtype=int)
            wide = [d for d in range(x.dim()) if x.shape[d] > 1]
            if id(x) in self._own and len(wide) == 1:
                labels = self.book.new(x.shape[wide[0]])
                self.occupy(x, wide[0], labels, "other")
                none = labels.reshape([-1 if d == wide[0] else 1 for d in range(x.dim())])
            self._put(x, none, False)
        return self._labels[id(x)]

    def has_labels(self, x: Any) -> bool:
        """Return whether a value holds any channel."""
        return isinstance(x, torch.Tensor) and bool(self.labels(x).any())

    def zero(self, x: Any) -> bool:
        """Return whether a masked channel of `x` reads 0."""
        return self._zero.get(id(x), False) if isinstance(x, torch.Tensor) else x == 0

    def channels(self, x: torch.Tensor, dim: int) -> np.ndarray:
        """Return labels along `dim`, shape (x.shape[dim],); labels along any other dimension are frozen."""
        labels, dim = self.labels(x), dim % x.dim()
        if labels.size != labels.shape[dim]:
            self.book.freeze(labels, f"{self.where()}: channels in another dimension than this layer reads")
            labels = np.zeros((1,) * x.dim(), dtype=int)
        return np.broadcast_to(labels.ravel(), (x.shape[dim],))

    def combine(self, x: Any, y: Any) -> np.ndarray | None:
        """Return the labels of an elementwise result, after uniting both operands' channels."""
        a, b = self.labels(x), self.labels(y)
        for labels, other, mate in ((a, x, b), (b, y, a)):
            if not labels.any():
                if not mate.any() or self._narrow(other, mate):
                    return np.broadcast_to(mate, np.broadcast_shapes(mate.shape, labels.shape))
                return self.unknown("combination with a tensor that holds no channels", x, y)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if int(np.prod(shape)) > max(a.size, b.size):
            return self.unknown("channels in two dimensions", x, y)
        self.book.unite(a, b)
        return np.broadcast_to(a if a.size >= b.size else b, shape)

    @staticmethod
    def _narrow(x: Any, mate: np.ndarray) -> bool:
        """Return whether `x` has size 1 wherever `mate` holds channels."""
        if not isinstance(x, torch.Tensor):
            return True
        sizes = (1,) * max(mate.ndim - x.dim(), 0) + tuple(x.shape)
        return all(n == 1 for n, m in zip(sizes[::-1], mate.shape[::-1]) if m > 1)

    def reshaped(self, x: torch.Tensor) -> np.ndarray:
        """Return `x`'s labels in the shape of the result of a view, reshape or flatten."""
        full = np.broadcast_to(self.labels(x), tuple(x.shape)).reshape(tuple(self.result.shape))
        for d in range(full.ndim):  # back to size 1 wherever labels do not change along a dimension
            first = np.take(full, [0], axis=d) if full.shape[d] else full
            if full.shape[d] > 1 and (full == first).all():
                full = first
        return full

    # -- what layers do -----------------------------------------------------------------------------------------------
    def produce(self, n: int, weight: torch.Tensor) -> np.ndarray:
        """Return new labels for a layer's outputs (the same again if the layer is run again)."""
        self.positions[id(weight)] = self.positions.get(id(weight), 0) + self.result.numel() // n
        if isinstance(self.module, nn.modules.conv._ConvNd):
            self._makers[id(self.result)] = self._stack[-1][0]
            self._alive.append(self.result)
        for _, labels, tensor in self.produced:
            if tensor is weight:
                return labels
        labels = self.book.new(n)
        self.produced.append((self._stack[-1][0], labels, weight))
        return labels

    def made_by(self, block: nn.Module) -> np.ndarray:
        """Return the labels that a block's only layer has put out; none where it has several, or has not run."""
        own = {id(p) for p in block.parameters()}
        found = [labels for _, labels, tensor in self.produced if id(tensor) in own]
        return found[0] if len(found) == 1 else np.zeros(0, dtype=int)

    def _note_readers(self, operation: str, tensors: list[torch.Tensor]) -> None:
        """Note what reads the outputs of convolutions."""
        name, makers = self._stack[-1][0], [self._makers.get(id(tensor), "") for tensor in tensors]
        is_norm = operation == "batch_norm" and isinstance(self.module, nn.BatchNorm2d)
        is_norm = is_norm and self.module.running_mean is not None  # else it has nothing that a repair could move
        for maker in filter(None, makers):
            self.readers.setdefault(maker, set()).add(name if is_norm else "")
        if is_norm:
            self.normalised.setdefault(name, set()).add(makers[0])

    def norms(self) -> dict[str, str]:
        """Return {convolution: the BatchNorm that alone reads what it puts out, and reads nothing else}."""
        pairs = [(maker, *readers) for maker, readers in self.readers.items() if len(readers) == 1]
        return {maker: norm for maker, norm in pairs if self.normalised.get(norm) == {maker}}

    def consume(self, weight: torch.Tensor, dim: int, labels: np.ndarray, x: torch.Tensor) -> None:
        """Note that `weight` reads these channels along `dim`."""
        self.read(labels)
        if labels.any() and not self.zero(x):
            self.book.freeze(labels, f"{self.where()}: its input is not 0 where a channel is masked")
        self.occupy(weight, dim, labels, "in")

    def read(self, labels: np.ndarray) -> None:
        """Note that something is computed from all of these channels together."""
        self._read.append(np.ravel(labels))

    def keep_unread(self) -> None:
        """Freeze channels that nothing reads, such as those of a side output that only the user's code knows."""
        roots = self.book.roots()
        read = roots[np.unique(np.concatenate([np.zeros(0, dtype=int), *self._read]))]
        for name, labels, _ in self.produced:
            unread = labels[~np.isin(roots[labels], read)]
            self.book.freeze(unread, f"{name}: nothing in the model reads what it puts out")

    def depthwise(self, ins: np.ndarray, weight: torch.Tensor, groups: int, outs: int, zero: bool) -> np.ndarray:
        """Return the output labels of a channelwise convolution: each input's label, once a filter."""
        self.positions[id(weight)] = self.positions.get(id(weight), 0) + self.result.numel() // outs
        self.depthwise_inputs.append((weight, ins))
        labels = np.repeat(ins, outs // groups)
        if not ins.any():  # channelwise over channels that cannot be removed
            return np.zeros(outs, dtype=int)
        return labels

    def occupy(self, tensor: torch.Tensor | None, dim: int, labels: np.ndarray, role: str) -> None:
        """Note that `labels` occupy `tensor` along `dim`; a tensor used twice unites what it meets."""
        if tensor is None:
            return
        if id(tensor) not in self._own:
            for one in (labels, self.labels(tensor)):  # what it is computed from may have channels of its own
                self.book.freeze(one, f"{self.where()}: weights that are computed, not stored")
            return
        key = (id(tensor), dim)
        if key in self._slot_of:
            self.book.unite(self._slot_of[key], labels)
            return
        self._slot_of[key] = labels
        self.slots.append((tensor, dim, labels, role))

    def attribute(self, name: str, *labels: np.ndarray) -> None:
        """Note that the running module carries the number of these channels in attribute `name`."""
        if hasattr(self.module, name):
            self.attributes.append((self.module, name, labels))

    def unknown(self, what: str, *values) -> None:
        """Freeze every label of `values`: this walk does not know what becomes of them."""
        what = COMPARED.get(type(self.module).__name__, what)
        for tensor in tensors_in(values):
            if id(tensor) in self._labels or id(tensor) in self._own:
                self.book.freeze(self.labels(tensor), f"{self.where()}: {what}", overrule=what == OUTPUT)

    def keep_whole(self, layer: nn.Module, why: str) -> None:
        """Note a layer that does not run with images: its outputs stay."""
        if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            labels = self.book.new(getattr(layer, "out_channels", None) or layer.out_features)
            self.produced.append((self._names[id(layer)], labels, layer.weight))
            self.book.freeze(labels, why)
        self._met.update(id(p) for p in layer.parameters(recurse=False))

    def never_met(self, module: nn.Module) -> bool:
        """Return whether `module` has parameters of its own, none of which any operation has read."""
        own = list(module.parameters(recurse=False))
        return bool(own) and not any(id(p) in self._met for p in own)

    # -- the mode itself ----------------------------------------------------------------------------------------------
    def __torch_function__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ):
        """Run one operation and give its result labels."""
        given = kwargs or {}
        kwargs = {NUMPY_WORDS.get(key, key): value for key, value in given.items()}
        name = getattr(func, "__name__", str(func)).strip("_")
        self._met.update(id(tensor) for tensor in tensors_in((args, kwargs)) if id(tensor) in self._own)
        self._handle((args, kwargs))
        self.result = func(*args, **given)
        if name in WITHOUT_CHANNELS:
            return self.result
        self._note_readers(name, tensors_in((args, kwargs)))
        if name not in self._rules:
            self.unknown(f"operation '{name}'", args, kwargs)
            return self.result
        try:
            labels = self._rules[name](self, *args, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            labels = self.unknown(f"operation '{name}' in a form that is not understood ({error})", args, kwargs)
        for tensor, found in zip(*self._pairs(labels)):
            self._put(tensor, *found)
        return self.result

    def _pairs(self, labels: Any):
        """Return the result's tensors and what was found out about each."""
        results = list(self.result) if isinstance(self.result, (tuple, list)) else [self.result]
        if isinstance(labels, tuple) and labels[0] is not None:
            labels = [labels] * len(results)
        if isinstance(labels, list):
            return results, labels
        return [], []

    def _put(self, tensor: torch.Tensor | None, labels: np.ndarray, zero: bool) -> None:
        if isinstance(tensor, torch.Tensor):
            self._labels[id(tensor)], self._zero[id(tensor)] = labels, zero
            self._alive.append(tensor)  # an id is only unique among the living
            self._handle(tensor)
