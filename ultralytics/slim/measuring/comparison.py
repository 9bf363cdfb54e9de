"""Compare checkpoints: layers, parameters, GFLOPs, latency measured side by side, size on disk and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics.cfg import TASK2METRIC
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import get_num_params

from ..classes import names_of, pair_classes, task_of
from ..errors import InputError
from ..fewer_classes import fewest_classes, like
from ..inputs.devices import find_device
from ..inputs.images import check_sides
from ..inputs.unlabelled import load_images
from ..kinds import input_channels
from ..loading import load_checkpoint
from .accuracy import accuracy, shared_data
from .agreement import SHOWN_IOUS, TRUE_CONF, Agreement, Reference
from .costs import count_layers, device_name, latency_ms, size_mb
from .flops import count_gflops
from .tables import TextTable


@dataclass(frozen=True)
class ModelRow:
    """One model of a comparison; `size_mb` is that of a stripped half-precision checkpoint, whatever the file holds.

    `map50_95` is None where there is no data with labels, `agreement` None where that was not asked for.
    """

    name: str
    layers: int
    params: int
    gflops: float
    latency_ms: float
    size_mb: float
    map50_95: float | None
    path: str
    agreement: Agreement | None = None


class ComparisonTable(TextTable):
    """Rows of a comparison: a list of `ModelRow` that reads as a table in a terminal, a notebook and Markdown."""

    def __init__(self, rows: Iterable[ModelRow], imgsz: int, device: str, metric: str = "mAP50-95"):
        super().__init__(rows)
        self.imgsz, self.device, self.metric = imgsz, device, metric

    @property
    def header(self) -> tuple[str, ...]:
        return ("model", "layers", "parameters", "GFLOPs", "latency ms", "size MB", *self._measures)

    @property
    def _agrees(self) -> bool:
        return any(row.agreement for row in self)

    @property
    def _measures(self) -> dict[str, Callable[[ModelRow], str]]:
        """The columns of accuracy and agreement, as far as measured, each with what makes its cells."""
        measured = any(row.map50_95 is not None for row in self)
        accuracy = {self.metric: lambda row: _text(row.map50_95, ".4f")} if measured else {}
        agreement = {"agreement": lambda row: _text(row.agreement and row.agreement.value, ".4f")}
        of_boxes = {
            "found again": lambda row: _shares(row.agreement.matched if row.agreement else ()),
            "other class": lambda row: _text(row.agreement and row.agreement.flips, ".1%"),
        }
        agreement |= of_boxes if any(row.agreement and row.agreement.matched for row in self) else {}
        return {**(agreement if self._agrees else {}), **accuracy}  # a run without labels calls its accuracy so

    @property
    def caption(self) -> str:
        return (
            f"BatchNorm fused. GFLOPs and latency of one image of {self.imgsz} px; latency on {self.device} in "
            f"float32, "
            f"median of runs that take turns. Size at half precision."
            f"{f' {agreement_words(self[0])}' if self._agrees else ''}"
        )

    def cells(self) -> list[tuple[str, ...]]:
        return [
            (r.name, str(r.layers), f"{r.params:,}", f"{r.gflops:.3g}", f"{r.latency_ms:.1f}", f"{r.size_mb:.2f}",
             *[cell(r) for cell in self._measures.values()])
            for r in self
        ]  # fmt: skip

    @property
    def verdict(self) -> str:
        """The last row against the first, in words."""
        first, last = self[0], self[-1]
        if last.map50_95 is not None:
            kept = f"{self.metric} {last.map50_95 - first.map50_95:+.4f}"
        elif last.agreement and last.agreement.matched:
            kept = f"{last.agreement.matched[0]:.1%} of its detections found again"
        else:
            kept = f"the same class in {last.agreement.value:.1%} of the images" if last.agreement else ""
        return (
            f"{last.name} against {first.name}: {last.params / first.params:.0%} of the parameters, "
            f"{last.gflops / max(first.gflops, 1e-9):.0%} of the GFLOPs, {last.size_mb / first.size_mb:.0%} of the "
            f"size, "
            f"{first.latency_ms / last.latency_ms:.2f} times as fast, {kept}"
        )


def agreement_words(reference: ModelRow) -> str:
    """Return what the columns of agreement hold."""
    name, images = reference.name, reference.agreement.images
    if not reference.agreement.matched:
        return f"Agreement: the share of {images} images in which the first class is that of {name}."
    ious = ", ".join(map(str, SHOWN_IOUS))
    return (
        f"Agreement, on {images} images: mAP50-95 with the detections of {name} (score >= {TRUE_CONF}) as the truth; "
        f"found again: the share of them at IoU {ious}, same class; other class: what stands there as another one."
    )


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _shares(shares: tuple[float, ...]) -> str:
    return f"{' / '.join(f'{100 * share:.1f}' for share in shares)} %" if shares else "–"


def compare_models(
    weights: dict[str, str | Path],
    data: str | None,
    imgsz: int = 640,
    device: Any = None,
    images: Any = None,
    metric: str | None = None,
    **val,
) -> ComparisonTable:
    """Measure each named checkpoint on the same data and device.

    Args:
        weights: Name -> path of an Ultralytics checkpoint.
        data: Data YAML on whose `val` split the accuracy is measured; None measures none.
        imgsz: Size of validation and of the timed image, in pixels.
        device: As in Ultralytics; by default the first GPU, else the CPU.
        images: Unlabelled images on which all are compared with what the first one detects (`inputs.unlabelled`).
        metric: What the accuracy is called; by default as Ultralytics calls that of the task.
        val: Further arguments of Ultralytics' `val`.
    """
    check_sides(imgsz)
    accuracies = {}
    data = data and shared_data(weights.values(), data)
    for name, path in weights.items() if data else ():
        LOGGER.info(f"measuring {name}, {path}")
        accuracies[name] = accuracy(path, data, imgsz, device, **val)
    device = find_device(device)
    models = {name: load_checkpoint(path, device, fuse=True)[0] for name, path in weights.items()}
    stride = int(max(max(model.stride) for model in models.values()))
    imgsz = check_imgsz(imgsz, stride, max_dim=1)  # as validation does
    latencies = latency_ms(list(models.values()), imgsz, device)
    agreements = {} if images is None else agreements_of(models, images, imgsz)
    rows = [
        ModelRow(name, count_layers(model), get_num_params(model), count_gflops(model, imgsz), milliseconds,
            size_mb(weights[name]), accuracies.get(name), str(weights[name]), agreements.get(name))
        for (name, model), milliseconds in zip(models.items(), latencies)
    ]  # fmt: skip
    task = task_of(next(iter(models.values())))
    metric = metric or TASK2METRIC[task].partition("/")[2].partition("(")[0]
    return ComparisonTable(rows, imgsz, device_name(device), metric)


def agreements_of(models: Mapping[str, nn.Module], images: Any, imgsz: int) -> dict[str, Agreement]:
    """Return how far each model agrees with the first one on unlabelled images, itself included.

    Raises:
        InputError: A model of another task, or without a class of the first one's.
    """
    fewest = fewest_classes(models.values())
    if fewest is not None:
        models = {name: like(model, fewest) for name, model in models.items()}
    first = next(iter(models.values()))
    channels, task = input_channels(first), task_of(first)
    reference = Reference(first, load_images(images, imgsz, channels, cover=task == "classify"))
    found = {}
    for name, model in models.items():
        if task_of(model) != task:
            raise InputError(f"{name}: its task is {task_of(model)} and not {task}, so they cannot agree")
        if input_channels(model) != channels:
            raise InputError(
                f"{name}: it reads images of {input_channels(model)} channels and {next(iter(models))} of {channels}, "
                "so they cannot agree"
            )
        pairs = pair_classes(names_of(model), names_of(first))
        if not pairs:
            raise InputError(f"{name}: it has no class of {next(iter(models))}, so they cannot agree")
        found[name] = reference.agreement(model, dict(pairs))
    return found


def name_paths(
    paths: str | Path | Iterable[str | Path], beside: Mapping[str, str | Path] | None = None
) -> dict[str, str]:
    """Return {name: path}: each checkpoint is named by its file, and by as many of its folders as tell it from others.

    Args:
        paths: The checkpoints.
        beside: Others that have their names already: name -> path.
    """
    beside = beside or {}
    paths = [str(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    tails = {path: Path(path).absolute().with_suffix("").parts[1:] for path in (*paths, *map(str, beside.values()))}
    return {_shortest(path, tails, beside): path for path in paths}


def _shortest(path: str, tails: dict[str, tuple[str, ...]], taken: Container[str]) -> str:
    """Return the shortest end of a path that no other one has."""
    own, others = tails[path], [tail for other, tail in tails.items() if other != path]
    for depth in range(1, len(own) + 1):
        name = "/".join(own[-depth:])
        if name not in taken and all(other[-depth:] != own[-depth:] for other in others):
            return name
    return path
