"""Export a checkpoint in several formats, load each file back, and compare what it finds with what PyTorch finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.utils import LOGGER

from .. import logs
from ..compat import time_sync
from ..errors import InputError
from ..files import disk_size
from ..inputs.data import check_data
from ..inputs.unlabelled import readable_images, spread
from ..inputs.weights import find_weights, open_export, open_model
from ..kinds import input_channels
from ..measuring.accuracy import file_accuracy, shared_data
from ..measuring.costs import device_name
from ..measuring.detections import Found, choose_images, detect, match_detections
from ..measuring.processor import int8_instructions
from ..measuring.tables import TextTable
from ..measuring.timing import REST, Latency, take_turns
from ..pruning.prune import image_size
from .export import check_options, check_ranges, export_model, is_ours
from .formats import INT8, float_format, read_formats

TORCH = "PyTorch"  # the checkpoint's own row
ORIGINAL = "{}, original"  # rows of the model before it was pruned
SAME_IOU = 0.9
COMPARED = 32  # images
FEW = 0.95  # a smaller share of PyTorch's detections is warned of


@dataclass(frozen=True)
class ExportedFile:
    """One exported file, or the checkpoint itself, whose comparison is empty.

    Attributes:
        format: As it was asked for.
        path: The file or folder; '' for the original's, which are gone.
        size_mb: Its size on disk, 10^6 bytes.
        latency: Of the network alone on one image; None where the file cannot be run on this machine.
        found: Detections in all images; None where the file cannot be run on this machine.
        of_torch, of_own: Shares of PyTorch's detections and of this file's that have a partner: a detection of the same
            class at IoU >= 0.9, matched one to one. None where there are no detections.
        score_median, score_max: Differences of score within the pairs; None without pairs.
        map50_95: The task's main measure on the whole `val` split; None where it was not measured.
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
    map50_95: float | None = None


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
        "mAP50-95",
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
             _text(row.score_median, ".1e"), _text(row.score_max, ".1e"), _text(row.map50_95, ".4f"))
            for row in self
        ]  # fmt: skip


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def check_exports(
    weights: str | Path,
    formats: str | list[str],
    data: str | None = None,
    images: Any = COMPARED,
    conf: float = 0.25,
    original: str | Path | None = None,
    accuracy: bool = True,
    ranges: Any = None,
    iterations: int = 0,
    **options,
) -> ExportTable:
    """Export a checkpoint in each format, load each file back, and compare it with PyTorch on real images.

    Of an int8 or fp16 file the float one is made and compared, too, and both are validated.

    Args:
        weights: A checkpoint that finds boxes.
        formats: As `read_formats` takes them.
        data: Data YAML; its `val` images are looked at, and its `train` images give int8 its ranges.
        images: How many images to look at, evenly spaced; or without data the images themselves, from any source that
            `load_images` takes but a tensor: int8 takes its ranges from them, too.
        conf: Least score of a detection.
        original: The model before it was pruned: where there are such files, its float ones are timed and validated
            beside them, and removed.
        accuracy: Whether such files, and what they stand beside, are validated on the whole `val` split of data.
        ranges: Images that int8 takes its ranges from instead.
        iterations: Steps in which a model learns to do with int8 where no way of quantising it holds.
        options: Further ones of `export_model`; `device` is also where everything runs, by default the CPU.
    """
    names = with_float(read_formats(formats))
    check_options({**options, "conf": conf, "iterations": iterations}, names)
    options = {"device": "cpu", **options}
    own = not isinstance(images, int)
    if own == bool(data):
        raise InputError("give data=, a data YAML, of whose images images= are compared, or the images themselves")
    if not own and (isinstance(images, bool) or images < 1):
        raise InputError(f"images={images}: expected how many images of data= to compare, a whole number from 1")
    ranges = images if own and ranges is None else ranges
    for name in names:
        check_ranges(name, ranges, options)
    if original:  # which may have been trained at another size
        original = find_weights(original, key="original")
        options = {"imgsz": image_size(open_model(weights).model), **options}
    chosen = spread(readable_images(images), COMPARED) if own else choose_images(check_data(data)["val"], images)
    steps = {name: iterations if is_ours(name, options) else 0 for name in names}
    files = {name: export_model(weights, name, data, ranges, steps[name], **options) for name in names}
    shown = options.get("imgsz"), options["device"]
    less = [name for name in names if float_format(name) != name]
    if not less:
        return compare_exports(weights, files, chosen, conf, *shown)
    with tempfile.TemporaryDirectory() as folder:
        before = _export_original(original, less, Path(folder), options) if original else {}
        return compare_exports(weights, files, chosen, conf, *shown, before, data if accuracy else None)


