"""This project beside its peers, on real diagrams: accuracy, size and speed at 50 % and 35 % of the GFLOPs.

    python benchmarks/bench.py [quick=True] [methods=main] [shares=0.5,0.35] [seeds=0,1,2] [epochs=16] [imgsz=320]
                               [fraction=1.0] [lr0=0.001] [data=real] [device=cpu] [measure=True]

or `make bench ARGS="..."`. `methods` is main, ablations, all, or names with semicolons between them; `quick` takes a
tenth of the images at 160 px, one seed, half the GFLOPs and four epochs, about ten minutes in all, which shows that
everything runs, not which method is better: its rows go to results/bench_quick.csv. Without ../shared, or with
data=drawn, the drawn diagrams and their model are used, and the rows say so. A row is written to results/bench.csv as
soon as it is measured; those that are there are not measured again, so that an interrupted benchmark goes on where it
stopped; measure=False prints and draws what is there. With device=0 a GPU trains, in float32 as the CPU does, and the
rows name it: they hold accuracy and size, while latency, time and memory are those of rows measured on a CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))  # before torch is imported, and for each row
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from common import RESULTS, is_done, machine, read_rows, write_rows

from peers import table
from peers.methods import ABLATIONS, MAIN, METHODS, SHARES, Task
from ultralytics.slim.charts import scatter
from ultralytics.slim.charts.svg import standalone
from ultralytics.slim.files import write_text
from ultralytics.slim.inputs.data import prepare_data

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
KEY = ("method", "share", "seed", *table.SETTING)
QUICK = {"shares": "0.5", "seeds": "0", "epochs": 4, "imgsz": 160, "fraction": 0.1, "lr0": 0.001, "device": "cpu"}
FULL = {**QUICK, "shares": ",".join(map(str, SHARES)), "seeds": "0,1,2", "epochs": 16, "imgsz": 320, "fraction": 1.0}
SOURCES = {  # data -> YAML, its folder, the model to make smaller
    "real": (HERE / "real_diagrams.yaml", SHARED / "data/diagram", SHARED / "weights/diagram_yolov8n.pt"),
    "drawn": (
        HERE.parent / "diagram.yaml",
        HERE.parent / "datasets/diagram",
        HERE.parent / "weights/diagram-yolov8n.pt",
    ),
}


def main(methods: str = "main", quick: str = "False", data: str = "real", measure: str = "True", **given) -> int:
    unknown = given.keys() - FULL.keys()
    if unknown:
        raise SystemExit(
            f"unknown: {', '.join(unknown)}; the keys are methods, quick, data, measure, {', '.join(FULL)}"
        )
    is_quick = str(quick) == "True"
    settings = {**(QUICK if is_quick else FULL), **given}
    name = "bench_quick" if is_quick else "bench"
    data = source(data)
    failed = []
    asked = tasks(chosen(methods), settings, data) if str(measure) == "True" else []
    for sharing, task in together(asked):
        wanted = [m for m in sharing if not is_done(read_rows(name), key(m, task, data)) and is_possible(m)]
        found = measured(wanted, task, SOURCES[data][1]) if wanted else {}
        failed += [f"{method} at {task.share}, seed {task.seed}" for method in wanted if method not in found]
        for method, figures in found.items():
            write_rows(name, [*read_rows(name), row(method, task, data, figures)])
    show(name, comparable(read_rows(name), settings, data))
    if failed:
        print(f"failed, their errors are above: {'; '.join(failed)}")
    return bool(failed)


def source(wanted: str = "real") -> str:
    """Return 'real'; or 'drawn' where that is wanted, or where the real diagrams are absent, which is said."""
    if wanted not in SOURCES:
        raise SystemExit(f"data={wanted}: expected {' or '.join(SOURCES)}")
    real = SOURCES["real"][1] / "images/val"
    if wanted == "real":
        if real.is_dir() and SOURCES["real"][2].is_file():
            return "real"
        print(f"no real diagrams at {real.parent.parent}: the drawn ones of diagram.yaml are measured instead")
    prepare_data(SOURCES["drawn"][0], HERE.parent)  # draws what is missing
    return "drawn"


def chosen(methods: str) -> list[str]:
    """Return the names of methods, in the order in which they are measured."""
    sets = {"main": MAIN, "ablations": ABLATIONS, "all": METHODS}
    names = list(sets[methods]) if methods in sets else methods.split(";")
    if unknown := [name for name in names if name not in METHODS]:
        raise SystemExit(f"unknown methods: {'; '.join(unknown)}; there are {', '.join(sets)}, or {'; '.join(METHODS)}")
    return names


def tasks(names: list[str], settings: dict, data: str) -> list[tuple[str, Task]]:
    """Return what is to be measured, seed by seed, larger models first; what has no share to choose once a seed."""
    shared = {"original": SOURCES[data][2], "data": str(SOURCES[data][0]), "epochs": int(settings["epochs"])}
    shared |= {"imgsz": int(settings["imgsz"])} | {name: float(settings[name]) for name in ("fraction", "lr0")}
    shared |= {"device": str(settings["device"])}
    wanted = [float(share) for share in str(settings["shares"]).split(",")]
    found = []
    for seed in map(int, str(settings["seeds"]).split(",")):
        for first, share in enumerate(wanted):
            for name in names:
                if METHODS[name].shares == (1.0,):  # nothing to choose: once, with the first share
                    found += [(name, Task(share=1.0, seed=seed, **shared))] if not first else []
                else:
                    found.append((name, Task(share=share, seed=seed, **shared)))
    return found


def together(asked: list[tuple[str, Task]]) -> list[tuple[list[str], Task]]:
    """Return the same in groups that need one model, such as the reference and its exports, in order of the first."""
    groups: list[tuple[list[str], Task]] = []
    for name, task in asked:
        for names, other in groups:
            if other == task and METHODS[names[0]].makes_that_of(METHODS[name]):
                names.append(name)
                break
        else:
            groups.append(([name], task))
    return groups


def is_possible(method: str) -> bool:
    """Return whether a method can be measured here; say so where it cannot."""
    if reason := METHODS[method].missing():
        print(f"{method} is left out: {reason}")
    return reason is None


def key(method: str, task: Task, data: str) -> dict[str, str]:
    """Return what tells a row from others."""
    values = {"method": method, "data": data, **asdict(task)} | {"data": data}
    return {name: str(values[name]) for name in KEY}


def measured(methods: list[str], task: Task, root: Path) -> dict[str, dict]:
    """Measure methods that need one model in a process of its own; return each one's figures, none where it failed."""
    print(f"\n{'; '.join(methods)}, {task.share:.0%} of the GFLOPs, seed {task.seed}", flush=True)
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        asked = {"methods": methods, "task": {**asdict(task), "original": str(task.original)}, "root": str(root)}
        request.write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, "-m", "peers.row", str(request), str(answer)]
        subprocess.run(command, check=False, env=environment, cwd=folder)
        return json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else {}


