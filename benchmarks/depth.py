"""Whole blocks beside channels: the same goal met by channels alone, by both, and by whichever changes less.

    python benchmarks/depth.py [shares=0.7,0.5,0.35,0.25] [depths=False,auto,True] [epochs=0] [seeds=0] [data=real]

mAP50-95 on the `val` split after the cut and its re-fit, or after so many epochs with labels from there; the latency is
that of the fused model in PyTorch on one thread as a share of the original's, timed in turns with it. Rows are added to
results/depth.csv as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import product
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from bench import SOURCES, source
from common import measure_rows, read_rows, trained

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.costs import latency_ms
from ultralytics.slim.pruning.prune import prune_model

NAME, KEY, IMGSZ = "depth", ("data", "share", "depth", "epochs", "seed"), 320


def main(
    shares: str = "0.7,0.5,0.35,0.25",
    depths: str = "False,auto,True",
    epochs: str = "0",
    seeds: str = "0",
    data: str = "real",
) -> None:
    use_cores("1")
    data = source(data)
    yaml, _, original = SOURCES[data]

    def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
        path, started = folder / "pruned.pt", time.perf_counter()
        depth = {"False": False, "True": True}.get(key["depth"], key["depth"])
        result = prune_model(
            open_model(original), path, flops=float(key["share"]), depth=depth, images=str(yaml), imgsz=IMGSZ
        )
        seconds = time.perf_counter() - started
        if epochs != "0":
            path, _ = trained(path, folder, data=str(yaml), epochs=int(epochs), imgsz=IMGSZ, seed=int(key["seed"]))
        models = [load_checkpoint(p, "cpu", fuse=True)[0] for p in (original, path)]
        whole, pruned = latency_ms(models, IMGSZ, torch.device("cpu"))
        return {
            "blocks": str(len(result.blocks)),
            "params": str(result.params[1]),
            "latency": f"{pruned / whole:.3f}",
            "map50_95": f"{accuracy(path, str(yaml), IMGSZ, 'cpu'):.4f}",
            "seconds": f"{seconds:.0f}",
        }

    chosen = product(shares.split(","), depths.split(","), seeds.split(","))
    measure_rows(NAME, (dict(zip(KEY, (data, share, depth, epochs, seed))) for share, depth, seed in chosen), measured)
    for row in read_rows(NAME):
        if (row["data"], row["epochs"]) == (data, epochs):
            print(
                *(f"{column}={row[column]}" for column in ("share", "depth", "seed", "blocks", "latency", "map50_95"))
            )


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
