"""Is distillation worth its time? One pruned student, the same epochs for every variant, several seeds.

    python benchmarks/worth.py [epochs=8] [seeds=0,1,2] [variants=none,cwd,...] [flops=0.5] [imgsz=320] [fraction=1.0]

The student is the model of the real diagrams in ../shared, cut to `flops` of its GFLOPs and re-fitted; the teacher is
that model. Trainings do not see the validation images: the last epoch's averaged weights are measured on them once.
Rows that are already in benchmarks/results/worth.csv are not run again, so that an interrupted benchmark goes on where
it stopped; the table of means and spreads is printed at the end. About a minute an epoch on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import TRAINING, by_setting, freeze_adapters, is_done, machine, mean, read_rows, write_rows

from ultralytics import YOLO
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.report.measures import describe

HERE = Path(__file__).resolve().parent
ORIGINAL = HERE.parent.parent / "shared/weights/diagram_yolov8n.pt"
DATA = HERE / "real_diagrams.yaml"

VARIANTS = {name: {"loss_type": name} for name in ("cwd", "mgd", "pkd", "mimic", "logit", "cwd+logit", "mgd+logit")}
VARIANTS |= {
    "none": {},
    "unpruned": {"unpruned": True},  # the original, trained on for as many epochs
    "native": {"distill_model": str(ORIGINAL)},  # Ultralytics' own distillation
    "mgd per epoch": {"loss_type": "mgd", "distill_schedule": "epoch"},
    "mgd constant": {"loss_type": "mgd", "distill_schedule": "constant"},
    "cwd frozen": {"loss_type": "cwd", "frozen": True},
    "mgd frozen": {"loss_type": "mgd", "frozen": True},
}
KEY = ("variant", "seed", "student", "epochs", "flops", "imgsz", "fraction")


def main(epochs=8, seeds="0,1,2", variants="", flops=0.5, imgsz=320, fraction=1.0) -> None:
    names = variants.split(",") if variants else list(VARIANTS)
    rows = read_rows("worth")
    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / "student.pt"
        prune_model(YOLO(ORIGINAL), student, flops=float(flops), images=str(DATA), imgsz=int(imgsz))
        parameters = f"{describe(student, int(imgsz))['params']:.3g}"  # other defaults of the pruning, another student
        for seed in str(seeds).split(","):
            for name in names:
                of_whom = "none" if VARIANTS[name].get("unpruned") else parameters
                key = dict(zip(KEY, (name, seed, of_whom, str(epochs), str(flops), str(imgsz), str(fraction))))
                if is_done(rows, key):
                    continue
                options = {"imgsz": int(imgsz), "epochs": int(epochs), "seed": int(seed), "fraction": float(fraction)}
                rows.append({**key, **_run(VARIANTS[name], student, options, Path(folder)), **machine()})
                write_rows("worth", rows)
    _print_table(rows)


def _run(variant: dict, student: Path, options: dict, folder: Path) -> dict:
    """Train one variant and return what it came to."""
    variant = dict(variant)
    start = ORIGINAL if variant.pop("unpruned", False) else student
    is_frozen = variant.pop("frozen", False)
    teacher = {"Distillation": str(ORIGINAL)} if "loss_type" in variant else {}
    yolo, ratios, started = YOLO(start), [], time.perf_counter()
    yolo.add_callback("on_fit_epoch_end", lambda t: ratios.append(float(t.tloss.get("loss_ratio", 0.0))))
    if is_frozen:
        yolo.add_callback("on_train_start", freeze_adapters)
    yolo.train(data=str(DATA), project=str(folder), name="run", **TRAINING, **options, **teacher, **variant)
    seconds = time.perf_counter() - started
    reached = accuracy(yolo.trainer.last, str(DATA), options["imgsz"])
    share = {"first_ratio": f"{ratios[0]:.3f}", "last_ratio": f"{ratios[-1]:.3f}"}
    return {"map50_95": f"{reached:.4f}", **share, "seconds": f"{seconds:.0f}"}


def _print_table(rows: list[dict]) -> None:
    """Print mean and range over the seeds, for each variant and setting."""
    groups = by_setting(rows, tuple(key for key in KEY if key != "seed"))
    for (name, *setting), group in sorted(groups.items(), key=lambda item: -mean(item[1], "map50_95")):
        values = [float(row["map50_95"]) for row in group]
        spread = f"{min(values):.4f} to {max(values):.4f}"
        print(f"{mean(group, 'map50_95'):.4f}  {spread}  {len(group)} seeds  {name}  ({', '.join(setting)})")


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
