"""Relations that are drawn as lines: F1 by mode with true boxes, on drawings by others and on our own.

    python benchmarks/lines.py [count=60] [seed=9]

Trees by Graphviz (`peers/graphviz.py`) in random layouts and styles on paper and over photographs, with arrow heads and
without, flow charts whose nodes have several parents, trees and mind maps by Mermaid (`peers/mermaid.py`), our drawn
diagrams by kind, of the default data set and of those whose relations are their lines ("lined", over photographs
apart), and the real ones in ../shared where they are. Rules and thresholds were chosen on other seeds of Graphviz and
of our drawings. `undirected` counts an edge that has its ends the wrong way round; `detected_f1` is with boxes by the
shipped weights, which have seen our default drawings alone, on our drawings. Rows go to results/lines.csv.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from common import machine, write_rows
from relations import REAL

from peers import graphviz, mermaid
from relation import MODES, metric, read_plabels_dir, read_relations
from ultralytics.slim.diagrams.dataset import draw_one
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.measuring.detections import boxes_of
from ultralytics.slim.prediction.nodes import detect_nodes
from ultralytics.utils import ASSETS, TQDM

WEIGHTS = Path(__file__).resolve().parent.parent / "weights/diagram-yolov8n.pt"
Sample = tuple[np.ndarray, np.ndarray, list[int]]  # image, boxes (N, 4), parents


def main(count: str = "60", seed: str = "9") -> None:
    cv2.setNumThreads(1)
    given = int(count), int(seed)
    own = {**drawn(2 * int(count), int(seed)), **drawn(4 * int(count), int(seed), lined=True)}
    sets = {**by_graphviz(*given), **by_mermaid(*given), **own, **real()}
    rows = []
    for name, samples in TQDM(sets.items()):
        boxes = detected([image for image, *_ in samples]) if name in own else None
        rows += [measured(name, samples, mode, boxes) for mode in MODES]
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items() if name not in machine()))
    write_rows("lines", [{**row, **machine()} for row in rows])


def by_graphviz(count: int, seed: int) -> dict[str, list[Sample]]:
    """Return drawings by Graphviz; of each kind so many."""
    photos = [cv2.imread(str(path)) for path in sorted(ASSETS.glob("*.jpg"))]
    flow = {"flow": "yes", "layout": "dot", "head": "normal"}
    kinds = {
        "graphviz, with heads": ({}, False),
        "graphviz, without heads": ({"head": "none"}, False),
        "graphviz, over photographs": ({}, True),
        "graphviz, flow charts": (flow, False),
    }
    found: dict[str, list[Sample]] = {name: [] for name in kinds}
    for number, (name, (given, over)) in enumerate(kinds.items()):
        for i in range(count):
            rng = np.random.default_rng([seed, number, i])
            head = {} if given or over else {"head": str(rng.choice([h for h in graphviz.HEADS if h != "dot"]))}
            picture = graphviz.draw(rng, photos[i % len(photos)] if over else None, **given, **head)
            found[name].append((picture.image, picture.boxes, picture.parents))
    return found


def by_mermaid(count: int, seed: int) -> dict[str, list[Sample]]:
    """Return drawings by Mermaid, of each kind so many; none where it cannot be run."""
    found: dict[str, list[Sample]] = {}
    for number, (kind, name) in enumerate((("flowchart", "flow charts"), ("mindmap", "mind maps"))):
        for i in range(count if mermaid.is_there() else 0):
            picture = mermaid.draw(np.random.default_rng([seed, 10 + number, i]), kind)
            found.setdefault(f"mermaid, {name}", []).append((picture.image, picture.boxes, picture.parents))
    return found


def drawn(count: int, seed: int, lined: bool = False) -> dict[str, list[Sample]]:
    """Return our drawn diagrams by kind, `count` in all."""
    found: dict[str, list[Sample]] = {}
    for i in range(count):
        one = draw_one(seed, "val", i, lined)
        name = f"{'lined' if lined else 'drawn'}, {'over photographs' if one.style.ground == 'photo' else one.kind}"
        found.setdefault(name, []).append((one.image, one.boxes, [node.parent for node in one.nodes]))
    return dict(sorted(found.items()))


def real() -> dict[str, list[Sample]]:
    """Return the real diagrams of the validation split, if they are there."""
    root = REAL / "data/diagram"
    if not root.is_dir():
        return {}
    samples = []
    for path, labels in read_plabels_dir(root / "images/val", root / "plabels/val"):
        image = cv2.imread(str(path))
        labels = labels.in_pixels(image.shape[1::-1])
        samples.append((image, labels.boxes, labels.parents))
    return {"real": samples}


def detected(images: list[np.ndarray]) -> list[np.ndarray]:
    """Return the boxes (N, 4) that the shipped detector finds in each image."""
    model = open_model(WEIGHTS)
    return [boxes_of(next(detect_nodes(model, image, {}))).xyxy.cpu().numpy() for image in images]


def measured(name: str, samples: list[Sample], mode: str, boxes_found: list[np.ndarray] | None) -> dict[str, str]:
    """Return the scores of one mode on one set."""
    pred, seconds, taken = [], [], Counter()
    for image, boxes, _ in samples:
        started = time.perf_counter()
        found = read_relations(boxes, mode, image)
        seconds.append(time.perf_counter() - started)
        taken[found.mode] += 1
        pred.append((boxes, found.parents))
    true = [(boxes, parents) for _, boxes, parents in samples]
    edges = [[{frozenset(e) for e in enumerate(p) if e[1] >= 0} for _, p in side] for side in (pred, true)]
    right = sum(len(a & b) for a, b in zip(*edges))
    undirected = 2 * right / max(1, sum(map(len, edges[0])) + sum(map(len, edges[1])))
    scores = dict(zip(("precision", "recall", "f1"), (f"{score:.3f}" for score in metric(pred, true))))
    scores["detected_f1"] = ""
    if boxes_found is not None:
        nodes = [(b, read_relations(b, mode, image).parents) for b, (image, *_) in zip(boxes_found, samples)]
        scores["detected_f1"] = f"{metric(nodes, true)[2]:.3f}"
    return {
        "set": name, "images": str(len(samples)), "mode": mode, **scores, "undirected_f1": f"{undirected:.3f}",
        "taken": " ".join(f"{kind}:{number}" for kind, number in taken.items()),
        "median_ms": f"{1000 * statistics.median(seconds):.1f}", "largest_ms": f"{1000 * max(seconds):.0f}",
    }  # fmt: skip


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
