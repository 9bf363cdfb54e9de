"""Relation F1 with true boxes and with detected ones, before and after the choice of duplicate handling, by cause.

    python benchmarks/relations.py [search=True]

The real diagrams and their model in ../shared, the drawn ones and theirs in datasets/ and weights/; imgsz 320. The
table of the validation images goes to benchmarks/results/relations.csv. With search=True, the settings are tried on the
training images first, and go to benchmarks/results/relations_search.csv. The models were trained on these images, so
boxes are better there than on new ones, and what measures best may be a little too trusting.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import machine, write_rows
from torchvision.ops import batched_nms

from relation import DUPLICATE_IOU, distinct_nodes, find_parent_nodes, metric, read_plabels_dir
from ultralytics import YOLO
from ultralytics.slim.inputs.data import prepare_data
from ultralytics.slim.prediction.relation_errors import CAUSES, compare_nodes
from ultralytics.utils import TQDM

HERE = Path(__file__).resolve().parent
REAL, DRAWN = HERE.parent.parent / "shared", HERE.parent
SETS = {
    "real": (REAL / "data/diagram", REAL / "weights/diagram_yolov8n.pt"),
    "drawn": (DRAWN / "datasets/diagram", DRAWN / "weights/diagram-yolov8n.pt"),
}
STOCK, CHOSEN = (0.25, 0.7, 1.01), (0.25, 0.4, DUPLICATE_IOU)  # confidence, IoU within a class, IoU of any classes
GRID = list(itertools.product((0.2, 0.25, 0.3, 0.4), (0.3, 0.4, 0.5, 0.6, 0.7), (0.7, 0.8, 0.9, 1.01)))


class Sample(NamedTuple):
    """One image: every detection, rows x1 y1 x2 y2 score class in falling score, and its true boxes and parents."""

    image: np.ndarray
    found: torch.Tensor
    true: tuple[np.ndarray, list[int]]

    def nodes(self, confidence: float, iou: float, duplicate_iou: float) -> np.ndarray:
        """Return the boxes that Ultralytics' predict would, without duplicates of another class."""
        rows = self.found[self.found[:, 4] > confidence]
        rows = rows[batched_nms(rows[:, :4], rows[:, 4], rows[:, 5], iou)][:300].numpy()
        return rows[distinct_nodes(rows[:, :4], rows[:, 4], duplicate_iou), :4]


def samples(name: str, split: str) -> list[Sample]:
    """Detect once, with no detection suppressed."""
    root, weights = SETS[name]
    labelled = {str(p.absolute()): t for p, t in read_plabels_dir(root / f"images/{split}", root / f"plabels/{split}")}
    detecting = YOLO(weights).predict(
        list(labelled), stream=True, verbose=False, imgsz=320, conf=0.2, iou=1.0, max_det=10_000, device="cpu"
    )
    kept = []
    for result in TQDM(detecting, total=len(labelled), desc=f"{name} {split}"):
        true = labelled[result.path].in_pixels(result.orig_shape[::-1])
        kept.append(Sample(result.orig_img, result.boxes.data.cpu(), (true.boxes, true.parents)))
    return kept


def score(boxes: list[np.ndarray], of_set: list[Sample], mode: str) -> dict:
    """Return F1 over all images, and how much of it each cause costs."""
    images, truth = [s.image for s in of_set], [s.true for s in of_set]
    pred = [(b, find_parent_nodes(b, mode, image)) for b, image in zip(boxes, images)]
    precision, recall, f1 = metric(pred, truth)
    compared = [compare_nodes(p, t, mode, image=image) for p, t, image in zip(pred, truth, images)]
    edges = sum(c.scores["edges_found"] + c.scores["edges_true"] for c in compared)
    lost = {cause: f"{sum(c.causes[cause] for c in compared) / edges:.4f}" for cause in CAUSES}
    return {"precision": f"{precision:.4f}", "recall": f"{recall:.4f}", "f1": f"{f1:.4f}", **lost}


def search() -> None:
    """Try settings on the training images, containment alone."""
    sets = {name: samples(name, "train") for name in SETS}
    rows = []
    for settings in TQDM(GRID, desc="settings"):
        f1 = {
            name: metric([(b := s.nodes(*settings), find_parent_nodes(b)) for s in of_set], [s.true for s in of_set])[2]
            for name, of_set in sets.items()
        }
        named = dict(zip(("confidence", "iou", "duplicate_iou"), settings))
        rows.append({**named, **{name: f"{value:.4f}" for name, value in f1.items()}, **machine()})
    write_rows("relations_search", rows)


def main(search_first: bool) -> None:
    if search_first:
        search()
    rows = []
    for name in SETS:
        of_set = samples(name, "val")
        for boxes, settings in (
            ("true", None),
            ("detected, as Ultralytics does", STOCK),
            ("detected, as chosen", CHOSEN),
        ):
            found = [s.nodes(*settings) if settings else s.true[0] for s in of_set]
            for mode in ("containment", "auto"):
                rows.append({"images": name, "boxes": boxes, "mode": mode, **score(found, of_set, mode), **machine()})
                print(rows[-1])
    write_rows("relations", rows)


if __name__ == "__main__":
    prepare_data("diagram.yaml", DRAWN)  # draws what is missing
    main("search=True" in sys.argv[1:])
