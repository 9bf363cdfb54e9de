"""Export a checkpoint in several formats, load each file back, and compare what it finds with what PyTorch finds."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ultralytics import YOLO
from ultralytics.engine.exporter import INT8_FORMATS, export_formats
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import time_sync

from . import inputs, logs
from .cli import hint, paths
from .detections import Found, choose_images, compare, detect
from .files import disk_size
from .report import device_name
from .tables import TextTable
from .timing import REST, Latency, take_turns

INT8 = "-int8"  # onnx-int8: the format onnx with quantize=8
NEEDS = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",), "ncnn": ("ncnn", "pnnx")}  # to export and load back
INT8_NEEDS = {"openvino": ("nncf",)}
CALIBRATION = 300  # training images that the ranges of int8 are taken from, as many as Ultralytics recommends
TORCH = "PyTorch"  # the checkpoint's own row
SAME_IOU = 0.9
FEW = 0.95  # a smaller share of PyTorch's detections is warned of


@dataclass(frozen=True)
class Row:
    """One exported file, or the checkpoint itself, whose comparison is empty.

    Attributes:
        format: As it was asked for.
        path: The file or folder.
        size_mb: Its size on disk, 10^6 bytes.
        latency: Of the network alone on one image; None where the file cannot be run on this machine.
        found: Detections in all images; None where the file cannot be run on this machine.
        of_torch, of_own: Shares of PyTorch's detections and of this file's that have a partner: a detection of the same
            class at IoU >= 0.9, matched one to one. None where there are no detections.
        score_median, score_max: Differences of score within the pairs; None without pairs.
    """

    format: str
    path: str
    size_mb: float
    latency: Latency | None = None
    found: int | None = None
    of_torch: float | None = None
    of_own: float | None = None
    score_median: float | None = None
    score_max: float | None = None


class Table(TextTable):
    """PyTorch and the exported files, side by side."""

    header = ("format", "size MB", "latency ms", "found", "PyTorch's matched", "its own matched", "score ±", "largest ±")

    def __init__(self, rows: Iterable[Row], images: int, imgsz: list[int], device: str):
        super().__init__(rows)
        self.images, self.imgsz, self.device = images, imgsz, device

    @property
    def caption(self) -> str:
        return (
            f"Detections in {self.images} images. Matched: same class, IoU >= {SAME_IOU}, one to one; score ±: median "
            f"difference within the pairs. Latency: median of the network alone on one image of "
            f"{'x'.join(map(str, self.imgsz))} px, batch 1, as Ultralytics loads the file, taking turns; PyTorch on "
            f"{self.device}, the others with as many threads as they choose."
        )

    def cells(self) -> list[tuple[str, ...]]:
        return [
            (row.format, f"{row.size_mb:.2f}", _text(row.latency and row.latency.median_ms, ".1f"),
             _text(row.found, "d"), _text(row.of_torch, ".1%"), _text(row.of_own, ".1%"),
             _text(row.score_median, ".1e"), _text(row.score_max, ".1e"))
            for row in self
        ]  # fmt: skip


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


# ------------------------------------------------------------------------------------------------------------- formats


def parse(formats: str | list[str]) -> list[str]:
    """Return the names in `onnx,openvino-int8` or in a list.

    Raises:
        ValueError: Ultralytics cannot export to one of them.
    """
    known = [f for f in export_formats()["Argument"] if f != "-"]
    known += [name + INT8 for name in known if name in INT8_FORMATS]
    names = paths(formats)
    for name in names:
        if name not in known:
            listed = f"{', '.join(known)}, or several with commas between them"
            raise ValueError(f"format={name}: no such format{hint(name, known)}; expected one of {listed}")
    return names


def check_packages(names: list[str]) -> None:
    """Raise ImportError that names all packages which these formats need and this installation lacks.

    Formats that nobody tried here are Ultralytics' to judge.
    """
    needed = [package for name in names for package in _needs(name) if not find_spec(package)]
    if missing := " ".join(dict.fromkeys(needed)):
        raise ImportError(f"format={','.join(names)} needs {missing.replace(' ', ' and ')}: pip install {missing}")


def _needs(name: str) -> tuple[str, ...]:
    base = name.removesuffix(INT8)
    return NEEDS.get(base, ()) + (INT8_NEEDS.get(base, ()) if name.endswith(INT8) else ())


# -------------------------------------------------------------------------------------------------------------- export


def export(weights: str | Path, name: str, data: str | None = None, **options) -> Path:
    """Export a checkpoint in one format; the file or folder appears beside it when it is complete.

    Args:
        weights: The checkpoint.
        name: A format of Ultralytics, or that and `-int8`.
        data: Data YAML whose training images int8 takes its ranges from.
        options: Further ones of Ultralytics' `export`.

    Raises:
        ImportError: A package is missing.
        ValueError: An unknown format, or int8 without data.
        RuntimeError: The export failed.
        TypeError: `weights` is an exported file itself.
    """
    (name,) = parse(name)
    int8 = name.endswith(INT8) or options.get("quantize") == 8
    check_packages([name.removesuffix(INT8) + INT8 * int8])
    yolo, started = YOLO(str(weights)), time.monotonic()
    model = inputs.torch_model(yolo, "export")
    source = Path(getattr(yolo, "ckpt_path", None) or weights)
    options = {**_defaults(name, data, int8), **options}
    with tempfile.TemporaryDirectory(prefix=".export-", dir=source.parent) as folder:
        model.pt_path = str(Path(folder, source.name))  # where Ultralytics puts the export
        try:
            with logs.only(), _hushed(options["format"] == "ncnn"):
                made = Path(yolo.export(**options))
        except Exception as error:
            raise RuntimeError(f"{source} could not be exported to {name}: {error}") from error
        path = _place(made, source.parent)
    LOGGER.info(f"{name}: {path}, {disk_size(path) / 1e6:.2f} MB, in {time.monotonic() - started:.0f} s")
    return path


def _defaults(name: str, data: str | None, int8: bool) -> dict:
    """Return the options of Ultralytics' export that a format implies."""
    options = {"format": name.removesuffix(INT8)}
    if options["format"] == "onnx":
        options["simplify"] = bool(find_spec("onnxslim"))
    if int8 and not data:
        raise ValueError(f"format={name}: int8 needs data=, a data YAML with training images to take the ranges from")
    if int8:
        if options["format"] == "openvino":
            import nncf

            nncf.set_log_level(logging.WARNING)  # it names every layer
        count = len(inputs.list_images(inputs.check_data(data)["train"]))
        options |= {"quantize": 8, "data": data, "split": "train", "fraction": min(1.0, CALIBRATION / count)}
    return options


