"""Int8 of a pruned model, beside its float files and Ultralytics' own int8: accuracy, agreement, size and latency.

    python benchmarks/int8.py [epochs=0,16] [seeds=0,1,2] [share=0.5] [formats=onnx,openvino] [threads=1] [data=real]

The original is pruned to `share` of its GFLOPs with the training images and trained for so many epochs (the validation
images choose nothing); epochs=0 is the model as it is cut, and has one seed. Methods:

    original      the original's float file
    float         the pruned model's
    ultralytics   its int8 file by Ultralytics' quantize=8
    ours          format=...-int8 of this project
    ours: WAY     each of the ways that it chooses from
    learnt        the same choice, of the model after 300 steps with int8's rounding, taught by itself

held and close: shares of the float checkpoint's detections found at IoU 0.75 and 0.9, on the validation images.
Latency: of the file in its runtime, all of one format taking turns, over that of the original's float file. OpenVINO
computes in float32, so that float is float. Rows are added to results/int8.csv; those that are there are not measured
again. Accuracy against latency is drawn in results/int8_FORMAT.svg, means over the seeds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

WORDS = dict(word.split("=", 1) for word in sys.argv[1:])
os.environ["OMP_NUM_THREADS"] = WORDS.get("threads", "1")  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import shutil

import numpy as np
from bench import SOURCES, source
from common import by_setting, distilled, draw_points, mean, measure_rows, read_rows

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.exporting.int8.judge import Judge
from ultralytics.slim.exporting.int8.quantise import QUANTISERS
from ultralytics.slim.exporting.int8.ranges import MOST, RangeImages, split_for_ranges
from ultralytics.slim.files import disk_size, fingerprint
from ultralytics.slim.inputs.data import check_data
from ultralytics.slim.inputs.images import list_images
from ultralytics.slim.inputs.unlabelled import spread
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy, file_accuracy
from ultralytics.slim.measuring.timing import Latency, take_turns
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model

NAME, IMGSZ = "int8", 320
KEY = ("data", "share", "epochs", "seed", "format", "method")
ORIGINAL, FLOAT, THEIRS, OURS, LEARNT = "original", "float", "ultralytics", "ours", "learnt"
LABELS = {FLOAT: "float", THEIRS: "Ultralytics' int8", OURS: "int8", LEARNT: "int8, learnt"}
ITERATIONS = 300


def main(
    epochs: str = "0,16",
    seeds: str = "0,1,2",
    share: str = "0.5",
    formats: str = "onnx,openvino",
    threads: str = "1",
    data: str = "real",
) -> None:
    use_cores(threads)
    data = source(data)
    keys = (
        dict(zip(KEY, (data, share, count, seed, name, method)))
        for count in epochs.split(",")
        for seed in (seeds.split(",") if int(count) else ["0"])
        for name in formats.split(",")
        for method in (ORIGINAL, FLOAT, THEIRS, OURS, *(f"{OURS}: {w.name}" for w in QUANTISERS[name].recipes), LEARNT)
    )
    measure_rows(NAME, keys, measured)
    for setting, group in by_setting(read_rows(NAME), ("share", "epochs", "format", "method")).items():
        figures = {name: mean(group, name) for name in ("map50_95", "held", "latency_ratio", "size_mb")}
        print(*setting, {name: round(value, 4) for name, value in figures.items()}, f"{len(group)} seeds")
    for name in QUANTISERS:
        rows = [row for row in read_rows(NAME) if (row["data"], row["format"]) == (data, name)]
        title = f"Int8 in {'ONNX Runtime' if name == 'onnx' else 'OpenVINO'}: accuracy against latency"
        draw_points(f"{NAME}_{name}", title, rows, placed, "latency_ratio", "latency, the original's float file is 1")


def placed(row: dict[str, str]) -> tuple[str, str] | None:
    """Return the series and the name of a row's point: original and pruned, in float and in int8."""
    if row["method"] == ORIGINAL:
        return "not pruned", "original"
    if row["method"] not in LABELS:
        return None
    return "as cut" if row["epochs"] == "0" else f"after {row['epochs']} epochs", LABELS[row["method"]]


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    files, latencies = made(folder, *(key[name] for name in ("data", "share", "epochs", "seed", "format")))
    yaml, _, original = SOURCES[key["data"]]
    path, ratio = files[key["method"]], latencies[key["method"]].median_ms / latencies[ORIGINAL].median_ms
    checkpoint = open_model(original if key["method"] == ORIGINAL else files["checkpoint"])
    verdict = judge(files["checkpoint"], str(yaml)).verdict(path)
    return {
        "checkpoint_map50_95": f"{accuracy(checkpoint.ckpt_path, str(yaml), IMGSZ, 'cpu', rect=False):.4f}",
        "map50_95": f"{file_accuracy(path, checkpoint, str(yaml), IMGSZ):.4f}",
        "held": f"{verdict.held:.4f}",
        "close": f"{verdict.close:.4f}",
        "size_mb": f"{disk_size(path) / 1e6:.2f}",
        "latency_ms": f"{latencies[key['method']].median_ms:.2f}",
        "latency_ratio": f"{ratio:.3f}",
    }


