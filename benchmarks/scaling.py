"""Seconds and peak memory of each stage of the pipeline, for yolov8 n, s and m at two image sizes.

    python benchmarks/scaling.py [models=n,s,m] [sizes=320,640] [images=16] [batch=8]

On the drawn diagrams, with untrained models. A training is the second epoch of `images` images, without its start and
end; validation sees all 80 images. Rows are added to benchmarks/results/scaling.csv as they are measured, each in a
process of its own, and those that are there are not measured again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ultralytics.slim.command.running import use_cores

os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from common import is_done, machine, peak_mb, read_rows, write_rows

from ultralytics import YOLO
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.architectures import shake
from ultralytics.slim.pruning.prune import prune_model

HERE = Path(__file__).resolve().parent
KEY = ("model", "imgsz", "images", "batch")
TRAINED = {"workers": 0, "device": "cpu", "plots": False, "val": False, "verbose": False, "distill_check": False}
TRAINED |= {"optimizer": "AdamW", "exist_ok": True}
DRAWN = 320  # training images of diagram.yaml


def main(models: str = "n,s,m", sizes: str = "320,640", images: str = "16", batch: str = "8") -> None:
    prepare_data(HERE.parent / "diagram.yaml", HERE.parent)  # draws what is missing
    for model in models.split(","):
        for size in sizes.split(","):
            key = dict(zip(KEY, (model, size, images, batch)))
            rows = read_rows("scaling")
            if is_done(rows, key):
                continue
            done = subprocess.run(
                [sys.executable, __file__, "row", *key.values()], check=False, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                raise SystemExit(f"yolov8{model} at {size} px failed, its error is above")
            rows.append({**key, **json.loads(done.stdout.splitlines()[-1]), **machine()})
            print(rows[-1], flush=True)
            write_rows("scaling", rows)


def stages(model: str, imgsz: int, images: int, batch: int) -> dict[str, str]:
    """Return the seconds of an epoch of each training and of each other stage, and the peak memory of all."""
    data, taken = str(HERE.parent / "diagram.yaml"), {}

    def timed(name: str, work) -> object:
        started = time.perf_counter()
        made = work()
        taken[name] = time.perf_counter() - started
        return made

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        yolo = YOLO(f"yolov8{model}.yaml", verbose=False)
        shake(yolo.model)
        yolo.model.args = {"imgsz": imgsz}
        yolo.save(place / "original.pt")
        settings = {**TRAINED, "data": data, "imgsz": imgsz, "batch": batch, "nbs": batch, "project": folder}
        settings |= {"fraction": images / DRAWN}
        distilling = {"Distillation": str(place / "original.pt"), "loss_type": "mgd"}
        taken["sparse"] = epoch(place / "original.pt", settings, {"loss_type": "sparse"})
        pruning = {"flops": 0.5, "imgsz": imgsz, "images": data}
        timed("prune", lambda: prune_model(YOLO(place / "original.pt"), place / "pruned.pt", **pruning))
        taken["retrain"] = epoch(place / "pruned.pt", settings, {})
        taken["distill"] = epoch(place / "pruned.pt", settings, distilling)
        timed("val", lambda: accuracy(place / "pruned.pt", data, imgsz, "cpu"))
        timed("onnx", lambda: export_model(place / "pruned.pt", "onnx", imgsz=imgsz, device="cpu"))
    return {**{f"{name}_s": f"{seconds:.1f}" for name, seconds in taken.items()}, "peak_mb": f"{peak_mb():.0f}"}


def epoch(weights: Path, settings: dict, options: dict) -> float:
    """Return the seconds of one epoch of a training, from batch to batch: without its start and its end."""
    marks: list[float] = []
    yolo = YOLO(weights)
    for event in ("on_train_epoch_start", "on_train_epoch_end"):
        yolo.add_callback(event, lambda _: marks.append(time.perf_counter()))
    yolo.train(**settings, epochs=2, **options)
    return marks[-1] - marks[-2]  # the first epoch also waits for what is set up at the first batch


if __name__ == "__main__":
    use_cores(os.environ["OMP_NUM_THREADS"])
    if sys.argv[1:2] == ["row"]:
        print(json.dumps(stages(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main(**dict(a.split("=", 1) for a in sys.argv[1:]))