def _place(made: Path, folder: Path) -> Path:
    """Move a file or folder into `folder`, over an earlier one."""
    target = folder / made.name
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(made, target)
    return target


@contextmanager
def _hushed(active: bool):
    """Keep back what a converter prints past Python, hundreds of lines about its passes; show it where it fails."""
    if not active:
        yield
        return
    with tempfile.TemporaryFile() as said:
        sys.stdout.flush()
        kept = {number: os.dup(number) for number in (1, 2)}
        for number in kept:
            os.dup2(said.fileno(), number)
        failed = True
        try:
            yield
            failed = False
        finally:
            for number, stream in kept.items():
                os.dup2(stream, number)
                os.close(stream)
            if failed:
                said.seek(0)
                LOGGER.error(said.read().decode(errors="replace")[-3000:])


# ------------------------------------------------------------------------------------------------------------- compare


def check(
    weights: str | Path, formats: str | list[str], data: str, images: int = 32, conf: float = 0.25, **options
) -> Table:
    """Export a checkpoint in each format, load each file back, and compare it with PyTorch on real images.

    Args:
        weights: A checkpoint that finds boxes.
        formats: As `parse` takes them.
        data: Data YAML; its `val` images are looked at, and its `train` images give int8 its ranges.
        images: How many images to look at, evenly spaced.
        conf: Least score of a detection.
        options: Further ones of Ultralytics' `export`; `device` is also where everything runs, by default the CPU.
    """
    names = parse(formats)
    check_packages(names)
    options = {"device": "cpu", **options}
    files = {name: export(weights, name, data, **options) for name in names}
    chosen = choose_images(inputs.check_data(data)["val"], images)
    return measure(weights, files, chosen, conf, options.get("imgsz"), options["device"])


def measure(
    weights: str | Path, files: dict[str, Path], images: list[Path], conf: float = 0.25, imgsz=None, device="cpu"
) -> Table:
    """Compare exported files, by name of format, with the checkpoint they were made from.

    A file that cannot be run on this machine is named in a warning, and its row says no more than its size.
    """
    torch_model = YOLO(str(weights))
    models = {TORCH: torch_model} | {name: YOLO(str(path), task=torch_model.task) for name, path in files.items()}
    # Without rect=False PyTorch would pad less than an export of fixed size has to.
    settings = {"conf": conf, "device": device, "rect": False} | ({"imgsz": imgsz} if imgsz else {})
    found = {TORCH: detect(torch_model, images, **settings)}
    for name, path in files.items():
        try:
            with logs.only():
                found[name] = detect(models[name], images, **settings)
        except Exception as error:  # of a runtime: any kind
            LOGGER.warning(f"{name}: {path} was exported, but cannot be run on this machine and compared: {error}")
    latencies = _latencies({name: models[name].predictor for name in found})
    places = {TORCH: Path(torch_model.ckpt_path), **files}
    rows = [_row(name, path, found, latencies.get(name)) for name, path in places.items()]
    predictor = torch_model.predictor
    return Table(rows, len(images), list(predictor.imgsz), device_name(predictor.device))


def _row(name: str, path: Path, found: dict[str, list[Found]], latency: Latency | None) -> Row:
    if name not in found:
        return Row(name, str(path), disk_size(path) / 1e6)
    agreed = agreement(found[TORCH], found[name]) if name != TORCH else {}
    if (share := agreed.get("of_torch")) is not None and share < FEW:
        LOGGER.warning(f"{name}: {path} finds only {share:.1%} of what PyTorch finds (same class, IoU >= {SAME_IOU})")
    return Row(name, str(path), disk_size(path) / 1e6, latency, sum(len(f.scores) for f in found[name]), **agreed)


def agreement(reference: list[Found], other: list[Found]) -> dict[str, float | None]:
    """Return how far the detections in the same images agree, as the fields of `Row` of these names."""
    pairs, differences = 0, []
    for a, b in zip(reference, other, strict=True):
        both = compare(a, b, SAME_IOU).both
        pairs += len(both)
        differences += [abs(float(a.scores[i] - b.scores[j])) for i, j in both]
    counts = [sum(len(found.scores) for found in side) for side in (reference, other)]
    of_torch, of_own = (pairs / count if count else None for count in counts)
    return {
        "of_torch": of_torch,
        "of_own": of_own,
        "score_median": float(np.median(differences)) if differences else None,
        "score_max": max(differences, default=None),
    }


def _latencies(predictors: dict) -> dict[str, Latency]:
    """Time the loaded networks on one image of noise."""
    device = predictors[TORCH].device
    runs = {}
    for name, predictor in predictors.items():
        image = torch.rand(1, predictor.model.channels, *predictor.imgsz, device=device)
        runs[name] = partial(predictor.model, image)
    with torch.inference_mode():
        return take_turns(runs, partial(time_sync, device), REST)
