"""Seconds and memory of pruning with its verification, over the scales of yolov8, untrained, without images.

    python benchmarks/prune_cost.py [scales=nsmlx] [repeats=5] [threads=2]

Every pruning runs in a process of its own. Time is from the model in memory to the checked file, median of the repeats.
Memory is the process's highest resident size during the pruning over that before it, and its ratio to the model's
weights (float32). Results go to benchmarks/results/prune_cost.csv.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from common import machine, write_rows

CHILD = """
import json, sys, tempfile, threading, time
from pathlib import Path
import psutil
from ultralytics import YOLO
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.prune import prune_model

def watched(work):
    process, peak, over = psutil.Process(), [0], threading.Event()
    def watch():
        while not over.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss)
    start, thread = process.memory_info().rss, threading.Thread(target=watch)
    thread.start()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    over.set()
    thread.join()
    return seconds, peak[0] - start

small, yolo = (YOLO(f"yolov8{scale}.yaml", verbose=False) for scale in ("n", sys.argv[1]))
with tempfile.TemporaryDirectory() as folder:
    prune_model(small, Path(folder, "warm.pt"), 0.5, imgsz=64)  # what is imported and allocated once
    seconds, peak = watched(lambda: prune_model(yolo, Path(folder, "p.pt"), 0.5, imgsz=64))
size = sum(t.numel() * t.element_size() for t in yolo.model.state_dict().values())
layers = len(trace_channels(yolo.model).layers)
print(json.dumps({"layers": layers, "mb": size / 1e6, "seconds": seconds, "peak_mb": peak / 1e6}))
"""


def main(scales: str = "nsmlx", repeats: str = "5", threads: str = "2") -> None:
    env, rows = environment(threads), []
    for scale in scales:
        runs = [json.loads(child(scale, env)) for _ in range(int(repeats))]
        figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append(row(scale, **figures, repeats=repeats, threads=threads))
        print(rows[-1], flush=True)
    write_rows("prune_cost", rows)


def environment(threads: str) -> dict[str, str]:
    """Return the environment of a process that prunes with this many threads."""
    return {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "YOLO_VERBOSE": "false"}


def child(scale: str, env: dict) -> str:
    return subprocess.run(
        [sys.executable, "-c", CHILD, scale], env=env, check=True, capture_output=True, text=True
    ).stdout


def row(scale: str, layers: float, mb: float, seconds: float, peak_mb: float, repeats: str, threads: str) -> dict:
    time = {"seconds": f"{seconds:.2f}", "ms_per_layer": f"{1e3 * seconds / layers:.1f}"}
    memory = {"weights_mb": f"{mb:.1f}", "peak_mb": f"{peak_mb:.1f}", "peak_over_weights": f"{peak_mb / mb:.2f}"}
    return {
        "model": f"yolov8{scale}",
        "layers": int(layers),
        **time,
        **memory,
        "repeats": repeats,
        **machine(),
        "threads": threads,
    }


if __name__ == "__main__":
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
