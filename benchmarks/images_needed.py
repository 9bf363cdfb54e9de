"""How many unlabelled images pruning and recovery need, and of which kind.

    python benchmarks/images_needed.py [counts=8,32,128,432] [kinds=same,other] [share=0.35] [iterations=400]
                                      [threads=1]

The model of the real diagrams is pruned to a share of its GFLOPs and recovered, with as many of its own training
images, or with as many drawn diagrams, which are of another kind; no label is read. Both models are validated on the
real `val` split. Rows are added to results/images_needed.csv as they are measured; those that are there are not
measured again.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

WORDS = dict(word.split("=", 1) for word in sys.argv[1:])
os.environ["OMP_NUM_THREADS"] = WORDS.get("threads", "1")  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from bench import SOURCES, source
from common import measure_rows, read_rows

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.inputs.unlabelled import given_images, spread
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model

NAME, KEY, IMGSZ = "images_needed", ("kind", "images", "share", "iterations"), 320


def main(
    counts: str = "8,32,128,432",
    kinds: str = "same,other",
    share: str = "0.35",
    iterations: str = "400",
    threads: str = "1",
) -> None:
    if source() != "real":
        raise SystemExit("needs the real diagrams in ../shared: of the drawn ones there is no other kind here")
    use_cores(threads)
    chosen = product(kinds.split(","), counts.split(","))
    measure_rows(NAME, (dict(zip(KEY, (kind, count, share, iterations))) for kind, count in chosen), measured)
    for row in read_rows(NAME):
        print("  ".join(f"{name}={value}" for name, value in list(row.items())[:8]))


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    """Prune and recover with the images of a row; return its figures."""
    yaml, _, original = SOURCES["real"]
    shown = yaml if key["kind"] == "same" else prepare_data(str(SOURCES["drawn"][0]))
    images = spread(given_images(str(shown)), int(key["images"]))
    pruned, recovered = folder / "pruned.pt", folder / "recovered.pt"
    prune_model(open_model(original), pruned, flops=float(key["share"]), images=images, imgsz=IMGSZ)
    options = {"imgsz": IMGSZ, "iterations": int(key["iterations"]), "device": "cpu"}
    done = recover_model(open_model(pruned), open_model(original), images, recovered, **options)
    figures = done.seen, *(accuracy(path, str(yaml), IMGSZ, "cpu") for path in (pruned, recovered)), done.step
    return {name: f"{value:.4g}" for name, value in zip(("seen", "cut", "recovered", "step"), figures)}


if __name__ == "__main__":
    main(**WORDS)