@cache
def judge(checkpoint: Path, yaml: str) -> Judge:
    return Judge(open_model(checkpoint), list_images(check_data(yaml)["val"]), imgsz=IMGSZ, device="cpu")


@cache
def made(
    folder: Path, data: str, share: str, epochs: str, seed: str, name: str
) -> tuple[dict[str, Path], dict[str, Latency]]:
    """Return the files of all methods, and their latencies."""
    yaml, _, original = SOURCES[data]
    place = folder / f"{epochs}-{seed}-{name}"
    place.mkdir()
    checkpoint = Path(shutil.copy(small(folder, data, share, epochs, seed), place / "small.pt"))
    whole = Path(shutil.copy(original, place / "whole.pt"))
    exported = partial(export_model, imgsz=IMGSZ, device="cpu")
    files = {"checkpoint": checkpoint, ORIGINAL: exported(whole, name), FLOAT: exported(checkpoint, name)}
    theirs = Path(shutil.copy(checkpoint, place / "theirs.pt"))
    settings = {"quantize": 8, "data": str(yaml), "split": "train"}
    files[THEIRS] = Path(open_model(theirs).export(format=name, imgsz=IMGSZ, device="cpu", **settings))
    files[OURS] = exported(checkpoint, f"{name}-int8", str(yaml))
    files[LEARNT] = exported(shutil.copy(learnt(checkpoint, folder, str(yaml)), place), f"{name}-int8", str(yaml))
    batch, channels, *sides = QUANTISERS[name].input_shape(files[FLOAT])
    images = RangeImages(spread(split_for_ranges(str(yaml))[0], MOST), tuple(sides), channels, batch)
    maker = QUANTISERS[name](files[FLOAT], images, place)
    for number, recipe in enumerate(maker.recipes):
        path = place / str(number) / files[FLOAT].name
        path.parent.mkdir()
        maker.make(recipe, path)
        files[f"{OURS}: {recipe.name}"] = path
    return files, take_turns({way: session(path) for way, path in files.items() if way != "checkpoint"}, rounds=100)


@cache
def small(folder: Path, data: str, share: str, epochs: str, seed: str) -> Path:
    """Return the pruned model, trained for so many epochs."""
    yaml, _, original = SOURCES[data]
    cut = folder / f"{share}.pt"
    if not cut.exists():
        prune_model(open_model(original), cut, flops=float(share), images=str(yaml), imgsz=IMGSZ)
    if not int(epochs):
        return cut
    own = {"data": str(yaml), "epochs": int(epochs), "seed": int(seed), "imgsz": IMGSZ}
    return distilled(cut, folder / f"train-{epochs}-{seed}", original, **own)


def learnt(checkpoint: Path, folder: Path, yaml: str) -> Path:
    """Return the checkpoint after it learnt to do with int8, once for all formats."""
    path = folder / f"learnt-{fingerprint(checkpoint)[:8]}.pt"
    if not path.exists():
        model, how = open_model(checkpoint), {"imgsz": IMGSZ, "device": "cpu"}
        recover_model(model, model, yaml, path, int8=True, iterations=ITERATIONS, **how)
    return path


def session(path: Path) -> Callable[[], object]:
    """Return a function that runs a file on noise, in as many threads as are measured."""
    threads = int(WORDS.get("threads", "1"))
    image = np.random.default_rng(0).random((1, 3, IMGSZ, IMGSZ), dtype=np.float32)
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        run = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return partial(run.run, None, {run.get_inputs()[0].name: image})
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(next(path.glob("*.xml"))), "CPU", settings).create_infer_request()
    return partial(request.infer, [image])


if __name__ == "__main__":
    main(**WORDS)
