"""mAP50-95 right after pruning, before any training, by how the channels are chosen and whether images are at hand.

    python benchmarks/one_shot.py [weights=...] [data=...] [imgsz=320]

By default the real diagrams and their model in ../shared. With images: 64 unlabelled training images, evenly picked.
Results go to benchmarks/results/one_shot.csv, with the seconds of each pruning.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import machine, write_rows

from ultralytics import YOLO
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.report import accuracy

HERE = Path(__file__).resolve().parent
WAYS = {
    "l1, same share of every layer": {"score": "l1", "scope": "layer"},
    "l1, same share of every layer, re-fitted": {"score": "l1", "scope": "layer", "images": True},
    "gamma, global": {"score": "gamma", "scope": "global"},
    "default without images": {},
    "default with images": {"images": True},
}


def main(weights: str = "", data: str = "", imgsz: str = "320") -> None:
    weights = weights or str(HERE.parent.parent / "shared/weights/diagram_yolov8n.pt")
    data, size = data or str(HERE / "real_diagrams.yaml"), int(imgsz)
    yolo = YOLO(weights)
    rows = [row("unpruned", 1.0, 1.0, accuracy(weights, data, size), 0.0)]
    with tempfile.TemporaryDirectory() as folder:
        for flops in (0.7, 0.5, 0.35):
            for way, options in WAYS.items():
                options = {**options, **({"images": data} if options.get("images") else {})}
                start, path = time.perf_counter(), Path(folder) / "p.pt"
                result = prune_model(yolo, path, flops=flops, imgsz=size, **options)
                seconds = time.perf_counter() - start
                kept = result.gflops[1] / result.gflops[0]
                rows.append(row(way, kept, result.params[1] / result.params[0], accuracy(path, data, size), seconds))
                print(rows[-1])
                write_rows("one_shot", rows)


def row(way: str, gflops: float, params: float, map50_95: float, seconds: float) -> dict:
    figures = {"gflops_kept": f"{gflops:.3f}", "params_kept": f"{params:.3f}", "map50_95": f"{map50_95:.4f}"}
    return {"way": way, **figures, "seconds": f"{seconds:.1f}", **machine()}


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
