"""mAP50-95 right after pruning, before any training, by score, repair and cut.

    python benchmarks/one_shot.py [weights=...] [sparse=...] [data=...] [imgsz=320] [quick=True]

By default the real diagrams and their model in ../shared; `sparse` is a sparse-trained checkpoint, left out if not
given. Scores and repairs see up to 256 training images. Accuracy is measured on every third validation image. Rows are
added to benchmarks/results/one_shot_grid.csv as they are measured, and those that are there are not measured again; an
.svg of that name draws the surgeon's. `quick` measures three rows at half the GFLOPs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, machine, read_rows, write_rows

from ultralytics import YOLO
from ultralytics.slim.charts import journey
from ultralytics.slim.charts.svg import standalone
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.labelled import LabelledImages
from ultralytics.slim.pruning.score.magnitude import score_names
from ultralytics.slim.pruning.score.ranking import SURGEON, TAYLOR

HERE = Path(__file__).resolve().parent
NAME = "one_shot_grid"
KEY = ("model", "score", "scope", "repair", "flops")
CUTS = (0.9, 0.8, 0.7, 0.6, 0.5)  # GFLOPs kept
REPAIRS = ("none", "fold", "refit", "bn", "refit,bn", "fold,refit,bn")


def grid(model: str, quick: bool) -> list[tuple]:
    """Return (model, score, scope, repair, flops): every score with the default repair, and every repair for two."""
    if quick:
        return [(model, score, "auto", "auto", 0.5) for score in (SURGEON, "l1", "gamma")]
    scores = [(model, s, "auto", "auto", cut) for cut in (0.7, 0.5) for s in (*score_names(), TAYLOR, SURGEON)]
    scores += [(model, "gamma", "global", "auto", cut) for cut in (0.7, 0.5)]
    ranked = (SURGEON, "gamma" if model == "sparse" else "l1")
    return scores + [(model, s, "auto", repair, cut) for s in ranked for repair in REPAIRS for cut in CUTS]


def main(weights: str = "", sparse: str = "", data: str = "", imgsz: str = "320", quick: str = "False") -> None:
    data, size = data or str(HERE / "real_diagrams.yaml"), int(imgsz)
    models = {"trained": weights or str(HERE.parent.parent / "shared/weights/diagram_yolov8n.pt")}
    models |= {"sparse": sparse} if sparse else {}
    rows = read_rows(NAME)
    for name, checkpoint in models.items():
        yolo = YOLO(checkpoint)
        val = LabelledImages(yolo.model, data, "val", size, limit=47)
        whole = (name, "", "", "unpruned", 1.0)
        for key in (whole, *grid(name, quick == "True")):
            if tuple(map(str, key)) not in {tuple(r[k] for k in KEY) for r in rows}:
                rows.append(whole_row(key, yolo, val) if key == whole else measured(key, yolo, data, val, size))
                write_rows(NAME, rows)
                draw(rows)
                print(rows[-1], flush=True)


def whole_row(key: tuple, yolo: YOLO, val: LabelledImages) -> dict:
    return row(key, 1.0, 1.0, val.accuracy(yolo.model.float()), 0.0)


def measured(key: tuple, yolo: YOLO, data: str, val: LabelledImages, imgsz: int) -> dict:
    """Prune once and return its row."""
    _, score, scope, repair, flops = key
    options = {"score": score, "scope": scope, "repair": repair, "images": data, "imgsz": imgsz, "flops": flops}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = prune_model(yolo, Path(folder) / "p.pt", **options)
    seconds = time.perf_counter() - start
    (p0, p1), (f0, f1) = result.params, result.gflops
    return row(key, f1 / f0, p1 / p0, val.accuracy(result.model), seconds)


def row(key: tuple, gflops: float, params: float, map50_95: float, seconds: float) -> dict:
    figures = {"gflops_kept": f"{gflops:.3f}", "params_kept": f"{params:.3f}", "map50_95": f"{map50_95:.4f}"}
    return {**dict(zip(KEY, map(str, key))), **figures, "seconds": f"{seconds:.1f}", **machine()}


def draw(rows: list[dict]) -> None:
    """Draw the surgeon's re-fitted cuts of the trained model."""
    wanted = {("trained", "", "unpruned"), ("trained", SURGEON, "refit")}
    drawn = [r for r in rows if (r["model"], r["score"], r["repair"]) in wanted]
    drawn.sort(key=lambda r: -float(r["gflops_kept"]))
    points = [(f"{float(r['flops']):.0%}", float(r["gflops_kept"]), float(r["map50_95"])) for r in drawn]
    title = "Accuracy before any training against GFLOPs kept, re-fitted"
    chart = journey(title, points, "GFLOPs kept", "mAP50-95")
    (RESULTS / f"{NAME}.svg").write_text(standalone(chart), encoding="utf-8")


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
