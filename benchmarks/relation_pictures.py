"""The picture in docs/relations.md: each mode where it is right, and where it is wrong, on drawings with true boxes.

    python benchmarks/relation_pictures.py

Right edges are green, wrong ones red, missed ones dashed in blue. The drawings are our own, the same each time.
"""

from __future__ import annotations

from pathlib import Path

import cv2

from relation import read_relations
from ultralytics.slim.diagrams.dataset import draw_one
from ultralytics.slim.prediction.relation_errors import compare_nodes, visualize_errors
from ultralytics.slim.prediction.results import contact_sheet

SHOWN = (  # mode, number of the drawing, whether it is one of those whose relations are their lines
    ("containment", 20, False), ("layout", 1, False), ("connectors", 25, True),
    ("containment", 4, True), ("layout", 3, True), ("connectors", 20, True),
)  # fmt: skip
WHERE = Path(__file__).resolve().parent.parent / "docs/relations.jpg"


def main() -> None:
    pictures = []
    for mode, number, lined in SHOWN:
        one = draw_one(1, "val", number, lined)
        true = one.boxes, [node.parent for node in one.nodes]
        pred = one.boxes, read_relations(one.boxes, mode, one.image).parents
        errors = compare_nodes(pred, true, mode, image=one.image)
        pictures.append(visualize_errors(one.image, pred, true, errors))
    cv2.imwrite(str(WHERE), contact_sheet(pictures, columns=3), [cv2.IMWRITE_JPEG_QUALITY, 75])


if __name__ == "__main__":
    main()
