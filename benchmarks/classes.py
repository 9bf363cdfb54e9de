"""What it is worth to keep a few of the classes: pruned for these alone, beside pruned for all, measured on these.

    python benchmarks/classes.py [classes=activity,gateway] [shares=0.7,0.5,0.35,0.25] [epochs=0] [data=real]

Both models come to the same share of the original's GFLOPs by `prune ... images=`, one with `classes=`; epochs= then
trains both with labels, each with those of its classes. mAP50-95 on the `val` split is that of the kept classes, for
the original too. Rows are added to results/classes.csv as they are measured; those that are there are not measured
again. Printed is also what two foreign checkpoints have with 3 of their classes alone, where these files are at hand.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from bench import SHARED, SOURCES, source
from common import measure_rows, read_rows, trained

from ultralytics.slim.fewer_classes import data_for, only_classes, read_classes
from ultralytics.slim.files import disk_size
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model

NAME, KEY, IMGSZ = "classes", ("data", "classes", "share", "method", "epochs"), 320
FOREIGN = ("yolo11n_coco.pt", "abd_yolov8n_147cls.pt")


def main(
    classes: str = "activity,gateway", shares: str = "0.7,0.5,0.35,0.25", epochs: str = "0", data: str = "real"
) -> None:
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
    for name in FOREIGN:
        if (SHARED / "weights" / name).is_file():
            show_foreign(SHARED / "weights" / name)


def show_foreign(path: Path) -> None:
    """Print what a checkpoint has with its first three classes alone, nothing else cut."""
    with tempfile.TemporaryDirectory() as folder:
        result = prune_model(open_model(path), Path(folder, "few.pt"), 0, classes=[0, 1, 2])
        sizes = (disk_size(p) / 1e6 for p in (path, result.path))
        print(path.name, result.params, [round(g, 2) for g in result.gflops], [round(s, 2) for s in sizes])


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
