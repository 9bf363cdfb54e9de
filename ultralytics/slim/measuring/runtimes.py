"""One inference as a function to time, in each runtime that can be timed: PyTorch, and ONNX Runtime on the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import logs
from ..compat import onnx_by_torchscript
from ..inputs.weights import open_model
from ..kinds import input_channels
from ..loading import as_checkpoint
from .signal_stack import kept_signal_stack

RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}  # key -> name
PACKAGES = {"torch": (), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
QUIET_WAITING = ("session.intra_op.allow_spinning", "0")


def missing_packages(runtime: str) -> list[str]:
    """Return the packages that a runtime needs to be measured and that are not installed."""
    return [package for package in PACKAGES[runtime] if not find_spec(package)]


def has_onnx_runtime() -> bool:
    """Return whether ONNX Runtime can be measured here."""
    return not missing_packages("onnx")


def torch_run(model: nn.Module, imgsz: int, device: torch.device, batch: int = 1) -> Callable[[], object]:
    """Return a function that runs the model on `batch` images of noise; call it in inference mode."""
    return partial(model, torch.rand(batch, input_channels(model), imgsz, imgsz, device=device))


def onnx_run(
    weights: str | Path, imgsz: int, folder: Path, batch: int = 1, runtime: str = "onnx"
) -> Callable[[], object]:
    """Export a copy of the checkpoint to ONNX, and return a function that infers `batch` images with it.

    Args:
        weights: The checkpoint; nothing is written beside it.
        imgsz: Side of the images, pixels.
        folder: Where the copy and its export go; may be deleted afterwards.
        batch: Images inferred at once.
        runtime: What runs it: 'onnx', or 'openvino'.
    """
    return session_of(_export(shutil.copy(as_checkpoint(weights), folder / "model.pt"), imgsz, batch), runtime)


def session_of(model: str | bytes, runtime: str) -> Callable[[], object]:
    """Return a function that runs an ONNX model, a file or its content, on noise, on the CPU.

    It has as many threads as PyTorch has. Those of ONNX Runtime do not wait by spinning, as they do by default: on the
    cores that the next model in turn needs that made several models on two cores three times slower, each by another
    amount.
    """
    if runtime == "openvino":
        return _openvino_session(model)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(*QUIET_WAITING)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.random.default_rng(0).random(given.shape, dtype=np.float32)
    return partial(session.run, None, {given.name: image})


@kept_signal_stack()
def _openvino_session(model: str | bytes) -> Callable[[], object]:
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": str(torch.get_num_threads()), "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()
    image = np.random.default_rng(0).random(tuple(request.model_inputs[0].shape), dtype=np.float32)
    return partial(request.infer, [image])


def _export(weights: str | Path, imgsz: int, batch: int) -> str:
    """Export a checkpoint to ONNX beside it, all checkpoints alike; return the file's path.

    Ultralytics' export changes the number of PyTorch's threads, and what is timed afterwards with it: it is put back.
    """
    threads, simplify = torch.get_num_threads(), bool(find_spec("onnxslim"))
    try:
        with logs.only(), onnx_by_torchscript():
            return open_model(weights).export(format="onnx", imgsz=imgsz, batch=batch, device="cpu", simplify=simplify)
    finally:
        torch.set_num_threads(threads)
