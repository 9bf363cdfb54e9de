"""Whole blocks beside channels: the same goal met by channels alone, by both, and by whichever changes less.

    python benchmarks/depth.py [shares=0.5,0.35,0.25] [depths=False,auto,True] [epochs=0,16] [seeds=0,1,2] [data=real]

mAP50-95 on the `val` split after the cut and its re-fit, and after so many epochs of distillation from there; latencies
are those on one thread, in PyTorch fused, in ONNX Runtime and in OpenVINO, as shares of the original's in the same
runtime, timed in turns with it; seconds are those of the cut. Where no block goes, the model is that of channels alone,
and has its figures. Rows are added to results/depth.csv as they are measured; those that are there are not measured
again. A picture for each runtime stands beside it, in which a trained model has the latency of the same before its
training, which changes no width; all latencies in it are of one processor.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from bench import SOURCES, source
from common import DEPTHS, by_setting, distilled, draw_points, mean, measure_rows, named, read_rows

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.costs import latency_ms
from ultralytics.slim.measuring.runtimes import RUNTIMES, onnx_run
from ultralytics.slim.measuring.timing import REST, take_turns
from ultralytics.slim.pruning.prune import prune_model

NAME, KEY, IMGSZ = "depth", ("data", "share", "depth", "epochs", "seed"), 320
RATIOS = {runtime: f"{runtime}_ratio" for runtime in RUNTIMES}  # the columns of latencies over the original's
LABELS = {"False": "channels", "auto": "depth=auto", "True": "depth=True"}


def main(
    shares: str = "0.5,0.35,0.25",
    depths: str = "False,auto,True",
    epochs: str = "0,16",
    seeds: str = "0,1,2",
    data: str = "real",
) -> None:
    use_cores("1")
    data = source(data)
    keys = (
        dict(zip(KEY, (data, share, depth, count, seed)))
        for count in epochs.split(",")
        for seed in (seeds.split(",") if int(count) else ["0"])
        for share, depth in product(shares.split(","), depths.split(","))
    )
    measure_rows(NAME, keys, measured)
    for setting, rows in by_setting(read_rows(NAME), KEY[:-1]).items():
        figures = {name: mean(rows, name) for name in ("blocks", *RATIOS.values(), "map50_95", "seconds")}
        print(*setting, {name: value and round(value, 4) for name, value in figures.items()}, f"{len(rows)} seeds")
    rows = [row for row in read_rows(NAME) if row["data"] == data]
    untrained = {(row["share"], row["depth"]): row for row in rows if row["epochs"] == "0"}
    cpu, _ = Counter(row["cpu"] for row in untrained.values()).most_common(1)[0]
    for runtime, name in RUNTIMES.items():
        column = RATIOS[runtime]
        latency = {cut: row[column] for cut, row in untrained.items() if row[column] and row["cpu"] == cpu}
        drawn = [{**row, column: latency[cut]} for row in rows if (cut := (row["share"], row["depth"])) in latency]
        draw_points(f"{NAME}_{runtime}", f"Whole blocks, timed in {name}", drawn, placed, column)


def placed(row: dict[str, str]) -> tuple[str, str] | None:
    """Return the series and the name of a row's point; None where it is the model of channels alone once more."""
    if row["depth"] != "False" and not int(row["blocks"]):
        return None
    return LABELS[row["depth"]], named(row)


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    data, share, depth, epochs, seed = key.values()
    cut, blocks, seconds = pruned(folder, data, share, depth)
    path = small(folder, data, share, depth if blocks else "False", epochs, seed)
    yaml, _, original = SOURCES[data]
    return {
        "blocks": str(blocks),
        "params": str(sum(p.numel() for p in load_checkpoint(cut)[0].parameters())),
        **{RATIOS[name]: f"{ratio:.3f}" for name, ratio in latency_ratios(original, path).items()},
        "map50_95": f"{accuracy(path, str(yaml), IMGSZ, 'cpu'):.4f}",
        "seconds": f"{seconds:.0f}",
    }


@cache
def pruned(folder: Path, data: str, share: str, depth: str) -> tuple[Path, int, float]:
    """Return the checkpoint, how many blocks went, and the seconds it took."""
    yaml, _, original = SOURCES[data]
    path, started = folder / f"{share}-{depth}.pt", time.perf_counter()
    result = prune_model(
        open_model(original), path, flops=float(share), depth=DEPTHS[depth], images=str(yaml), imgsz=IMGSZ
    )
    return path, len(result.blocks), time.perf_counter() - started


@cache
def small(folder: Path, data: str, share: str, depth: str, epochs: str, seed: str) -> Path:
    """Return the pruned model, trained for so many epochs."""
    path, (yaml, _, original) = pruned(folder, data, share, depth)[0], SOURCES[data]
    if not int(epochs):
        return path
    own = {"data": str(yaml), "epochs": int(epochs), "seed": int(seed), "imgsz": IMGSZ}
    return distilled(path, folder / f"train-{share}-{depth}-{epochs}-{seed}", original, **own)


def latency_ratios(original: Path, path: Path) -> dict[str, float]:
    """Return the latency of a checkpoint over the original's in each runtime."""
    whole, other = latency_ms(
        [load_checkpoint(p, "cpu", fuse=True)[0] for p in (original, path)], IMGSZ, torch.device("cpu")
    )
    ratios = {"torch": other / whole}
    for runtime in ("onnx", "openvino"):
        with tempfile.TemporaryDirectory() as folder:
            runs = {}
            for checkpoint in (original, path):
                place = Path(tempfile.mkdtemp(dir=folder))
                runs[checkpoint] = onnx_run(checkpoint, IMGSZ, place, runtime=runtime)
            found = take_turns(runs, rest=REST)
        ratios[runtime] = found[path].median_ms / found[original].median_ms
    return ratios


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
