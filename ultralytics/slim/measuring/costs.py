"""What a model costs: layers, size on disk, and time."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..compat import time_sync
from ..loading import load_checkpoint
from .runtimes import torch_run
from .timing import take_turns


def device_name(device: torch.device) -> str:
    """Return what a latency was measured on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' * (threads > 1)}" if device.type == "cpu" else device.type


def count_layers(model: nn.Module) -> int:
    """Return the number of modules that hold no others, as Ultralytics counts layers."""
    return sum(1 for module in model.modules() if not module._modules)


def size_mb(weights: str | Path) -> float:
    """Return the size of the checkpoint with its weights in half precision and nothing else in the file, in MB."""
    model, _ = load_checkpoint(weights)
    buffer = io.BytesIO()
    torch.save({"model": model.half()}, buffer)
    return buffer.tell() / 1e6


@torch.inference_mode()
def latency_ms(models: list[nn.Module], imgsz: int, device: torch.device) -> list[float]:
    """Return the median time of one image for each model.

    The models take turns, so that a slow moment of the machine meets all of them alike.
    """
    runs = {i: torch_run(model, imgsz, device) for i, model in enumerate(models)}
    return [latency.median_ms for latency in take_turns(runs, partial(time_sync, device)).values()]
