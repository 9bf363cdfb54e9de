"""Measure a model once, in a process of its own, for the sake of its memory: `python -m peers.row TASK RESULT`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import TRAINING, freeze_adapters, peak_mb

from ultralytics import YOLO
from ultralytics.slim.command.running import use_cores
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.exporting.formats import INT8

from . import measure
from .methods import METHODS, TEACHER, Method, Stage, Task


@dataclass(frozen=True)
class Made:
    """What a method came to: the checkpoint right after the cut, that at the end, and what they cost."""

    cut: Path
    final: Path
    seconds: float
    peak_mb: float


def make(method: Method, task: Task, folder: Path) -> Made:
    """Let a method make its model, with all its trainings."""
    started, model = time.perf_counter(), task.original
    stages = method.epochs(task.epochs)
    for number, (stage, epochs) in enumerate(stages):
        if number == len(method.before):
            model = cut = method.cut(model, folder / "cut.pt", task) if method.cut else model
        model = train(
            model, stage, epochs, method.image_size(task), task, folder / f"training{number}", method.trains_adapters
        )
    return Made(cut, model, time.perf_counter() - started, peak_mb())


def train(
    start: Path, stage: Stage, epochs: int, imgsz: int, task: Task, folder: Path, trains_adapters: bool = True
) -> Path:
    """Train a checkpoint; return the averaged weights of the last epoch.

    Raises:
        RuntimeError: If the model came back with other widths.
    """
    options = {name: getattr(task, name) for name in ("seed", "fraction", "lr0", "device")}
    options |= {key: str(task.original) if value == TEACHER else value for key, value in stage.options.items()}
    yolo = YOLO(start)
    given = sum(p.numel() for p in yolo.model.parameters())
    if not trains_adapters:
        yolo.add_callback("on_train_start", freeze_adapters)
    place = {"data": task.data, "project": str(folder.parent), "name": folder.name}
    yolo.train(**{**TRAINING, **place, "epochs": epochs, "imgsz": imgsz, **options})
    last = yolo.trainer.last
    trained = sum(p.numel() for p in YOLO(last).model.parameters())
    if trained != given:
        raise RuntimeError(f"training {start} made {trained:,} of {given:,} parameters: its widths were not kept")
    return last


def rows(names: list[str], task: Task, root: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Make a model and yield each method's name and figures.

    Args:
        names: Keys of `METHODS`, of methods that come to the same model and differ in how it is run.
        task: What is to be done.
        root: Folder of images/val and plabels/val, for the relations.
    """
    method = METHODS[names[0]]
    size = method.image_size(task)
    with tempfile.TemporaryDirectory() as folder:
        made = make(method, task, Path(folder))
        first, last = (measure.accuracy(path, task.data, size, task.device) for path in (made.cut, made.final))
        figures = {
            **{f"cut_{key}": value for key, value in first.items()},
            **last,
            "relation_f1": measure.relation_f1(made.final, root, size, task.device),
            **(sizes := measure.sizes(made.final, size)),
            "gflops_share": sizes["gflops"] / measure.sizes(task.original, task.imgsz)["gflops"],
            "image_size": size,
            **({"seconds": made.seconds, "peak_mb": made.peak_mb} if task.is_timed else {}),
        }
        for name in names:
            yield name, {**figures, **_own(METHODS[name], made, task, root, size)}


def _own(method: Method, made: Made, task: Task, root: Path, size: int) -> dict[str, float]:
    """Return latencies; for a method that ends in an export also that file's figures instead of the checkpoint's."""
    if not method.export:
        return measure.latencies((task.original, task.imgsz), (made.final, size)) if task.is_timed else {}
    exported = export_model(made.final, method.export, task.data, imgsz=size, device="cpu")
    found = measure.of_file(exported, task.data, root, size)
    if task.is_timed:
        found |= measure.file_latencies(task.original, exported, method.export.removesuffix(INT8), size)
    return found


def main(request: str, answer: str) -> None:
    use_cores(os.environ["OMP_NUM_THREADS"])
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    task = Task(**{**asked["task"], "original": Path(asked["task"]["original"])})
    found = {}
    for name, figures in rows(asked["methods"], task, Path(asked["root"])):
        found[name] = figures
        Path(answer).write_text(json.dumps(found), encoding="utf-8")  # what is there is kept if the next one fails


if __name__ == "__main__":
    main(*sys.argv[1:])
