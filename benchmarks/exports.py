"""Each export of a pruned model against PyTorch: detections, scores, size and latency, on real images.

    python benchmarks/exports.py [weights=...] [data=...] [imgsz=320] [flops=0.5] [images=47] [formats=onnx,...]

The model is first pruned to `flops` of its compute with the training images (flops=1: as it is). By default the real
diagrams and their model in ../shared. Results go to benchmarks/results/exports.csv.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from common import machine, write_rows

from ultralytics import YOLO
from ultralytics.slim.exporting.check import ExportedFile, check_exports
from ultralytics.slim.pruning.prune import prune_model

HERE = Path(__file__).resolve().parent
FORMATS = "torchscript,onnx,onnx-int8,openvino,openvino-int8,ncnn"


def main(weights="", data="", imgsz="320", flops="0.5", images="47", formats=FORMATS) -> None:
    weights = weights or str(HERE.parent.parent / "shared/weights/diagram_yolov8n.pt")
    data = data or str(HERE / "real_diagrams.yaml")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.pt")
        if float(flops) < 1:
            prune_model(YOLO(weights), model, flops=float(flops), images=data, imgsz=int(imgsz))
        else:
            shutil.copy(weights, model)
        table = check_exports(model, formats, data, images=int(images), imgsz=int(imgsz))
    print(table)
    write_rows("exports", [figures(row, flops, images) for row in table])


def figures(row: ExportedFile, flops: str, images: str) -> dict:
    shares = {key: _rounded(getattr(row, key), 4) for key in ("of_torch", "of_own")}
    scores = {key: _rounded(getattr(row, key), 7) for key in ("score_median", "score_max")}
    times = {key: getattr(row.latency, key) for key in ("median_ms", "low_ms", "high_ms")}
    about = {"format": row.format, "gflops_kept": flops, "images": images, "size_mb": f"{row.size_mb:.2f}"}
    return {**about, **times, "found": row.found, **shares, **scores, **machine()}


def _rounded(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