def _export_original(weights: str | Path, names: list[str], folder: Path, options: dict[str, Any]) -> dict[str, Path]:
    """Return the original checkpoint and its float files in the formats that these come from, by name of the row."""
    bases = dict.fromkeys(map(float_format, names))
    with logs.only():
        return {ORIGINAL.format(TORCH): Path(weights)} | {
            ORIGINAL.format(base): export_model(weights, base, folder=folder, **options) for base in bases
        }


def compare_exports(
    weights: str | Path,
    files: dict[str, Path],
    images: list[Path],
    conf: float = 0.25,
    imgsz: int | None = None,
    device: Any = "cpu",
    before: Mapping[str, Path] | None = None,
    data: str | None = None,
) -> ExportTable:
    """Compare exported files, by name of format, with the checkpoint they were made from.

    A file that cannot be run on this machine is named in a warning, and its row says no more than its size.

    Args:
        weights: The checkpoint.
        files: Its exported files.
        images: Images to compare the detections in.
        conf, imgsz, device: As Ultralytics predicts.
        before: Files of the model before it was pruned, its checkpoint among them, by the names of their rows: they
            are timed and validated and not compared.
        data: Data YAML to validate all on; none are where it is not given.
    """
    before = before or {}
    torch_model = open_model(weights)
    models = {TORCH: torch_model} | {name: open_export(path, torch_model) for name, path in files.items()}
    # Without rect=False PyTorch would pad less than an export of fixed size has to.
    settings = {"conf": conf, "device": device, "rect": False} | ({"imgsz": imgsz} if imgsz else {})
    found = {TORCH: detect(torch_model, images, **settings)}
    for name, path in files.items():
        try:
            with logs.only():
                found[name] = detect(models[name], images, **settings)
        except Exception as error:  # of a runtime: any kind
            LOGGER.warning(f"{name}: {path} was exported, but cannot be run on this machine and compared: {error}")
    for name, path in before.items():
        models[name] = open_export(path, torch_model)
        with logs.only():
            detect(models[name], images[:1], **settings)
    running = [*found, *before]
    channels = input_channels(torch_model.model)
    latencies = _latencies({name: models[name].predictor for name in running}, channels)
    for name in filter(None, map(partial(slower_than_float, latencies), files)):
        LOGGER.warning(name)
    predictor = torch_model.predictor
    places = {TORCH: Path(torch_model.ckpt_path), **files, **before}
    accuracies: dict[str, float] = {}
    if data:
        with logs.only():
            side, seen = max(predictor.imgsz), shared_data([weights], data)
            whole = open_model(places[ORIGINAL.format(TORCH)]) if before else torch_model  # may have more classes
            sources = {n: whole if n in before else torch_model for n in running}
            accuracies = {n: file_accuracy(places[n], source, seen, side, device) for n, source in sources.items()}
    rows = [
        _row(name, path, found, latencies.get(name), accuracies.get(name), name in before)
        for name, path in places.items()
    ]
    return ExportTable(rows, len(images), list(predictor.imgsz), device_name(predictor.device))


def with_float(names: list[str]) -> list[str]:
    """Return the formats with the float one before each of less precision, to compare it with."""
    return list(dict.fromkeys(one for name in names for one in (float_format(name), name)))


def slower_than_float(latencies: dict[str, Latency], name: str) -> str:
    """Return what is to be said of a file of less precision that gains no time over its float one, '' of others."""
    base = float_format(name)
    if name == base or not {name, base} <= latencies.keys():
        return ""
    ratio = latencies[name].median_ms / latencies[base].median_ms
    if ratio < 1:
        return ""
    lacking = name.endswith(INT8) and int8_instructions() == ""
    why = " (this processor has no instructions for int8)" if lacking else ""
    return f"{name}: takes {ratio:.2f} times as long here as {base}{why}: use {base} on this machine"


def _row(
    name: str,
    path: Path,
    found: dict[str, list[Found]],
    latency: Latency | None,
    accuracy: float | None,
    is_before: bool,
) -> ExportedFile:
    size = disk_size(path) / 1e6
    if name not in found:
        return ExportedFile(name, "" if is_before else str(path), size, latency, map50_95=accuracy)
    agreed = agreement(found[TORCH], found[name]) if name != TORCH else {}
    if (share := agreed.get("of_torch")) is not None and share < FEW:
        LOGGER.warning(f"{name}: {path} finds only {share:.1%} of what PyTorch finds (same class, IoU >= {SAME_IOU})")
    count = sum(len(f.scores) for f in found[name])
    return ExportedFile(name, str(path), size, latency, count, **agreed, map50_95=accuracy)


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


def _latencies(predictors: dict, channels: int) -> dict[str, Latency]:
    """Time the loaded networks on one image of noise of so many channels."""
    device = predictors[TORCH].device
    runs = {}
    for name, predictor in predictors.items():
        image = torch.rand(1, channels, *predictor.imgsz, device=device)
        runs[name] = partial(predictor.model, image)
    with torch.inference_mode():
        return take_turns(runs, partial(time_sync, device), REST)
