"""An OpenVINO model in int8, by NNCF's post-training quantisation, OpenVINO's own tool."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...measuring.signal_stack import kept_signal_stack
from .decoding import decoding_nodes, is_expectation
from .ranges import RangeImages

if TYPE_CHECKING:
    import numpy as np
    from openvino import Model, Node, Output

TRAINED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
NO_WORK = ("Constant", "Result", "Parameter")
IN_THE_WAY = ("Convert", "FakeQuantize", "Reshape")  # between a constant and what multiplies by it


@dataclass(frozen=True)
class OpenVinoRecipe:
    """One way to quantise, see `RECIPES`.

    Attributes:
        first_float: Whether the first convolution, which reads the image, stays float, too.
        last_float: Whether the last layers, whose outputs are decoded, do.
    """

    name: str
    first_float: bool = False
    last_float: bool = False


# The best on the real diagrams first; it takes a fiftieth more time there.
# To correct biases layer by layer is slower, and was no better.
RECIPES = (
    OpenVinoRecipe("the first and the last layers in float", first_float=True, last_float=True),
    OpenVinoRecipe("the last layers in float", last_float=True),
    OpenVinoRecipe("all layers"),
)


class OpenVinoQuantiser:
    """Makes int8 files of one float OpenVINO model.

    Args:
        path: The float folder, of fixed size.
        images: What the ranges come from.
        folder: For its own files.
    """

    recipes = RECIPES

    @staticmethod
    def input_shape(path: Path) -> tuple[int, ...]:
        """Return the (N, C, H, W) that a folder's model reads."""
        return tuple(_read(path).inputs[0].shape)

    def __init__(self, path: Path, images: RangeImages, folder: Path):
        import nncf  # noqa: F401 (sets its level)

        logging.getLogger("nncf").setLevel(logging.ERROR)  # it names every layer; the handlers are not ours
        self.path, self.images = path, images
        model = _read(path)
        readers, trained = read_graph(model)
        self.decoding = decoding_nodes(readers, trained)
        decoded = set(self.decoding)
        self.last = [name for name in trained if set(readers[name]) <= decoded]
        self.first = [name for name in _readers_of(model.inputs[0]) if name in trained]

    @kept_signal_stack()
    def make(self, recipe: OpenVinoRecipe, path: Path) -> None:
        """Write the int8 folder of one recipe."""
        import nncf
        import openvino

        kept = [*self.decoding, *(self.first if recipe.first_float else ()), *(self.last if recipe.last_float else ())]
        model = nncf.quantize(
            _read(self.path),
            nncf.Dataset(self.images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(self.images),
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        )
        path.mkdir()
        openvino.save_model(model, path / next(self.path.glob("*.xml")).name, compress_to_fp16=False)
        shutil.copy(self.path / "metadata.yaml", path)


def _read(path: Path) -> Model:
    import openvino

    return openvino.Core().read_model(next(path.glob("*.xml")))


def read_graph(model: Model) -> tuple[dict[str, list[str]], list[str]]:
    """Return name of each node -> names of its readers, and the names of the nodes with trained weights."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() not in NO_WORK]
    known = {node.get_friendly_name() for node in nodes}
    readers = {}
    for node in nodes:
        found = [name for output in node.outputs() for name in _readers_of(output)]
        readers[node.get_friendly_name()] = [name for name in found if name in known]
    trained = [
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name() in TRAINED and (weight := _constant(node)) is not None and not is_expectation(weight)
    ]
    return readers, trained


def _readers_of(output: Output) -> list[str]:
    """Return the names of the nodes that read an output."""
    return [target.get_node().get_friendly_name() for target in output.get_target_inputs()]


def _constant(node: Node) -> np.ndarray | None:
    """Return what a node multiplies by, as an array, where that is a constant; else None."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in IN_THE_WAY:
        source = source.input_value(0).get_node()
    return source.data if source.get_type_name() == "Constant" else None
