"""Measure the checkpoints of a run for its report: accuracy by class, size, compute, and latency side by side."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ultralytics.cfg import TASK2METRIC
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_cpu_info, get_num_params

from ..compat import time_sync
from ..inputs.devices import find_device
from ..loading import load_checkpoint
from ..measuring.accuracy import validate
from ..measuring.costs import size_mb
from ..measuring.flops import count_gflops
from ..measuring.runtimes import RUNTIMES, has_onnx_runtime, onnx_run, torch_run
from ..measuring.timing import take_turns


def accuracy_by_class(weights: Path, data: str, imgsz: int, device: Any) -> dict:
    """Return mAP50, mAP50-95 and the latter by class on the `val` split.

    Returns:
        `{"map50", "map50_95", "classes": {name: {"map50_95", "objects"}}}`; shares, not percent. Classes without an
        object in the split are left out.
    """
    yolo, metrics = validate(weights, data, imgsz, device)
    main = TASK2METRIC[yolo.task]
    found = metrics.results_dict
    part = getattr(metrics, {"segment": "seg", "pose": "pose"}.get(yolo.task, "box"), None)
    classes = {}
    for index, average in zip(getattr(part, "ap_class_index", ()), getattr(part, "ap", ())):
        objects = int(metrics.nt_per_class[index])
        classes[str(metrics.names[int(index)])] = {"map50_95": float(average), "objects": objects}
    return {
        "map50": float(found.get(main.replace("mAP50-95", "mAP50"), found[main])),
        "map50_95": float(found[main]),
        "classes": classes,
    }


def describe(weights: Path, imgsz: int) -> dict:
    """Return parameters and GFLOPs, BatchNorm fused, size at half precision in MB, and a key of the architecture.

    Checkpoints with equal `shape` are the same network with other weights, so they are equally fast.
    """
    model = load_checkpoint(str(weights), fuse=True)[0]
    shapes = "-".join(str(tuple(p.shape)) for p in model.parameters())
    return {
        **cost(model, imgsz),
        "size_mb": float(size_mb(weights)),
        "shape": hashlib.sha256(shapes.encode()).hexdigest()[:12],
    }


def cost(model: torch.nn.Module, imgsz: int) -> dict:
    """Return parameters and GFLOPs of a fused model."""
    return {"params": int(get_num_params(model)), "gflops": float(count_gflops(model, imgsz))}


def latencies(weights: dict[str, Path], imgsz: int, device: Any) -> dict[str, dict[str, dict]]:
    """Return `{runtime: {name: latency}}` of one image, the models taking turns; ONNX Runtime where it is installed."""
    chosen = find_device(device)
    LOGGER.info(f"report: timing {' and '.join(weights)} in turns")
    with torch.inference_mode():
        models = {name: load_checkpoint(str(path), chosen, fuse=True)[0] for name, path in weights.items()}
        runs = {name: torch_run(model, imgsz, chosen) for name, model in models.items()}
        found = {RUNTIMES["torch"]: take_turns(runs, partial(time_sync, chosen))}
    if has_onnx_runtime():
        with tempfile.TemporaryDirectory() as folder:
            found[RUNTIMES["onnx"]] = take_turns(
                {name: onnx_run(path, imgsz, Path(folder)) for name, path in weights.items()}
            )
    return {runtime: {name: asdict(latency) for name, latency in rows.items()} for runtime, rows in found.items()}


def machine(device: Any) -> str:
    """Return what the latency was measured on, in words."""
    chosen = find_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    if chosen.type != "cpu":
        return chosen.type
    threads = torch.get_num_threads()
    return f"{get_cpu_info()}, {threads} thread{'s' * (threads > 1)}"