def row(method: str, task: Task, data: str, found: dict) -> dict[str, object]:
    """Return a row of the results; a figure that a method has not is empty."""
    figures = {name: f"{found[name]:.5g}" if name in found else "" for name in FIGURES}
    return {**key(method, task, data), **figures, **machine(task.device)}


FIGURES = (
    "cut_map50_95", "cut_map50", "map50_95", "map50", "relation_f1", "params", "gflops", "gflops_share", "size_mb",
    "torch_ms", "torch_ratio", "onnx_ms", "onnx_ratio", "openvino_ms", "openvino_ratio", "image_size", "seconds",
    "peak_mb",
)  # fmt: skip


def comparable(rows: list[dict[str, str]], settings: dict, data: str) -> list[dict[str, str]]:
    """Return the rows that were measured on the same data, at the same settings, as those just asked for."""
    wanted = {"data": data, "epochs": str(int(settings["epochs"])), "imgsz": str(int(settings["imgsz"]))}
    wanted |= {name: str(float(settings[name])) for name in ("fraction", "lr0")}
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def show(name: str, rows: list[dict[str, str]]) -> None:
    """Print the means of rows and draw them."""
    if not rows:
        return
    averages = table.means(rows)
    print(f"\n{table.text(averages)}")
    family = {method: how.family for method, how in MAIN.items()}
    for what, x in (("GFLOPs", ("gflops_share",)), ("latency", ("onnx_ratio", "openvino_ratio"))):
        label, groups = f"{what}, share of the original", table.points(averages, x, family)
        if not groups:  # ablations alone
            continue
        chart = scatter(f"Accuracy against {label}", groups, label, "mAP50-95")
        path = write_text(RESULTS / f"{name}_{what.lower()}.svg", standalone(chart))
        print(f"drawn in {path}")


if __name__ == "__main__":
    sys.exit(main(**dict(a.split("=", 1) for a in sys.argv[1:])))
