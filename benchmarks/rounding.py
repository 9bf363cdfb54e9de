"""Measured latency against GFLOPs for widths rounded to 1, 4, 8 and 16, in PyTorch and in ONNX Runtime.

    python benchmarks/rounding.py [model=yolov8n.yaml] [flops=0.7,0.5,0.35] [imgsz=320] [batch=1]

All prunings of one target take turns with the original, BatchNorm fused. The figure is the median over the rounds of
latency / the original's latency in the same round, with its quartiles. Results go to benchmarks/results/rounding.csv,
drawn as rounding_torch.svg and rounding_onnx.svg beside it: the nearer to the diagonal, the more of the saved GFLOPs is
saved time. By default an untrained model: latency depends on widths, not on weights.
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
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.run_report.svg import LEFT, RIGHT, SERIES, WIDTH, Axes, dot, legend, line, standalone, svg
from ultralytics.slim.runtimes import RUNTIMES, onnx_run, torch_run
from ultralytics.slim.timing import one_round, warm_up

ROUNDINGS, ROUNDS = (1, 4, 8, 16), 60


def main(model: str = "yolov8n.yaml", flops: str = "0.7,0.5,0.35", imgsz: str = "320", batch: str = "1") -> None:
    torch.manual_seed(0)
    rows, yolo, size = [], YOLO(model, verbose=False), int(imgsz)
    with tempfile.TemporaryDirectory() as folder:
        for share in map(float, flops.split(",")):
            paths, kept = pruned(yolo, share, size, Path(folder))
            for runtime in RUNTIMES:
                for round_to, ratios in timed(paths, runtime, size, int(batch), Path(folder)).items():
                    rows.append(row(runtime, round_to, kept[round_to], ratios, Path(model).stem, imgsz, batch))
                    print(rows[-1], flush=True)
    write_rows("rounding", rows)
    for runtime in RUNTIMES:
        draw(runtime)


def pruned(yolo: YOLO, flops: float, imgsz: int, folder: Path) -> tuple[dict[int, Path], dict[int, float]]:
    """Prune to one target with every rounding; return the files, the original's as 0, and the shares of GFLOPs kept."""
    paths, kept = {0: folder / "original.pt"}, {}
    prune_model(yolo, paths[0], 0, imgsz=imgsz)
    for round_to in ROUNDINGS:
        paths[round_to] = folder / f"{round_to}.pt"
        before, after = prune_model(
            yolo, paths[round_to], flops=flops, round_to=round_to, imgsz=imgsz, score="l1"
        ).gflops
        kept[round_to] = after / before
    return paths, kept


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


def row(runtime: str, round_to: int, gflops: float, ratios: np.ndarray, model: str, imgsz: str, batch: str) -> dict:
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    figures = {"gflops_kept": f"{gflops:.3f}", "latency": f"{middle:.3f}", "p25": f"{low:.3f}", "p75": f"{high:.3f}"}
    gain = {"speedup_over_gflops_speedup": f"{gflops / middle:.2f}"}
    how = {"model": model, "imgsz": imgsz, "batch": batch, "rounds": ROUNDS}
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
