"""What a better teacher is worth: a pruned model learns from its original, from that trained on, and from a larger one.

    python benchmarks/teachers.py [shares=0.35,0.25] [seeds=0,1,2] [teachers=original,longer,larger] [loss=mgd]
                                  [epochs=16] [teacher_epochs=30] [teacher_lr0=0.0001] [lr0=0.001]
                                  [threads=1] [data=real]

    original   the model that was pruned, as it is
    longer     the same, trained on with the data
    larger     the same with twice the channels everywhere, at first of the same function (Chen et al., Net2Net, arXiv
               1511.05641, section 2.2: of yolov8n that is a yolov8s), trained on as long

The trained teachers are kept in runs/teachers. Training as in bench.py: the validation images choose nothing. Rows are
added to results/teachers.csv as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

WORDS = dict(word.split("=", 1) for word in sys.argv[1:])
os.environ["OMP_NUM_THREADS"] = WORDS.get("threads", "1")  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from bench import SOURCES, source
from common import measure_rows, show_means, trained

from peers.widen import widened
from ultralytics.slim.command.running import use_cores
from ultralytics.slim.files import copy_whole
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model

NAME, IMGSZ = "teachers", 320
KEY = ("data", "teacher", "share", "loss", "epochs", "teacher_epochs", "teacher_lr0", "lr0", "seed")
FOLDER = Path(__file__).resolve().parent.parent / "runs/teachers"


def main(
    shares: str = "0.35,0.25",
    seeds: str = "0,1,2",
    teachers: str = "original,longer,larger",
    loss: str = "mgd",
    epochs: str = "16",
    teacher_epochs: str = "30",
    teacher_lr0: str = "0.0001",
    lr0: str = "0.001",
    threads: str = "1",
    data: str = "real",
) -> None:
    use_cores(threads)
    data = source(data)
    keys = (
        dict(zip(KEY, (data, teacher, share, loss, epochs, teacher_epochs, teacher_lr0, lr0, seed)))
        for teacher, seed, share in product(*[words.split(",") for words in (teachers, seeds, shares)])
    )
    measure_rows(NAME, keys, measured)
    show_means(NAME, KEY[:-1])


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    """Cut (once for all rows), distil from the row's teacher, and validate the last weights."""
    yaml, _, original = SOURCES[key["data"]]
    start = Path(folder, f"{key['share']}.pt")
    if not start.exists():
        prune_model(open_model(original), start, flops=float(key["share"]), images=str(yaml), imgsz=IMGSZ)
    teacher = made(key, folder)
    own = {"data": str(yaml), "epochs": int(key["epochs"]), "lr0": float(key["lr0"]), "seed": int(key["seed"])}
    distilling = {"Distillation": str(teacher), "loss_type": key["loss"], "imgsz": IMGSZ}
    last, seconds = trained(start, folder, **own, **distilling)
    figures = (accuracy(path, str(yaml), IMGSZ, "cpu") for path in (teacher, last))
    named = dict(zip(("teacher_map50_95", "map50_95"), (f"{value:.4f}" for value in figures)))
    return {**named, "seconds": f"{seconds:.0f}"}


def made(key: dict[str, str], folder: Path) -> Path:
    """Return the teacher's checkpoint, trained first where it is not there yet."""
    yaml, _, original = SOURCES[key["data"]]
    if key["teacher"] == "original":
        return original
    path = FOLDER / f"{key['data']}_{key['teacher']}_{key['teacher_epochs']}_{key['teacher_lr0']}.pt"
    if path.exists():
        return path
    start = original
    if key["teacher"] == "larger":
        start = folder / "widened.pt"
        yolo = open_model(original)
        yolo.model = widened(yolo.model)
        yolo.save(start)
    own = {"epochs": int(key["teacher_epochs"]), "lr0": float(key["teacher_lr0"]), "imgsz": IMGSZ, "seed": 0}
    last, _ = trained(start, folder, data=str(yaml), **own)
    FOLDER.mkdir(parents=True, exist_ok=True)
    copy_whole(last, path)
    return path


if __name__ == "__main__":
    main(**WORDS)
