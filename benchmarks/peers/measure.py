"""What a row reports of a checkpoint or of an exported file: accuracy, size, compute, latency beside the original."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.slim import logs
from ultralytics.slim.compat import load_checkpoint
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.files import disk_size
from ultralytics.slim.measuring.accuracy import validate
from ultralytics.slim.measuring.runtimes import has_onnx_runtime, onnx_run, torch_run
from ultralytics.slim.measuring.timing import REST, take_turns
from ultralytics.slim.report.measures import describe

CPU = torch.device("cpu")


def accuracy(weights: Path, data: str, imgsz: int, device: str) -> dict[str, float]:
    """Return mAP50-95 and mAP50 on the `val` split, as shares."""
    return _named(validate(weights, data, imgsz, device)[1].results_dict)


def _named(found: dict[str, float]) -> dict[str, float]:
    return {"map50_95": found["metrics/mAP50-95(B)"], "map50": found["metrics/mAP50(B)"]}


def relation_f1(weights: Path, root: Path, imgsz: int, device: str) -> float:
    """Return F1 of the relations child -> parent in `root`'s images/val."""
    return PruneModel(weights).evaluate(root, save=False, imgsz=imgsz, device=device).f1


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


def file_latencies(original: Path, exported: Path, runtime: str, imgsz: int) -> dict[str, float]:
    """Return what `latencies` does for a file exported to 'onnx' or 'openvino', beside the original in that runtime."""
    with tempfile.TemporaryDirectory() as folder:
        whole = export_model(shutil.copy(original, folder), runtime, imgsz=imgsz, device="cpu")
        image = torch.rand(1, 3, imgsz, imgsz)
        runs = {name: partial(_loaded(path), image) for name, path in (("original", whole), ("other", exported))}
        with torch.inference_mode():
            return _compared(runtime, take_turns(runs, rest=REST))


def _loaded(exported: Path) -> AutoBackend:
    """Return an exported network as Ultralytics runs it."""
    with logs.only():
        return AutoBackend(str(exported), device=CPU)


def _compared(runtime: str, turns: dict) -> dict[str, float]:
    whole, part = turns["original"].median_ms, turns["other"].median_ms
    return {f"{runtime}_ms": part, f"{runtime}_ratio": part / whole}


def of_file(exported: Path, data: str, root: Path, imgsz: int) -> dict[str, float]:
    """Return accuracy, relations and size of an exported file or folder, which runs on the CPU."""
    yolo = YOLO(str(exported), task="detect")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"batch": 1, "plots": False, "verbose": False, "workers": 0, "save_dir": folder}
        found = yolo.val(data=data, imgsz=imgsz, device="cpu", **settings).results_dict
    own = {"size_mb": disk_size(exported) / 1e6, "relation_f1": relation_f1(exported, root, imgsz, "cpu")}
    return {**_named(found), **own}
