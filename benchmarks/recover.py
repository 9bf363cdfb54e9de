"""Recovery without labels: agreement and mAP50-95 before and after, at 50, 35 and 25 % of the GFLOPs.

    python benchmarks/recover.py [shares=0.5,0.35,0.25] [seeds=0,1,2] [iterations=1500] [features=3.0]
                                 [threads=2] [data=real]

The original is pruned with its training images and recovered on them, no label read; then both models are
validated on the `val` split, by other writers, which nothing is chosen by. Beside them stand the labelled rows of
results/bench.csv. Rows are added to results/recover.csv as they are measured; those that are there are not measured
again. Without ../shared, or with data=drawn, the drawn diagrams are measured instead.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import product
from pathlib import Path

THREADS = dict(word.split("=", 1) for word in sys.argv[1:]).get("threads", "2")
os.environ["OMP_NUM_THREADS"] = THREADS  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from bench import SOURCES, source
from common import measure_rows, read_rows

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model
from ultralytics.utils.torch_utils import get_flops

NAME, KEY, IMGSZ = "recover", ("data", "share", "seed", "iterations", "features", "threads"), 320
FIGURES = (
    "gflops_share", "before", "after", "agreement_before", "agreement_after", "step", "steps", "lr0", "seconds",
)  # fmt: skip


def main(
    shares: str = "0.5,0.35,0.25",
    seeds: str = "0,1,2",
    iterations: str = "1500",
    features: str = "3.0",
    threads: str = "2",
    data: str = "real",
) -> None:
    use_cores(threads)
    data = source(data)
    keys = (
        dict(zip(KEY, (data, share, seed, iterations, features, threads)))
        for seed, share in product(seeds.split(","), shares.split(","))
    )
    measure_rows(NAME, keys, measured)
    show(read_rows(NAME))


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    """Prune (once for all rows) and recover; return the row's figures."""
    yaml, _, original = SOURCES[key["data"]]
    options = {"seed": int(key["seed"]), "iterations": int(key["iterations"]), "features": float(key["features"])}
    pruned, recovered = folder / f"{key['share']}.pt", folder / "recovered.pt"
    if not pruned.exists():
        prune_model(open_model(original), pruned, flops=float(key["share"]), images=str(yaml), imgsz=IMGSZ)
    started = time.perf_counter()
    teacher, common = open_model(original), {"imgsz": IMGSZ, "device": "cpu"}
    done = recover_model(open_model(pruned), teacher, str(yaml), recovered, **common, **options)
    seconds = time.perf_counter() - started
    flops = [get_flops(load_checkpoint(path, fuse=True)[0], IMGSZ) for path in (original, recovered)]
    before, after = (accuracy(path, str(yaml), IMGSZ, "cpu") for path in (pruned, recovered))
    agreement = done.before.value, done.after.value
    figures = flops[1] / flops[0], before, after, *agreement, done.step, done.steps, done.lr0, seconds
    return {name: f"{value:.4g}" for name, value in zip(FIGURES, figures)}


def show(rows: list[dict[str, str]]) -> None:
    """Print each row, and the labelled ones at the same shares."""
    for row in rows:
        print("  ".join(f"{name}={row[name]}" for name in (*KEY, *FIGURES)))
    for row in read_rows("bench"):
        if row["share"] in {known["share"] for known in rows} and row["data"] in {known["data"] for known in rows}:
            print(
                f"labelled, {row['epochs']} epochs: {row['method']}, share={row['share']}, mAP50-95 {row['map50_95']}"
            )


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
