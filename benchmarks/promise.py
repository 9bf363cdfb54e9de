"""keep=: how small a model is that keeps a share of the accuracy, how long that is looked for, and what comes of it.

    python benchmarks/promise.py [keeps=0.99,0.97,0.95] [measures=labels,agreement] [iterations=200] [data=real]

With `labels` the accuracy on the `val` images counts, with `agreement` what the original detects in images that are
kept back from the training images, no label read; mAP50-95 on `val` is measured of both in the end. Rows are added to
results/promise.csv as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import sys
import time
from itertools import product
from pathlib import Path

from bench import SOURCES, source
from common import measure_rows, read_rows

from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.loading import read_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.promise.keep import prune_to_keep
from ultralytics.slim.promise.options import Promise
from ultralytics.slim.pruning.options import PruneOptions

NAME, KEY, IMGSZ = "promise", ("data", "keep", "measure", "iterations"), 320


def main(
    keeps: str = "0.99,0.97,0.95", measures: str = "labels,agreement", iterations: str = "200", data: str = "real"
) -> None:
    data = source(data)
    yaml, folder, original = prepare_data(SOURCES[data][0]), SOURCES[data][1], SOURCES[data][2]
    whole = accuracy(original, yaml, IMGSZ)

    def measured(folder_of_rows: Path, key: dict[str, str]) -> dict[str, str]:
        path, started = folder_of_rows / "kept.pt", time.perf_counter()
        of_labels = key["measure"] == "labels"
        promise = Promise(float(key["keep"]), yaml if of_labels else "", int(key["iterations"]))
        images = yaml if of_labels else str(folder / "images/train")
        result = prune_to_keep(original, path, promise, PruneOptions(images=images, imgsz=IMGSZ))
        seconds = time.perf_counter() - started
        told = read_checkpoint(path)["slim"]["promise"]
        share = result.gflops[1] / result.gflops[0]
        found = {"share": f"{share:.4f}", "kept": f"{told['kept']:.4f}", "tries": str(told["tries"])}
        return {**found, "map50_95": f"{accuracy(path, yaml, IMGSZ):.4f}", "seconds": f"{seconds:.0f}"}

    keys = [dict(zip(KEY, (data, *pair, iterations))) for pair in product(keeps.split(","), measures.split(","))]
    measure_rows(NAME, keys, measured)
    print(f"mAP50-95 of the original {whole:.4f}")
    for row in read_rows(NAME):
        print(*row.values())


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
