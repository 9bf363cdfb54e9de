"""mAP50-95 right after pruning in one step and in several, with unlabelled images and no training between the steps.

    python benchmarks/steps.py [weights=...] [data=...] [imgsz=320] [steps=1,3] [flops=0.7,0.5,0.35]

By default the real diagrams and their model in ../shared. Results go to benchmarks/results/steps.csv.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import machine, write_rows

from ultralytics import YOLO
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model

HERE = Path(__file__).resolve().parent


def main(
    weights: str = "", data: str = "", imgsz: str = "320", steps: str = "1,3", flops: str = "0.7,0.5,0.35"
) -> None:
    yolo = YOLO(weights or str(HERE.parent.parent / "shared/weights/diagram_yolov8n.pt"))
    data, size, rows = data or str(HERE / "real_diagrams.yaml"), int(imgsz), []
    with tempfile.TemporaryDirectory() as folder:
        for share in map(float, flops.split(",")):
            for count in map(int, steps.split(",")):
                start, path = time.perf_counter(), Path(folder, "p.pt")
                result = prune_model(yolo, path, flops=share, steps=count, imgsz=size, images=data)
                rows.append(row(count, result, accuracy(path, data, size), time.perf_counter() - start))
                print(rows[-1], flush=True)
                write_rows("steps", rows)


def row(steps: int, result, map50_95: float, seconds: float) -> dict:
    kept = {
        what: f"{now / before:.3f}" for what, (before, now) in (("gflops", result.gflops), ("params", result.params))
    }
    return {"steps": steps, **kept, "map50_95": f"{map50_95:.4f}", "seconds": f"{seconds:.1f}", **machine()}


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
