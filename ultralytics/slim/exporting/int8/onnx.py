"""An ONNX model in int8, by ONNX Runtime's own static quantisation, so that the runtime computes in int8, too.

Four things decide, on x86 (ONNX Runtime 1.32; measured in docs/exports.md):

- activations are unsigned. With the tool's default, signed ones, no convolution is fused with its quantisation there:
  each one is computed in float between two conversions, slower than the float file;
- all from the second convolution to the last is quantised, activation functions and concatenations included, and the
  decoding behind it is not (`decoding.py`);
- what a SiLU reads is cut off at -8, below which it puts out nothing: one large negative value would otherwise leave
  few steps for the rest;
- weights have a scale per output channel, and the bias makes up for the mean of what rounding them changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...recovery.rounding import SILU_FLOOR
from .decoding import decoding_nodes, is_expectation
from .ranges import RangeImages

if TYPE_CHECKING:
    import onnx

PER_CHANNEL = 13  # the first opset whose int8 has a scale a channel; older releases export to earlier ones
TRAINED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class OnnxRecipe:
    """One way to quantise, see `RECIPES`.

    Attributes:
        last_float: Whether the last layers, whose outputs are decoded, stay float, too.
        moving: Whether ranges are averages over the images instead of extremes.
    """

    name: str
    last_float: bool = False
    moving: bool = False


RECIPES = (  # the best on the real diagrams first; the last layers in float cost a hundredth of the time there
    OnnxRecipe("averaged ranges, the last layers in float", last_float=True, moving=True),
    OnnxRecipe("extremes, the last layers in float", last_float=True),
    OnnxRecipe("averaged ranges", moving=True),
    OnnxRecipe("extremes of all images"),
)


class OnnxQuantiser:
    """Makes int8 files of one float ONNX model.

    Args:
        path: The float file, of fixed size.
        images: What the ranges come from.
        folder: For its own files.
    """

    recipes = RECIPES

    @staticmethod
    def input_shape(path: Path) -> tuple[int, ...]:
        """Return the (N, C, H, W) that a file reads."""
        import onnx

        return tuple(d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim)

    def __init__(self, path: Path, images: RangeImages, folder: Path):
        import onnx.version_converter
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.images, self.prepared = images, folder / "prepared.onnx"
        model = onnx.load(path)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        if next(given.version for given in model.opset_import if not given.domain) < PER_CHANNEL:
            model = onnx.version_converter.convert_version(model, PER_CHANNEL)
        onnx.save(model, self.prepared)
        quant_pre_process(str(self.prepared), str(self.prepared), skip_symbolic_shape=True)
        model = onnx.load(self.prepared)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        self.input = model.graph.input[0].name
        correct_biases(model, self.input, images)
        onnx.save(model, self.prepared)
        self.silu_ranges = extremes(model, self.input, silu_inputs(model), images)
        readers, trained = read_graph(model)
        self.decoding = decoding_nodes(readers, trained)
        decoded = set(self.decoding)
        convs = {node.name for node in model.graph.node if node.op_type == "Conv"}  # a classifier's last layer is large
        self.last = [name for name in trained if name in convs and set(readers[name]) <= decoded]
        self.first = [node.name for node in model.graph.node if node.op_type == "Conv" and self.input in node.input]

    def make(self, recipe: OnnxRecipe, path: Path) -> None:
        """Write the int8 file of one recipe."""
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        kept = [*self.decoding, *self.first, *(self.last if recipe.last_float else ())]
        quantize_static(
            str(self.prepared),
            str(path),
            _Reader(self.input, self.images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=kept,
            extra_options={
                "CalibMovingAverage": recipe.moving,
                "TensorQuantOverrides": {
                    name: [{"rmin": max(low, np.float32(SILU_FLOOR)), "rmax": high}]
                    for name, (low, high) in ranges_of(self.silu_ranges, recipe.moving).items()
                },
            },
        )
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, self.metadata)
        onnx.save(model, path)


class _Reader:
    """Images one by one, as ONNX Runtime's quantisation asks for them."""

    def __init__(self, name: str, images: RangeImages):
        self.name, self.images, self.rest = name, images, iter(images)

    def __len__(self) -> int:
        return len(self.images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.rest, None)
        return None if image is None else {self.name: image}

    def rewind(self) -> None:
        self.rest = iter(self.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give those images alone; the tool asks in strides."""
        part = copy.copy(self.images)
        part.items = self.images.items[start_index:end_index]
        self.rest = iter(part)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self.get_next, None)


def read_graph(model: onnx.ModelProto) -> tuple[dict[str, list[str]], list[str]]:
    """Return name of each node -> names of its readers, and the names of the nodes with trained weights."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    by_input: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            by_input.setdefault(name, []).append(node.name)
    readers = {n.name: [reader for out in n.output for reader in by_input.get(out, ())] for n in model.graph.node}
    trained = []
    for node in model.graph.node:
        held = [weights[name] for name in node.input[1:2] if name in weights]
        if node.op_type in TRAINED and held and not is_expectation(numpy_helper.to_array(held[0])):
            trained.append(node.name)
    return readers, trained


def correct_biases(model: onnx.ModelProto, given: str, images: RangeImages) -> None:
    """Let each convolution's bias make up for what rounding its weights adds to the mean of its output, in place.

    With W' the rounded weights and x the input's mean over images and places, that is (W' - W) x (Nagel et al., ICCV
    2019, arXiv 1906.04721, section 4.2), the border of the image aside.
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    convs = [
        n for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3 and set(n.input[1:]) <= {*tensors}
    ]
    means = channel_means(model, given, sorted({node.input[0] for node in convs}), images)
    for node in convs:
        weight, bias = (numpy_helper.to_array(tensors[name]) for name in node.input[1:])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        shift = rounding_shift(weight, means[node.input[0]], groups)
        tensors[node.input[2]].CopyFrom(numpy_helper.from_array((bias - shift).astype(bias.dtype), node.input[2]))


def rounding_shift(weight: np.ndarray, mean: np.ndarray, groups: int = 1) -> np.ndarray:
    """Return how far rounding a convolution's weights to int8 moves the mean of each output channel: (O,).

    Args:
        weight: (O, I / groups, kH, kW).
        mean: Means of the input's channels, (I,).
        groups: Of the convolution.
    """
    scale = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    change = np.where(scale > 0, np.round(weight / np.where(scale > 0, scale, 1)) * scale, 0) - weight
    inputs = np.repeat(mean.reshape(groups, -1), len(weight) // groups, 0)  # (O, I / groups)
    return (change.sum((2, 3)) * inputs).sum(1)


def channel_means(model: onnx.ModelProto, given: str, names: list[str], images: RangeImages) -> dict[str, np.ndarray]:
    """Return the mean of each channel of these tensors over all images: name -> (C,)."""
    sums = {name: 0.0 for name in names}
    for found in _watched(model, given, names, images):
        for name, value in found.items():
            sums[name] = sums[name] + value.mean((0, *range(2, value.ndim)), dtype=np.float64)
    return {name: total / len(images) for name, total in sums.items()}


def extremes(model: onnx.ModelProto, given: str, names: list[str], images: RangeImages) -> dict[str, np.ndarray]:
    """Return the least and the largest value of these tensors in each image: name -> (images, 2)."""
    found = [[(v.min(), v.max()) for v in said.values()] for said in _watched(model, given, names, images)]
    return dict(zip(names, np.array(found).reshape(len(found), -1, 2).swapaxes(0, 1)))


def ranges_of(extremes: dict[str, np.ndarray], moving: bool) -> dict[str, tuple[np.float32, np.float32]]:
    """Return the range of each tensor, the mean of its extremes or their extremes, as the tool itself takes them."""
    both = {n: e.mean(0) if moving else (e[:, 0].min(), e[:, 1].max()) for n, e in extremes.items()}
    return {name: (np.float32(low), np.float32(high)) for name, (low, high) in both.items()}


def silu_inputs(model: onnx.ModelProto) -> list[str]:
    """Return the names of the tensors x of which only x sigmoid(x) is used."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for name, nodes in readers.items():
        gates = [node.output[0] for node in nodes if node.op_type == "Sigmoid"]
        rest = [node for node in nodes if node.op_type != "Sigmoid"]
        if gates and rest and all(node.op_type == "Mul" and set(node.input) <= {name, *gates} for node in rest):
            found.append(name)
    return found


def _watched(
    model: onnx.ModelProto, given: str, names: list[str], images: RangeImages
) -> Iterator[dict[str, np.ndarray]]:
    """Yield what these tensors are for each image, by name, in this order."""
    import onnx
    import onnxruntime

    wanted = [name for name in names if name != given]
    watched = copy.deepcopy(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    for image in images:
        found = {given: image, **dict(zip(wanted, session.run(wanted, {given: image})))}
        yield {name: found[name] for name in names}
