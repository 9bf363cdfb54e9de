"""Export a checkpoint in several formats, load each file back, and compare what it finds with what PyTorch finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import time_sync

from .. import logs
from ..files import disk_size
from ..inputs.data import check_data
from ..inputs.weights import open_model
from ..measuring.costs import device_name
from ..measuring.detections import Found, choose_images, detect, match_detections
from ..measuring.tables import TextTable
from ..measuring.timing import REST, Latency, take_turns
from .export import export_model
from .formats import check_packages, read_formats

TORCH = "PyTorch"  # the checkpoint's own row
SAME_IOU = 0.9
FEW = 0.95  # a smaller share of PyTorch's detections is warned of


@dataclass(frozen=True)
class ExportedFile:
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


class ExportTable(TextTable):
    """PyTorch and the exported files, side by side."""

    header = (
        "format",
        "size MB",
        "latency ms",
        "found",
        "PyTorch's matched",
        "its own matched",
        "score ±",
        "largest ±",
    )

    def __init__(self, rows: Iterable[ExportedFile], images: int, imgsz: list[int], device: str):
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


def check_exports(
    weights: str | Path, formats: str | list[str], data: str, images: int = 32, conf: float = 0.25, **options
) -> ExportTable:
    """Export a checkpoint in each format, load each file back, and compare it with PyTorch on real images.

    Args:
        weights: A checkpoint that finds boxes.
        formats: As `read_formats` takes them.
        data: Data YAML; its `val` images are looked at, and its `train` images give int8 its ranges.
        images: How many images to look at, evenly spaced.
        conf: Least score of a detection.
        options: Further ones of Ultralytics' `export`; `device` is also where everything runs, by default the CPU.
    """
    names = read_formats(formats)
    check_packages(names)
    options = {"device": "cpu", **options}
    files = {name: export_model(weights, name, data, **options) for name in names}
    chosen = choose_images(check_data(data)["val"], images)
    return compare_exports(weights, files, chosen, conf, options.get("imgsz"), options["device"])


def compare_exports(
    weights: str | Path,
    files: dict[str, Path],
    images: list[Path],
    conf: float = 0.25,
    imgsz: int | None = None,
    device: Any = "cpu",
) -> ExportTable:
    """Compare exported files, by name of format, with the checkpoint they were made from.

    A file that cannot be run on this machine is named in a warning, and its row says no more than its size.
    """
    torch_model = open_model(weights)
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
    return ExportTable(rows, len(images), list(predictor.imgsz), device_name(predictor.device))


def _row(name: str, path: Path, found: dict[str, list[Found]], latency: Latency | None) -> ExportedFile:
    if name not in found:
        return ExportedFile(name, str(path), disk_size(path) / 1e6)
    agreed = agreement(found[TORCH], found[name]) if name != TORCH else {}
    if (share := agreed.get("of_torch")) is not None and share < FEW:
        LOGGER.warning(f"{name}: {path} finds only {share:.1%} of what PyTorch finds (same class, IoU >= {SAME_IOU})")
    return ExportedFile(
        name, str(path), disk_size(path) / 1e6, latency, sum(len(f.scores) for f in found[name]), **agreed
    )


def agreement(reference: list[Found], other: list[Found]) -> dict[str, float | None]:
    """Return how far the detections in the same images agree, as the fields of `ExportedFile` of these names."""
    pairs, differences = 0, []
    for a, b in zip(reference, other, strict=True):
        both = match_detections(a, b, SAME_IOU).both
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
