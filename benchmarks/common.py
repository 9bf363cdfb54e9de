"""What the benchmarks share: the machine, a trainer without its loop, one drawn batch, and result files."""

from __future__ import annotations

import csv
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / "results"

# The same for every training that is compared. None sees the validation images: the last epoch's averaged weights
# count.
TRAINING = {"batch": 16, "nbs": 16, "optimizer": "AdamW", "lr0": 0.0005, "warmup_bias_lr": 0.0, "warmup_epochs": 1}
TRAINING |= {"cos_lr": True, "workers": 0, "cache": "ram", "device": "cpu", "amp": False}
TRAINING |= {"plots": False, "val": False}
TRAINING |= {"verbose": False, "distill_check": False, "exist_ok": True}


DEPTHS = {"False": False, "True": True, "auto": "auto"}  # word -> the value of depth=


def trained(start: Path, folder: Path, **own) -> tuple[Path, float]:
    """Train a checkpoint as every training that is compared; return its last checkpoint, and the seconds it took."""
    from ultralytics import YOLO

    model, started = YOLO(start), time.perf_counter()
    model.train(**{**TRAINING, "project": str(folder), "name": "train", **own})
    return model.trainer.last, time.perf_counter() - started


def distilled(start: Path, folder: Path, original: Path, **own) -> Path:
    """Return the last checkpoint of a training as every one of a pruned model: at once, with mgd from the original."""
    return trained(start, folder, Distillation=str(original), loss_type="mgd", lr0=0.001, **own)[0]


def freeze_adapters(trainer) -> None:
    """Leave the adapters as they were drawn: a callback for `on_train_start`."""
    if trainer.slim.distiller:
        trainer.slim.distiller.adapter_lr = 0.0


@cache
def machine(device: str = "cpu") -> dict[str, str]:
    """Versions, processor, GPU if it is one that was used, and commit that a figure belongs to."""
    from ultralytics.slim.measuring.processor import int8_instructions

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent)
    amx = " AMX" if int8_instructions() == "AMX" else ""  # where OpenVINO computes in bfloat16
    return {
        "cpu": (platform.processor() or platform.machine()) + amx if device == "cpu" else _name(device),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or "unknown",
    }


def _name(device: str) -> str:
    from ultralytics.slim.measuring.costs import device_name
    from ultralytics.utils.torch_utils import select_device

    return device_name(select_device(device, verbose=False))


def peak_mb() -> float:
    """Return the most memory that this process has had resident so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def write_rows(name: str, rows: list[dict]) -> Path:
    """Write rows to benchmarks/results/NAME.csv and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {path}")
    return path


def read_rows(name: str) -> list[dict]:
    """Return the rows of benchmarks/results/NAME.csv, none where there is no such file."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def is_done(rows: list[dict[str, str]], wanted: dict[str, str]) -> bool:
    """Return whether there is a row of this key."""
    return any(all(row[name] == value for name, value in wanted.items()) for row in rows)


def measure_rows(
    name: str, keys: Iterable[dict[str, str]], measured: Callable[[Path, dict[str, str]], dict[str, str]]
) -> None:
    """Add the rows of these keys that are not yet in results/NAME.csv, each as soon as it is measured on the CPU.

    Args:
        measured: Takes a folder, which all rows share and which is removed after them, and the key of a row; returns
            the row's figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        for key in keys:
            if not is_done(read_rows(name), key):
                found = measured(Path(folder), key)
                write_rows(name, [*read_rows(name), {**key, **found, **machine("cpu")}])
                print(key, found, flush=True)


def show_means(name: str, columns: tuple[str, ...]) -> None:
    """Print the mean mAP50-95 of the rows that agree in these columns, and how far their seeds lie apart."""
    for key, group in by_setting(read_rows(name), columns).items():
        figures = [float(row["map50_95"]) for row in group]
        print(*key, f"{mean(group, 'map50_95'):.4f} ({min(figures):.4f} to {max(figures):.4f}, {len(figures)} seeds)")


def draw_points(
    name: str,
    title: str,
    rows: list[dict[str, str]],
    placed: Callable[[dict[str, str]], tuple[str, str] | None],
    x: str,
    along: str = "latency, the original is 1",
) -> None:
    """Draw results/NAME.svg: mAP50-95 over the column `x`, a point for the mean of the rows that are placed alike.

    Args:
        placed: Takes a row; returns the series it belongs to and what its point is called, None where it is not drawn.
        along: What the column is called.
    """
    from ultralytics.slim.charts import scatter
    from ultralytics.slim.charts.svg import standalone
    from ultralytics.slim.files import write_text

    points: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if place := placed(row):
            points.setdefault(place, []).append(row)
    groups: dict[str, list[tuple[str, float, float]]] = {}
    for (series, point), alike in points.items():
        groups.setdefault(series, []).append((point, mean(alike, x), mean(alike, "map50_95")))
    if groups:
        svg = standalone(scatter(title, groups, along, "mAP50-95"))
        print(f"drawn in {write_text(RESULTS / f'{name}.svg', svg)}")


def named(row: dict[str, str]) -> str:
    """Return what a pruned model's point is called: what is left of it, and how long it was trained."""
    return f"{float(row['share']):.0%}" + (f", {row['epochs']} epochs" if row["epochs"] != "0" else "")


def by_setting(rows: list[dict[str, str]], names: tuple[str, ...]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Return the rows that agree in these columns, such as those over several seeds, by the columns' values."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def mean(rows: list[dict[str, str]], column: str) -> float | None:
    """Return the mean of a column over the rows that have a figure there, None where none has."""
    figures = [float(row[column]) for row in rows if row.get(column)]
    return statistics.mean(figures) if figures else None


@cache
def _workspace() -> Path:
    """A folder with a teacher and eight blank images, which a trainer needs to be set up."""
    import cv2
    import numpy as np

    from ultralytics import YOLO

    folder = Path(tempfile.mkdtemp(prefix="slim-bench-"))
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for i in range(8):
            cv2.imwrite(str(folder / f"images/{split}/{i}.png"), np.full((64, 64, 3), 200, np.uint8))
            (folder / f"labels/{split}/{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{0: box}}\n")
    teacher = YOLO("yolov8n.yaml", verbose=False)
    teacher.model.args = {"imgsz": 64}
    teacher.save(folder / "teacher.pt")
    return folder


def quiet_trainer(imgsz: int, batch: int, **options):
    """Return a DetectionTrainer for yolov8n, set up but not run; 'teacher' in options becomes a checkpoint."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    folder = _workspace()
    options = {k: str(folder / "teacher.pt") if v == "teacher" else v for k, v in options.items()}
    trainer = DetectionTrainer(
        overrides=dict(
            model="yolov8n.yaml", data=str(folder / "data.yaml"), imgsz=imgsz, batch=batch, nbs=batch, workers=0,
            amp=False, plots=False, device="cpu", project=str(folder), name="run", verbose=False, epochs=100,
            optimizer="SGD", **options,
        )
    )  # fmt: skip
    trainer._setup_train()
    trainer.epoch = 0
    trainer.model.train()
    return trainer


def drawn_batch(imgsz: int, batch: int, objects: int = 12) -> dict:
    """Return a preprocessed training batch of noise images with random boxes."""
    g = torch.Generator().manual_seed(0)
    n = batch * objects
    return {
        "img": torch.rand(batch, 3, imgsz, imgsz, generator=g),
        "cls": torch.zeros(n, 1),
        "bboxes": torch.rand(n, 4, generator=g) * 0.4 + 0.2,
        "batch_idx": torch.arange(batch).repeat_interleave(objects).float(),
    }
