"""How well agreement, which needs no labels, tells the true mAP50-95: both of many models, and how they go together.

    python benchmarks/agreement.py [images=64] [data=real]

The models are the original pruned to nine shares of its GFLOPs by three scores, right after the cut and its re-fit.
Agreement is measured on training images, none of whose labels is read, mAP50-95 on the `val` split. Rows are
added to results/agreement.csv as they are measured; those that are there are not measured again. Printed are Pearson's
and Spearman's correlation over all models and over those that keep half of the original's accuracy.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

from bench import SOURCES, source
from common import measure_rows, read_rows
from scipy.stats import pearsonr, spearmanr

from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.measuring.agreement import SHOWN_IOUS, Reference
from ultralytics.slim.pruning.prune import prune_model

NAME, KEY, IMGSZ = "agreement", ("data", "images", "score", "share"), 320
SCORES, SHARES = ("surgeon", "l1", "lamp"), (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.35, 0.25)
MEASURES = ("agreement", *[f"found_{iou}" for iou in SHOWN_IOUS])


def main(images: str = "64", data: str = "real") -> None:
    data = source(data)
    yaml, _, original = SOURCES[data]
    reference = Reference(load_checkpoint(original)[0].eval(), load_images(str(yaml), IMGSZ, limit=int(images)))

    def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
        path, goal = folder / "pruned.pt", {"flops": float(key["share"]), "score": key["score"]}
        prune_model(open_model(original), path, **goal, images=str(yaml), imgsz=IMGSZ)
        agreed = reference.agreement(load_checkpoint(path)[0].eval())
        found = {"map50_95": accuracy(path, str(yaml), IMGSZ, "cpu")}
        found |= dict(zip(MEASURES, (agreed.value, *agreed.matched)))
        return {name: f"{value:.4f}" for name, value in found.items()}

    chosen = product(SCORES, SHARES)
    measure_rows(NAME, (dict(zip(KEY, (data, images, score, str(share)))) for score, share in chosen), measured)
    show([row for row in read_rows(NAME) if (row["data"], row["images"]) == (data, images)])


def show(rows: list[dict[str, str]]) -> None:
    """Print how each measure goes with the true one."""
    best = max(float(row["map50_95"]) for row in rows)
    for words, chosen in (
        ("all models", rows),
        ("those that keep half", [row for row in rows if float(row["map50_95"]) > best / 2]),
    ):
        true = [float(row["map50_95"]) for row in chosen]
        for name in MEASURES:
            measured = [float(row[name]) for row in chosen]
            pearson, spearman = pearsonr(measured, true)[0], spearmanr(measured, true)[0]
            print(f"{words} ({len(chosen)}), {name}: Pearson {pearson:.3f}, Spearman {spearman:.3f}")


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
