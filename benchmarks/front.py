"""The front: seven models one from the other, and each of these sizes pruned at once from the original, side by side.

    python benchmarks/front.py [shares=0.8,0.65,0.5,0.38,0.28,0.2,0.15] [iterations=400] [data=real]

No label is read but for mAP50-95 on `val`. Latency is that of one thread in PyTorch, as a share of the original's, all
models of the front in turns. `at once` has the same steps of recovery after its single pruning. Rows are added to
results/front.csv; those that are there are not measured again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from bench import SOURCES, source
from common import is_done, machine, read_rows, write_rows

from ultralytics.slim.front.front import make_front, name_of
from ultralytics.slim.front.settings import SHARES
from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model

NAME, IMGSZ = "front", 320
KEY = ("data", "method", "share", "iterations")


def main(shares: str = ",".join(map(str, SHARES)), iterations: str = "400", data: str = "real") -> None:
    data = source(data)
    yaml, original = prepare_data(SOURCES[data][0]), SOURCES[data][2]
    keys = [dict(zip(KEY, (data, "one from the other", share, iterations))) for share in shares.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        if not all(is_done(read_rows(NAME), key) for key in keys):
            started = time.perf_counter()
            given = {"weights": str(original), "data": yaml, "shares": shares, "imgsz": IMGSZ}
            table = make_front(folder, None, False, None, {**given, "iterations": int(iterations)})
            seconds = (time.perf_counter() - started) / len(keys)
            rows = {row.name: row for row in table}
            whole = table[0]
            add = lambda key, **found: write_rows(NAME, [*read_rows(NAME), {**key, **found, **machine("cpu")}])  # noqa: E731
            for key in keys:
                row = rows[name_of(float(key["share"]))]
                add(
                    key,
                    gflops=f"{row.gflops / whole.gflops:.4f}",
                    latency=f"{row.latency_ms / whole.latency_ms:.4f}",
                    size=f"{row.size_mb / whole.size_mb:.4f}",
                    map50_95=f"{row.map50_95:.4f}",
                    seconds=f"{seconds:.0f}",
                )
        for key in ({**key, "method": "at once"} for key in keys):
            if is_done(read_rows(NAME), key):
                continue
            path, started = Path(folder, "one.pt"), time.perf_counter()
            result = prune_model(open_model(original), path, flops=float(key["share"]), images=yaml, imgsz=IMGSZ)
            recover_model(open_model(path), open_model(original), yaml, path, iterations=int(iterations), imgsz=IMGSZ)
            seconds = time.perf_counter() - started
            found = {"gflops": f"{result.gflops[1] / result.gflops[0]:.4f}", "latency": "", "size": ""}
            found |= {"map50_95": f"{accuracy(path, yaml, IMGSZ):.4f}", "seconds": f"{seconds:.0f}"}
            write_rows(NAME, [*read_rows(NAME), {**key, **found, **machine("cpu")}])
    for row in read_rows(NAME):
        print(*row.values())


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
