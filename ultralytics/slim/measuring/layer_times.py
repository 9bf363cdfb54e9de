"""How long single layers take, by their widths, in the runtime and on the device where a model is to run.

Each convolution is timed alone, with its activation, on noise; what was timed is kept in Ultralytics' folder of
settings, by processor, threads and versions, and is not timed again there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER, TQDM, USER_CONFIG_DIR
from ultralytics.utils.torch_utils import get_cpu_info

from ..compat import time_sync
from ..errors import SlimError
from ..files import write_json
from .costs import device_name
from .runtimes import session_of

FILE = "slim-layer-times.json"
WARM_UP, RUNS, SECONDS = 3, (9, 60), 0.015  # a layer runs as often as it can in that time, between these limits
ACTS = {nn.SiLU: "silu", nn.ReLU: "relu"}  # others are left out of what is timed


@dataclass(frozen=True)
class LayerShape:
    """A convolution without its widths.

    Attributes:
        kernel, stride: (height, width).
        padding, dilation: The same.
        depthwise: Whether every channel is convolved alone.
        transposed: Whether it is a transposed convolution.
        act: 'silu', 'relu' or ''.
        size: (height, width) of its input, in pixels.
        batch: Images at once.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    depthwise: bool
    transposed: bool
    act: str
    size: tuple[int, int]
    batch: int

    @classmethod
    def of(cls, conv: nn.Module, act: nn.Module | None, size: tuple[int, int], batch: int) -> LayerShape | None:
        """Return the shape of a layer; None where it is none that is timed."""
        if not isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)) or isinstance(conv.padding, str):
            return None
        depthwise = conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels
        if conv.groups > 1 and not depthwise:
            return None
        sizes = tuple(conv.kernel_size), tuple(conv.stride), tuple(conv.padding), tuple(conv.dilation)
        transposed = isinstance(conv, nn.ConvTranspose2d)
        return cls(*sizes, depthwise, transposed, ACTS.get(type(act), ""), tuple(size), batch)

    def key(self, ins: int, outs: int) -> str:
        """Return what the time of such a layer with these widths is kept under."""
        return f"{astuple(self)} {ins}>{outs}".replace("'", "")

    def module(self, ins: int, outs: int) -> nn.Sequential:
        """Return such a layer with these widths, and its activation."""
        kind = nn.ConvTranspose2d if self.transposed else nn.Conv2d
        groups = outs if self.depthwise else 1
        conv = kind(ins, outs, self.kernel, self.stride, self.padding, dilation=self.dilation, groups=groups)
        acts = {"silu": [nn.SiLU(inplace=True)], "relu": [nn.ReLU(inplace=True)], "": []}
        return nn.Sequential(conv, *acts[self.act]).eval()


class LayerTimes:
    """Times of layers in one runtime on one device.

    Args:
        runtime: A key of `runtimes.RUNTIMES`.
        device: Where 'torch' runs.
        file: Where times are kept.
    """

    def __init__(self, runtime: str, device: torch.device, file: Path | None = None):
        self.runtime, self.device = runtime, device
        self.file = file or Path(USER_CONFIG_DIR) / FILE
        self.machine = machine_words(runtime, device)
        self._known: dict[str, float] = self._kept().get(self.machine, {})

    def _kept(self) -> dict[str, dict[str, float]]:
        with suppress(OSError, ValueError):
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            if isinstance(kept, dict) and all(isinstance(times, dict) for times in kept.values()):
                return kept
        return {}

    def measure(self, wanted: Iterable[tuple[LayerShape, int, int]]) -> None:
        """Time the layers (shape, inputs, outputs) that are not known yet, and keep their times."""
        missing = {shape.key(ins, outs): (shape, ins, outs) for shape, ins, outs in wanted}
        missing = {key: layer for key, layer in missing.items() if not isinstance(self._known.get(key), (int, float))}
        if not missing:
            return
        with torch.inference_mode():
            for key, layer in TQDM(missing.items(), desc="prune: timing layers", total=len(missing)):
                self._known[key] = self._time(*layer)
        try:
            write_json(self.file, {**self._kept(), self.machine: self._known}, indent=None)
        except SlimError as error:  # they are only there to be faster the next time
            LOGGER.warning(f"prune: the times of layers are not kept: {error}")

    def ms(self, shape: LayerShape, ins: int, outs: int) -> float:
        """Return the milliseconds of a layer that was measured."""
        return self._known[shape.key(ins, outs)]

    def _time(self, shape: LayerShape, ins: int, outs: int) -> float:
        """Return the lower quartile of a layer's times: other work on the machine only ever adds to them."""
        run = layer_run(shape, ins, outs, self.runtime, self.device)
        clock = partial(time_sync, self.device) if self.device.type != "cpu" else time.perf_counter
        for _ in range(WARM_UP):
            run()
        times, stop = [], clock() + SECONDS
        while len(times) < RUNS[0] or (len(times) < RUNS[1] and clock() < stop):
            start = clock()
            run()
            times.append(clock() - start)
        return round(1e3 * float(np.percentile(times, 25)), 5)


def machine_words(runtime: str, device: torch.device) -> str:
    """Return what the times of layers depend on besides the layers."""
    where = get_cpu_info() if device.type == "cpu" else device_name(device)
    version = torch.__version__
    if runtime != "torch":
        version = __import__({"onnx": "onnxruntime"}.get(runtime, runtime)).__version__
    return f"{runtime} {version}, {where}, {torch.get_num_threads()} threads"


def layer_run(shape: LayerShape, ins: int, outs: int, runtime: str, device: torch.device) -> Callable[[], object]:
    """Return a function that runs one layer on noise."""
    size = (shape.batch, outs if shape.depthwise else ins, *shape.size)
    if runtime == "torch":
        return partial(shape.module(size[1], outs).to(device), torch.rand(size, device=device))
    return session_of(_onnx_layer(shape, ins, outs), runtime)


def _onnx_layer(shape: LayerShape, ins: int, outs: int) -> bytes:
    """Return an ONNX model of one layer."""
    from onnx import TensorProto, helper, numpy_helper

    ins = outs if shape.depthwise else ins
    groups = outs if shape.depthwise else 1
    widths = (ins, outs // groups) if shape.transposed else (outs, ins // groups)
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.standard_normal((*widths, *shape.kernel)).astype(np.float32), "w")
    bias = numpy_helper.from_array(random.standard_normal(outs).astype(np.float32), "b")
    given = {"strides": shape.stride, "pads": [*shape.padding, *shape.padding], "dilations": shape.dilation}
    kind = "ConvTranspose" if shape.transposed else "Conv"
    nodes = [helper.make_node(kind, ["x", "w", "b"], ["c"], group=groups, kernel_shape=shape.kernel, **given)]
    if shape.act == "silu":
        nodes += [helper.make_node("Sigmoid", ["c"], ["s"]), helper.make_node("Mul", ["c", "s"], ["y"])]
    elif shape.act == "relu":
        nodes += [helper.make_node("Relu", ["c"], ["y"])]
    out = "y" if shape.act else "c"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (shape.batch, ins, *shape.size))
    y = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "layer", [x], [y], [weight, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()
