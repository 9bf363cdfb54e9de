"""What it is worth to keep a few of the classes: pruned for these alone, beside pruned for all, measured on these.

    python benchmarks/classes.py [classes=activity,gateway] [shares=0.7,0.5,0.35,0.25] [epochs=0] [data=real]
    python benchmarks/classes.py weights=yolo11n.pt images=photos/ classes=person,car,chair [shares=…] [imgsz=640]

Both models come to the same share of the original's GFLOPs by `prune ... images=`, one with `classes=`; epochs= then
trains both with labels, each with those of its classes. mAP50-95 on the `val` split is that of the kept classes, for
the original too. Rows are added to results/classes.csv as they are measured; those that are there are not measured
again.

The second form needs no labels: every third image is kept back, on these it is measured how far each model says of the
kept classes what the original says, right after the cut; share 1 is nothing but the classes cut. Its rows are in
results/classes_agreement.csv, with sizes in MB, and latencies on one thread in PyTorch as shares of the original's.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from bench import SOURCES, source
from common import measure_rows, read_rows, trained

from ultralytics.slim.fewer_classes import data_for, only_classes, read_classes
from ultralytics.slim.files import disk_size
from ultralytics.slim.inputs.unlabelled import load_images, readable_images
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.agreement import SHOWN_IOUS, Reference
from ultralytics.slim.measuring.costs import latency_ms
from ultralytics.slim.pruning.prune import prune_model

NAME, KEY, IMGSZ = "classes", ("data", "classes", "share", "method", "epochs"), 320
UNLABELLED, UNLABELLED_KEY = "classes_agreement", ("weights", "images", "imgsz", "classes", "share", "method")


def main(
    classes: str = "activity,gateway", shares: str = "0.7,0.5,0.35,0.25", epochs: str = "0", data: str = "real"
) -> None:
    """Measure with labels."""
    data = source(data)
    yaml, _, original = SOURCES[data]
    whole = open_model(original).model
    view = data_for(only_classes(whole, read_classes(classes, whole.names)), str(yaml))

    def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
        path, kept = folder / "pruned.pt", {"classes": classes} if key["method"] == "kept" else {}
        if key["share"] == "1":
            path = original
        else:
            goal = {"flops": float(key["share"])}
            prune_model(open_model(original), path, **goal, **kept, images=str(yaml), imgsz=IMGSZ)
        if epochs != "0":
            path, _ = trained(path, folder, data=view if kept else str(yaml), epochs=int(epochs), imgsz=IMGSZ)
        parameters = sum(p.numel() for p in open_model(path).model.parameters())
        found = accuracy(path, view, IMGSZ, "cpu")
        return {"params": str(parameters), "map50_95": f"{found:.4f}"}

    chosen = [("1", "all"), *product(shares.split(","), ("all", "kept"))]
    measure_rows(NAME, (dict(zip(KEY, (data, classes, *row, epochs))) for row in chosen), measured)
    for row in read_rows(NAME):
        if (row["data"], row["classes"], row["epochs"]) == (data, classes, epochs):
            print(row["share"], row["method"], row["params"], row["map50_95"])


def without_labels(
    weights: str, images: str, classes: str, shares: str = "0.7,0.5,0.35,0.25", imgsz: str = "640"
) -> None:
    """Measure by agreement, on every third of some images."""
    side, paths = int(imgsz), readable_images(images)
    judged, seen = paths[::3], [path for i, path in enumerate(paths) if i % 3]
    whole = load_checkpoint(weights)[0].float().eval()
    numbers = read_classes(classes, whole.names)
    reference = Reference(only_classes(whole, numbers), load_images(judged, side, limit=len(judged)))
    original = load_checkpoint(weights, "cpu", fuse=True)[0]

    def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
        path, share, kept = folder / "pruned.pt", float(key["share"]), key["method"] == "kept"
        goal = {"flops": share, "images": seen, "imgsz": side} if share < 1 else {"factor": 0}
        result = prune_model(open_model(weights), path, **goal, **({"classes": classes} if kept else {}))
        model = load_checkpoint(path)[0].float().eval()
        agreed = reference.agreement(model if kept else only_classes(model, numbers))
        fused = load_checkpoint(path, "cpu", fuse=True)[0]
        times = latency_ms([original, fused], side, torch.device("cpu"))
        return {
            "params": str(result.params[1]),
            "gflops": f"{result.gflops[1] / result.gflops[0]:.4f}",
            "size_mb": f"{disk_size(path) / 1e6:.2f}",
            "latency": f"{times[1] / times[0]:.3f}",
            "agreement": f"{agreed.value:.4f}",
            **{f"found_{iou}": f"{found:.4f}" for iou, found in zip(SHOWN_IOUS, agreed.matched)},
            "truths": str(agreed.truths),
        }

    about = (Path(weights).stem, f"{Path(images).name} ({len(paths)})", imgsz, classes)
    rows = [("1", "kept"), *product(shares.split(","), ("all", "kept"))]
    measure_rows(UNLABELLED, (dict(zip(UNLABELLED_KEY, (*about, *row))) for row in rows), measured)
    for row in read_rows(UNLABELLED):
        print(*row.values())


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    without_labels(**words) if "images" in words else main(**words)
