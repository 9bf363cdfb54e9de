"""The same latency by two costs: channels weighed against FLOPs, and against measured times of layers.

    python benchmarks/latency.py [runtimes=onnx,torch] [shares=0.7,0.5,0.4] [costs=flops,time] [epochs=0]
                                 [depths=False] [weights=] [seeds=0] [data=real]

Each model is pruned with unlabelled training images to the same share of the original's latency, timed in turns with it
on one thread, and with epochs= trained with labels and distillation as all others; mAP50-95 is measured on `val`. Rows
are added to results/latency.csv as they are measured; those that are there are not measured again. A picture for each
model and runtime stands beside it.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import product
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from bench import SOURCES, source
from common import DEPTHS, by_setting, distilled, draw_points, mean, measure_rows, named, read_rows

from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.runtimes import RUNTIMES
from ultralytics.slim.pruning.options import PruneOptions
from ultralytics.slim.pruning.prune import Pruner
from ultralytics.slim.pruning.select.stopwatch import Stopwatch
from ultralytics.slim.pruning.select.targets import Target

NAME, IMGSZ = "latency", 320
LABELS = {"flops": "by FLOPs", "time": "by time", "False": "", "True": ", with blocks", "auto": ", blocks auto"}
KEY = ("data", "weights", "runtime", "share", "cost", "depth", "epochs", "seed")


def main(
    runtimes: str = "onnx,torch",
    shares: str = "0.7,0.5,0.4",
    costs: str = "flops,time",
    depths: str = "False",
    epochs: str = "0",
    weights: str = "",
    seeds: str = "0",
    data: str = "real",
) -> None:
    data = source(data)
    yaml = prepare_data(SOURCES[data][0])
    original = Path(weights or SOURCES[data][2])
    whole = load_checkpoint(original)[0].float().eval()
    watches: dict[str, Stopwatch] = {}

    def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
        runtime, path, started = key["runtime"], folder / "pruned.pt", time.perf_counter()
        watch = watches.setdefault(runtime, Stopwatch(whole, runtime, IMGSZ))
        goal = float(key["share"]) * watch.original_ms
        how = {"runtime": runtime, "cost": key["cost"], "depth": DEPTHS[key["depth"]]}
        about = PruneOptions(images=yaml, imgsz=IMGSZ, device="cpu", **how)
        target = Target("latency_ms", goal, watch.original_ms, goal, goal, IMGSZ, watch)  # all against one original
        result = Pruner(open_model(original), about).prune(path, None, ("latency_ms", goal), target)
        seconds = time.perf_counter() - started
        if int(key["epochs"]):
            own = {"data": yaml, "imgsz": IMGSZ, "epochs": int(key["epochs"]), "seed": int(key["seed"])}
            path = distilled(path, folder, original, **own)
        reading = watch(result.model, 0.0, 1e-9)  # once more, as exactly as time allows
        return {
            "latency": f"{reading.value / watch.original_ms:.4f}",
            "blocks": str(len(result.blocks)),
            "gflops": f"{result.gflops[1] / result.gflops[0]:.4f}",
            "map50_95": f"{accuracy(path, yaml, IMGSZ):.4f}",
            "seconds": f"{seconds:.0f}",
        }

    given = (runtimes, shares, costs, depths, epochs, seeds)
    values = product(*[words.split(",") for words in given])
    keys = [dict(zip(KEY, (data, original.stem, runtime, *others))) for runtime, *others in values]
    measure_rows(NAME, keys, measured)
    for setting, rows in by_setting(read_rows(NAME), KEY[:-1]).items():
        print(*setting, *[f"{column} {mean(rows, column):.4f}" for column in ("latency", "gflops", "map50_95")])
    for runtime, name in RUNTIMES.items():
        about = data, original.stem, runtime
        rows = [row for row in read_rows(NAME) if (row["data"], row["weights"], row["runtime"]) == about]
        draw_points(f"{NAME}_{original.stem}_{runtime}", f"The same latency in {name}", rows, placed, "latency")


def placed(row: dict[str, str]) -> tuple[str, str]:
    """Return the series and the name of a row's point."""
    return LABELS[row["cost"]] + LABELS[row["depth"]], named(row)


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
