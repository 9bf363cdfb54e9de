"""Latency and accuracy for widths rounded to multiples of 1, 4, 8 and 16, at equal GFLOPs.

    python benchmarks/rounding.py [model=...] [data=...] [flops=0.7,0.5,0.35] [imgsz=320] [batch=1] [threads=1]

By default the real diagrams and their model in ../shared; without them yolov8n.yaml, untrained, for the latencies
alone. All prunings of one target take turns with the original, BatchNorm fused. The figure is the median over the
rounds of latency / the original's latency in the same round, with its quartiles. mAP50-95 is right after pruning, on
every third *training* image, since a default is chosen from it. Results go to benchmarks/results/rounding.csv, drawn as
rounding_torch.svg and rounding_onnx.svg beside it: the nearer to the diagonal, the more of the saved GFLOPs is saved
time.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, machine, write_rows

from ultralytics import YOLO
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.slim.charts.svg import LEFT, RIGHT, SERIES, WIDTH, Axes, dot, legend, line, standalone, svg
from ultralytics.slim.measuring.runtimes import RUNTIMES, onnx_run, torch_run
from ultralytics.slim.measuring.timing import one_round, warm_up
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.labelled import LabelledImages

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "shared/weights/diagram_yolov8n.pt"
ROUNDINGS, ROUNDS = (1, 4, 8, 16), 60


def main(model="", data="", flops="0.7,0.5,0.35", imgsz="320", batch="1", threads="1") -> None:
    torch.manual_seed(0)
    torch.set_num_threads(int(threads))
    if not model and MODEL.is_file():
        model, data = MODEL, data or str(HERE / "real_diagrams.yaml")
    rows, yolo, size = [], YOLO(model or "yolov8n.yaml", verbose=False), int(imgsz)
    labelled = LabelledImages(yolo.model, data, "train", size, limit=144) if data else None
    with tempfile.TemporaryDirectory() as folder:
        for share in map(float, flops.split(",")):
            paths, reached = pruned(yolo, share, size, Path(folder), data, labelled)
            for runtime in RUNTIMES:
                for round_to, ratios in timed(paths, runtime, size, int(batch), Path(folder)).items():
                    rows.append(row(runtime, round_to, reached[round_to], ratios, yolo, imgsz, batch))
                    print(rows[-1], flush=True)
    write_rows("rounding", rows)
    for runtime in RUNTIMES:
        draw(runtime)


def pruned(
    yolo: YOLO, flops: float, imgsz: int, folder: Path, data: str, labelled: LabelledImages | None
) -> tuple[dict[int, Path], dict[int, dict]]:
    """Prune to one target with every rounding; return the files, the original's as 0, and what was reached."""
    paths, reached = {0: folder / "original.pt"}, {}
    prune_model(yolo, paths[0], 0, imgsz=imgsz)
    for round_to in ROUNDINGS:
        paths[round_to] = folder / f"{round_to}.pt"
        options = {"images": data} if data else {"score": "l1"}
        result = prune_model(yolo, paths[round_to], flops=flops, round_to=round_to, imgsz=imgsz, **options)
        before, after = result.gflops
        accuracy = f"{labelled.accuracy(result.model):.4f}" if labelled else ""
        reached[round_to] = {"gflops_kept": f"{after / before:.3f}", "map50_95": accuracy}
    return paths, reached


@torch.inference_mode()
def timed(paths: dict[int, Path], runtime: str, imgsz: int, batch: int, folder: Path) -> dict[int, np.ndarray]:
    """Return the latencies over the original's of the same round."""
    if runtime == "torch":
        device = torch.device("cpu")
        nets = {name: load_checkpoint(str(path), device, fuse=True)[0] for name, path in paths.items()}
        runs = {name: torch_run(net, imgsz, device, batch) for name, net in nets.items()}
    else:
        runs = {name: onnx_run(path, imgsz, folder, batch) for name, path in paths.items()}
    times: dict[int, list[float]] = {name: [] for name in runs}
    warm_up(runs)
    for _ in range(ROUNDS):
        one_round(runs, times)
    return {name: np.divide(times[name], times[0]) for name in runs if name}


def row(runtime: str, round_to: int, reached: dict, ratios: np.ndarray, yolo: YOLO, imgsz: str, batch: str) -> dict:
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    figures = {**reached, "latency": f"{middle:.3f}", "p25": f"{low:.3f}", "p75": f"{high:.3f}"}
    gain = {"speedup_over_gflops_speedup": f"{float(reached['gflops_kept']) / middle:.2f}"}
    how = {"model": Path(yolo.model_name).stem, "imgsz": imgsz, "batch": batch, "rounds": ROUNDS}
    return {"runtime": runtime, "round_to": round_to, **figures, **gain, **how, **machine()}


def draw(runtime: str) -> None:
    """Draw one runtime's rows of the result file: GFLOPs to the right, latency upwards, shares of the original's."""
    with open(RESULTS / "rounding.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["runtime"] == runtime]
    axes = Axes((0, 1), (0, max(1.0, *(1.05 * float(r["latency"]) for r in rows))), 270)
    parts = axes.frame("GFLOPs, share of the original's", f"latency in {RUNTIMES[runtime]}, share of the original's")
    parts.append(line(LEFT, axes.py(0), WIDTH - RIGHT, axes.py(1), "g", 2, "6 5"))
    colours = {round_to: css for round_to, css in zip(ROUNDINGS, SERIES[1:])}
    for r in rows:
        x, y, name = float(r["gflops_kept"]), float(r["latency"]), f"multiples of {r['round_to']}"
        parts.append(dot(axes.px(x), axes.py(y), 5, f"f-{colours[int(r['round_to'])]}", f"{name}: {x:.3g}, {y:.3g}"))
    parts += legend([(f"round_to {n}", css) for n, css in colours.items()])
    path = RESULTS / f"rounding_{runtime}.svg"
    path.write_text(standalone(svg(axes.height, f"Latency against GFLOPs in {RUNTIMES[runtime]}", parts)))
    print(f"written to {path}")


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
