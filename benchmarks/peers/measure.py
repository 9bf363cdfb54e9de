"""What a row reports of a checkpoint or of an exported file: accuracy, size, compute, latency beside the original."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.compat import load_checkpoint
from ultralytics.slim.files import disk_size
from ultralytics.slim.report import validate
from ultralytics.slim.run_report.measure import describe
from ultralytics.slim.runtimes import has_onnx_runtime, onnx_run, torch_run
from ultralytics.slim.timing import take_turns

CPU = torch.device("cpu")


def accuracy(weights: Path, data: str, imgsz: int) -> dict[str, float]:
    """Return mAP50-95 and mAP50 on the `val` split, as shares."""
    return _named(validate(weights, data, imgsz, "cpu")[1].results_dict)


def _named(found: dict[str, float]) -> dict[str, float]:
    return {"map50_95": found["metrics/mAP50-95(B)"], "map50": found["metrics/mAP50(B)"]}


def relation_f1(weights: Path, root: Path, imgsz: int) -> float:
    """Return F1 of the relations child -> parent in `root`'s images/val."""
    return PruneModel(weights).evaluate(root, save=False, imgsz=imgsz, device="cpu").f1


def sizes(weights: Path, imgsz: int) -> dict[str, float]:
    """Return parameters and GFLOPs with BatchNorm fused, and MB of the half-precision checkpoint."""
    return {key: value for key, value in describe(weights, imgsz).items() if key != "shape"}


def latencies(original: tuple[Path, int], other: tuple[Path, int]) -> dict[str, float]:
    """Return the median milliseconds of both, timed in turns, and their ratio, in PyTorch and ONNX Runtime, fused.

    Args:
        original, other: (checkpoint, side of its image in pixels).
    """
    named = {"original": original, "other": other}
    with torch.inference_mode():
        models = {
            name: load_checkpoint(str(path), CPU, fuse=True)[0].float().eval() for name, (path, _) in named.items()
        }
        found = {"torch": take_turns({name: torch_run(models[name], size, CPU) for name, (_, size) in named.items()})}
    if has_onnx_runtime():
        with tempfile.TemporaryDirectory() as folder:
            runs = {name: onnx_run(path, size, Path(folder)) for name, (path, size) in named.items()}
            found["onnx"] = take_turns(runs)
    return {key: value for runtime, turns in found.items() for key, value in _compared(runtime, turns).items()}


def file_latencies(original: Path, exported: Path, imgsz: int) -> dict[str, float]:
    """Return what `latencies` does, in ONNX Runtime alone, for an exported ONNX file instead of a checkpoint."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = {"original": onnx_run(original, imgsz, Path(folder))}
        runs["other"] = lambda: session.run(None, {given.name: image})
        return _compared("onnx", take_turns(runs))


def _compared(runtime: str, turns: dict) -> dict[str, float]:
    whole, part = turns["original"].median_ms, turns["other"].median_ms
    return {f"{runtime}_ms": part, f"{runtime}_ratio": part / whole}


def of_file(original: Path, exported: Path, data: str, imgsz: int) -> dict[str, float]:
    """Return accuracy on the `val` split, latency and size of an exported ONNX file."""
    yolo = YOLO(str(exported), task="detect")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"batch": 1, "plots": False, "verbose": False, "workers": 0, "save_dir": folder}
        found = yolo.val(data=data, imgsz=imgsz, device="cpu", **settings).results_dict
    size = {"size_mb": disk_size(exported) / 1e6}
    return {**_named(found), **file_latencies(original, exported, imgsz), **size}
