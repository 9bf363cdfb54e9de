"""How many images scores and repairs may see at once."""

from __future__ import annotations

from torch import nn

from ...inputs.unlabelled import MOST
from ..graph.channels import ChannelGraph, input_size, tensors_of

MEMORY = 3 * 10**9  # bytes
LAYERS_ALIVE = 12  # outputs as large as the largest that are alive at once while two networks run a stage


def fit_in_memory(graph: ChannelGraph, model: nn.Module, imgsz: int) -> tuple[int, int]:
    """Return (input channels, most images) so that all images' activations of one stage take about `MEMORY` bytes."""
    _, channels, height, width = input_size(model)
    shapes = {name: t.shape for name, t in tensors_of(model).items()}
    widest = max(
        n * shapes[name][0] for name, n in graph.positions.items()
    )  # floats a layer puts out on the traced input
    each = 4 * widest * imgsz**2 / (height * width) * LAYERS_ALIVE
    return channels, int(min(MOST, max(MEMORY // each, 4)))
