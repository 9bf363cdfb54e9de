"""What compilers for NPUs commonly refuse or put on the CPU, found in a model's ONNX graph without their tools.

Each concern names the public page that it comes from. Compilers differ: a concern is a place to look at, not a verdict.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import logs
from ..hints import few
from .export import export_model
from .formats import check_packages
from .int8.decoding import decoding_nodes
from .int8.onnx import read_graph

if TYPE_CHECKING:
    import onnx

AXIS = "https://developer.axis.com/computer-vision/on-device/system-on-chip/"
EDGETPU, ARTPEC7 = f"{AXIS}artpec-7/optimization-tips/", f"{AXIS}artpec-7/supported-ops/"  # an Edge TPU
ARTPEC8, ARTPEC9 = f"{AXIS}artpec-8/supported-ops/", f"{AXIS}artpec-9/supported-ops/"
RKNN = "https://docs.rs/rknn-runtime"
NEUTRON = "https://github.com/pytorch/executorch/pull/19739"
HAILO = "https://community.hailo.ai/t/understanding-nms-and-nms-postprocess/6875"
CORAL_RESIZE = "https://github.com/google-coral/edgetpu/issues/187"

BLOCK = 16  # channels that are stored and computed together
SOFTMAX_PLACES, SOFTMAX_VALUES = 4096, 524288  # what NXP's Neutron takes at most


@dataclass(frozen=True)
class Concern:
    """One kind of trouble.

    Attributes:
        what: What was found.
        why: What compilers do with it.
        advice: What can be done.
        source: Where that is said.
        nodes: Names in the ONNX graph.
    """

    what: str
    why: str
    advice: str
    source: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.nodes)} x {self.what}: {few(list(self.nodes))}\n"
            f"    {self.why}\n    {self.advice}\n    {self.source}"
        )


class Concerns(list):
    """All concerns of a model."""

    def __str__(self) -> str:
        if not self:
            return "npu: nothing found that compilers commonly refuse"
        return "\n".join(["npu: places to look at before a compiler does", *map(str, self)])


def check_npu(weights: str | Path, **options: Any) -> Concerns:
    """Export a checkpoint to ONNX, aside, and return what compilers for NPUs may stumble over.

    Args:
        weights: The checkpoint; nothing is written beside it.
        options: Those of Ultralytics' export that the model will have, such as imgsz, nms and dynamic.

    Raises:
        MissingPackageError: `onnx` is missing.
    """
    check_packages(["onnx"])
    import onnx

    with tempfile.TemporaryDirectory() as folder, logs.only():
        model = onnx.load(export_model(weights, "onnx", folder=folder, **{"device": "cpu", **options}))
    return find_concerns(onnx.shape_inference.infer_shapes(model))


def find_concerns(model: onnx.ModelProto) -> Concerns:
    """Return the concerns about one ONNX model with shapes."""
    graph = _Graph(model)
    made = (Concern(*told, nodes) for find, *told in RULES if (nodes := tuple(find(graph))))
    return Concerns(made)


class _Graph:
    """An ONNX graph, its shapes, and where its decoding begins."""

    def __init__(self, model: onnx.ModelProto):
        from onnx import numpy_helper

        graph = model.graph
        for number, node in enumerate(graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        self.nodes, self.inputs = list(graph.node), list(graph.input)
        self.weights = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in graph.initializer}
        values = [*graph.input, *graph.value_info, *graph.output]
        self.shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
        self.maker = {name: node for node in self.nodes for name in node.output}
        readers, trained = read_graph(model)
        self.decoding = set(decoding_nodes(readers, trained))
        self.last = {name for name in trained if set(readers[name]) <= self.decoding}

    def of(self, *kinds: str) -> Iterator[onnx.NodeProto]:
        return (node for node in self.nodes if node.op_type in kinds)


def _dynamic(graph: _Graph) -> Iterator[str]:
    return (given.name for given in graph.inputs if not all(graph.shapes[given.name]))


def _odd_widths(graph: _Graph) -> Iterator[str]:
    """Those of the last layers are given by classes and bins, and nobody can choose them."""
    for node in graph.of("Conv"):
        if node.name not in graph.last | graph.decoding and graph.weights.get(node.input[1], (0,))[0] % BLOCK:
            yield node.name


def _odd_concats(graph: _Graph) -> Iterator[str]:
    for node in graph.of("Concat"):
        shapes = [graph.shapes.get(name, ()) for name in node.input]
        axis = next(a.i for a in node.attribute if a.name == "axis")
        if axis == 1 and all(len(shape) == 4 for shape in shapes) and any(shape[1] % BLOCK for shape in shapes):
            yield node.name


def _silu(graph: _Graph) -> Iterator[str]:
    for node in graph.of("Mul"):
        gates = [graph.maker[name] for name in node.input if name in graph.maker]
        if any(gate.op_type == "Sigmoid" and gate.input[0] in node.input for gate in gates):
            yield node.name


def _large_softmax(graph: _Graph) -> Iterator[str]:
    for node in graph.of("Softmax"):
        shape = graph.shapes.get(node.input[0], ())
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
        count = 1
        for side in shape:
            count *= side
        if shape and (count > SOFTMAX_VALUES or count // max(shape[axis], 1) > SOFTMAX_PLACES):
            yield node.name


def _products(graph: _Graph) -> Iterator[str]:
    return (node.name for node in graph.of("MatMul") if not graph.weights.keys() & set(node.input))


def _selections(graph: _Graph) -> Iterator[str]:
    kinds = "NonMaxSuppression", "TopK", "GatherElements", "GatherND", "NonZero"
    return (node.name for node in graph.of(*kinds))


def _resizes(graph: _Graph) -> Iterator[str]:
    return (node.name for node in graph.of("Resize"))


RULES: tuple[tuple[Callable[[_Graph], Iterator[str]], str, str, str, str], ...] = (
    (
        _dynamic,
        "input of dynamic size",
        "Sizes have to be known when the model is compiled (Edge TPU).",
        "Export without dynamic=True, at the imgsz that will be used.",
        EDGETPU,
    ),
    (
        _selections,
        "selection of detections inside the network (NMS, or the top ones)",
        "It is no part of the network to a compiler and runs on the CPU, if at all (Hailo).",
        "Export without nms=True; of a head that needs no NMS (v10, 26) with end2end=False.",
        HAILO,
    ),
    (
        _odd_widths,
        f"convolution whose width is no multiple of {BLOCK}",
        f"Channels are stored in blocks of {BLOCK} in int8 (Rockchip): the rest of the last is computed for nothing.",
        f"Prune with round_to={BLOCK}.",
        RKNN,
    ),
    (
        _odd_concats,
        f"concatenation of channels with a part that is no multiple of {BLOCK}",
        f"Each part has to be a multiple of {BLOCK} channels (Axis ARTPEC-9).",
        f"Prune with round_to={BLOCK}.",
        ARTPEC9,
    ),
    (
        _silu,
        "SiLU",
        "There is no sigmoid among the operators of some (Axis ARTPEC-8: ReLU, ReLU6, HardSwish, GELU, ELU).",
        "Train with another activation (in the model's YAML activation: torch.nn.ReLU6()), or trust the compiler.",
        ARTPEC8,
    ),
    (
        _large_softmax,
        "softmax over more values than fit",
        f"At most {SOFTMAX_PLACES} places and {SOFTMAX_VALUES} values (NXP Neutron), else it runs on the CPU.",
        "Of box distributions: cut the file before it and decode on the CPU. Of attention: a smaller imgsz.",
        NEUTRON,
    ),
    (
        _products,
        "product of two activations (attention)",
        "The Edge TPU has no such operator: it and all that follows runs on the CPU.",
        "Take a model without attention (v5, v8), where that matters.",
        ARTPEC7,
    ),
    (
        _resizes,
        "enlargement by nearest neighbours",
        "Some versions of the operator are left to the CPU (Edge TPU), and all that follows with it.",
        "Look at the compiler's log for it.",
        CORAL_RESIZE,
    ),
)
