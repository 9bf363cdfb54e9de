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

from ultralytics import YOLO

from .. import logs

RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime"}  # key -> name
QUIET_WAITING = ("session.intra_op.allow_spinning", "0")


def has_onnx_runtime() -> bool:
    """Return whether ONNX Runtime can be measured here."""
    return all(find_spec(package) for package in ("onnx", "onnxruntime"))


def torch_run(model: nn.Module, imgsz: int, device: torch.device, batch: int = 1) -> Callable[[], object]:
    """Return a function that runs the model on `batch` images of noise; call it in inference mode."""
    return partial(model, torch.rand(batch, next(model.parameters()).shape[1], imgsz, imgsz, device=device))


def onnx_run(weights: str | Path, imgsz: int, folder: Path, batch: int = 1) -> Callable[[], object]:
    """Export a copy of the checkpoint, and return a function that infers `batch` images with it.

    The session has as many threads as PyTorch has. They do not wait by spinning, as they do by default: on the cores
    that the next model in turn needs that made several models on two cores three times slower, each by another amount.

    Args:
        weights: The checkpoint; nothing is written beside it.
        imgsz: Side of the images, pixels.
        folder: Where the copy and its export go; may be deleted afterwards.
        batch: Images inferred at once.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(*QUIET_WAITING)
    exported = _export(shutil.copy(weights, folder / "model.pt"), imgsz, batch)
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.random.default_rng(0).random(given.shape, dtype=np.float32)
    return partial(session.run, None, {given.name: image})


def _export(weights: str | Path, imgsz: int, batch: int) -> str:
    """Export a checkpoint to ONNX beside it, all checkpoints alike; return the file's path.

    Ultralytics' export changes the number of PyTorch's threads, and what is timed afterwards with it: it is put back.
    """
    threads, simplify = torch.get_num_threads(), bool(find_spec("onnxslim"))
    try:
        with logs.only():
            return YOLO(weights).export(format="onnx", imgsz=imgsz, batch=batch, device="cpu", simplify=simplify)
    finally:
        torch.set_num_threads(threads)
