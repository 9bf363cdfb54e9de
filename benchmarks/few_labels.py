"""A tenth of the labels: what the other images are worth without theirs, beside all labels.

    python benchmarks/few_labels.py [shares=0.35,0.25] [seeds=0,1,2] [methods=all,tenth,unlabelled] [losses=mgd]
                                    [schedules=run] [starts=cut] [epochs=16] [lr0=0.001] [threads=1] [data=real]

The original is pruned with all training images, no label read, and taught by the original in one training:

    all          every training image with its labels
    tenth        every tenth image with its labels, as many batches in all
    unlabelled   the same tenth, and the other images as unlabelled=

`starts` is where the training starts from: the model as it is cut (and re-fitted), or `recovered` without labels.
No training sees the validation images, the last epoch's averaged weights are measured. Rows are added to
results/few_labels.csv as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

WORDS = dict(word.split("=", 1) for word in sys.argv[1:])
os.environ["OMP_NUM_THREADS"] = WORDS.get("threads", "1")  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import yaml
from bench import SOURCES, source
from common import TRAINING, measure_rows, show_means, trained

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.unlabelled import given_images
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model

NAME, IMGSZ, SHARE_OF_LABELS = "few_labels", 320, 10
KEY = ("data", "share", "method", "loss", "schedule", "start", "epochs", "lr0", "seed")


def main(
    shares: str = "0.35,0.25",
    seeds: str = "0,1,2",
    methods: str = "all,tenth,unlabelled",
    losses: str = "mgd",
    schedules: str = "run",
    starts: str = "cut",
    epochs: str = "16",
    lr0: str = "0.001",
    threads: str = "1",
    data: str = "real",
) -> None:
    use_cores(threads)
    data = source(data)
    given = (seeds, shares, starts, methods, losses, schedules)
    keys = (
        dict(zip(KEY, (data, share, method, loss, schedule, start, epochs, lr0, seed)))
        for seed, share, start, method, loss, schedule in product(*[words.split(",") for words in given])
    )
    measure_rows(NAME, keys, measured)
    show_means(NAME, KEY[:-1])


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    """Cut, and recover where the row starts there (once for all rows); train, and validate the last weights."""
    data, _, original = SOURCES[key["data"]]
    start = Path(folder, f"{key['share']}_{key['start']}.pt")
    cut = start.with_stem(f"{key['share']}_cut")
    if not cut.exists():
        prune_model(open_model(original), cut, flops=float(key["share"]), images=str(data), imgsz=IMGSZ)
    if not start.exists():
        recover_model(open_model(cut), open_model(original), str(data), start, imgsz=IMGSZ, device="cpu")
    before = accuracy(start, str(data), IMGSZ, "cpu")
    own = {"lr0": float(key["lr0"]), "seed": int(key["seed"]), "imgsz": IMGSZ}
    own |= {"Distillation": str(original), "loss_type": key["loss"], "distill_schedule": key["schedule"]}
    last, seconds = trained(start, folder, **own, **arguments(folder, data, key["method"], int(key["epochs"])))
    after = accuracy(last, str(data), IMGSZ, "cpu")
    return {"before": f"{before:.4f}", "map50_95": f"{after:.4f}", "seconds": f"{seconds:.0f}"}


def arguments(folder: Path, data: Path, method: str, epochs: int) -> dict[str, object]:
    """Return the data of a method, and its epochs."""
    if method == "all":
        return {"data": str(data), "epochs": epochs}
    images = [str(path) for path in given_images(str(data))]
    labelled = images[::SHARE_OF_LABELS]
    rest = sorted(set(images) - set(labelled))
    for name, paths in (("labelled.txt", labelled), ("rest.txt", rest)):
        Path(folder, name).write_text("\n".join(paths))
    settings = yaml.safe_load(Path(data).read_text())
    base = Path(data).parent / settings.get("path", "")
    settings |= {"path": str(base.resolve()), "train": str(folder / "labelled.txt")}
    Path(folder, "few.yaml").write_text(yaml.safe_dump(settings))
    few = {"data": str(folder / "few.yaml")}
    if method == "tenth":
        batches = [-(-len(paths) // TRAINING["batch"]) for paths in (images, labelled)]
        return {**few, "epochs": round(epochs * batches[0] / batches[1])}
    return {**few, "epochs": epochs, "unlabelled": str(folder / "rest.txt")}


if __name__ == "__main__":
    main(**WORDS)
