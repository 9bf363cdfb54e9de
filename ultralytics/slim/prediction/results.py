"""What the wrapper's methods hand back: small values that read well when printed or shown in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..files import write_csv, write_json

MOST_SHOWN = 6  # pictures that a notebook shows of a list of predictions


class RelationScores(NamedTuple):
    """Scores of the edges child -> parent over all images."""

    precision: float
    recall: float
    f1: float

    def __str__(self) -> str:
        return f"relations: precision {self.precision:.4f}, recall {self.recall:.4f}, F1 {self.f1:.4f}"

    __repr__ = __str__


class Evaluation(RelationScores):
    """Relation scores of a model, with what is behind them.

    Attributes:
        images: One row of the table `relations.csv` for each image.
        causes: How many edges each cause lost, over all images; 1 - F1 = lost / (found + true edges).
        folder: Where the table and the pictures are, or None.
    """

    images: list[dict]
    causes: dict[str, int]
    folder: Path | None

    @classmethod
    def of(cls, scores: tuple, compared: dict[str, Any], modes: dict[str, str], folder: Path | None) -> Evaluation:
        """Gather what was compared: for each image's name a `relation_errors.Comparison`, and the mode taken."""
        made = cls(*scores)
        made.images = [
            {"image": name, "mode": modes[name], **image.scores, **image.causes} for name, image in compared.items()
        ]
        made.causes, made.folder = Counter(), folder
        for image in compared.values():
            made.causes.update(image.causes)
        return made

    def __str__(self) -> str:
        """The scores, or that there is nothing to score."""
        true, found = (sum(row[edges] for row in self.images) for edges in ("edges_true", "edges_found"))
        return super().__str__() if true else f"relations: none is labelled, {found or 'none'} found"

    __repr__ = __str__

    @property
    def losses(self) -> str:
        """The causes as lines of text, the most frequent first, with the F1 that each costs."""
        edges = sum(row["edges_true"] + row["edges_found"] for row in self.images)
        worst = sorted((item for item in self.causes.items() if item[1]), key=lambda item: -item[1])
        return "\n".join(f"  {cause:<13} {count:>6} edges lost   {count / edges:.4f} of F1" for cause, count in worst)

    def save(self, **about) -> None:
        """Write `relations.csv`, by image, and `relations.json`, over all, with `about`, into the folder.

        As in the table a ratio of nothing is none.
        """
        write_csv(self.folder / "relations.csv", self.images[0], [row.values() for row in self.images])
        counted = [key for key in self.images[0] if key.startswith(("nodes_", "edges_"))]
        counts = {key: sum(row[key] for row in self.images) for key in counted}
        found, true = counts["edges_found"], counts["edges_true"]
        wholes = {"precision": found, "recall": true, "f1": found + true}
        ratios = {name: ratio if wholes[name] else None for name, ratio in self._asdict().items()}
        modes = Counter(row["mode"] for row in self.images)
        over_all = {**about, "images": len(self.images), "modes": modes, **counts, **ratios, "causes": self.causes}
        write_json(self.folder / "relations.json", over_all)


def relations_text(relations: Mapping[str, Evaluation]) -> str:
    """Return the scores as lines, or why there are none."""
    lines = [f"{name:<9} {scores}" for name, scores in relations.items()]
    return (
        "\n".join(lines)
        or "no relation scores: no plabels/val beside the data's images/val, no relation in it, classes taken out, or "
        "a patched checkout, which has no relation.py"
    )


@dataclass(frozen=True)
class Prediction:
    """The nodes found in one image or frame.

    Attributes:
        saved: The JPEG that shows them, or the video that this is a frame of; None where nothing was drawn.
        parents: The index of each node's parent, -1 for none.
        plabels: The file of labels, or None.
        frame: Number of the frame of a video, from 1; None for an image.
        mode: What the parents were read from: `containment`, `layout`, `connectors`, or `none` where nothing was.
        others: Child -> further nodes whose arrows point at it; the first is its parent.
    """

    source: str
    saved: Path | None
    boxes_xyxy: list[list[float]]
    classes: list[str]
    scores: list[float]
    parents: list[int]
    plabels: Path | None = None
    frame: int | None = None
    mode: str = "none"
    others: dict[int, list[int]] = field(default_factory=dict)

    def __str__(self) -> str:
        roots, place = self.parents.count(-1), f" -> {self.saved or self.plabels}" * bool(self.saved or self.plabels)
        frame = f", frame {self.frame}" if self.frame else ""
        mode = f" ({self.mode})" * (self.mode != "none")
        several = f", {len(self.others)} with several, of whom the first counts" * bool(self.others)
        return f"{self.source}{frame}: {len(self.parents)} nodes, {roots} without a parent{several}{mode}{place}"

    __repr__ = __str__

    def _repr_jpeg_(self) -> bytes | None:
        return self.saved.read_bytes() if self.saved and self.frame is None else None

    def picture(self) -> np.ndarray | None:
        """Return the saved picture, (H, W, 3) BGR, if there is one."""
        return cv2.imread(str(self.saved)) if self.saved else None


@dataclass
class VideoPrediction:
    """What was found in a video, summed up: its frames would not fit into memory. save_txt keeps them as files."""

    source: str
    saved: Path | None
    frames: int = 0
    nodes: int = 0

    def __str__(self) -> str:
        mean = self.nodes / max(self.frames, 1)
        return f"{self.source}: {self.frames} frames, {mean:.1f} nodes each" + f" -> {self.saved}" * bool(self.saved)

    __repr__ = __str__

    def picture(self) -> np.ndarray | None:
        """Return the first frame of the saved video, (H, W, 3) BGR, if there is one."""
        return cv2.VideoCapture(str(self.saved)).read()[1] if self.saved else None


class Predictions(list):
    """A list of `Prediction`, and one `VideoPrediction` a video; a notebook shows the pictures of the first few."""

    @classmethod
    def gather(cls, predictions: Iterable[Prediction]) -> Predictions:
        """Return the predictions, those of one video's frames as one."""
        found, videos = cls(), {}
        for prediction in predictions:
            if prediction.frame is None:
                found.append(prediction)
                continue
            if prediction.source not in videos:
                videos[prediction.source] = VideoPrediction(prediction.source, prediction.saved)
                found.append(videos[prediction.source])
            videos[prediction.source].frames += 1
            videos[prediction.source].nodes += len(prediction.parents)
        return found

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no images"

    __repr__ = __str__

    def _repr_jpeg_(self) -> bytes | None:
        pictures = [p for prediction in self[:MOST_SHOWN] if (p := prediction.picture()) is not None]
        if not pictures:
            return None
        return cv2.imencode(".jpg", contact_sheet(pictures), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def contact_sheet(pictures: list[np.ndarray], columns: int = 2, side: int = 400, gap: int = 8) -> np.ndarray:
    """Return pictures (H, W, 3) in rows on white, each scaled to fit a square of `side` pixels."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        scale = side / max(picture.shape[:2])
        width, height = (max(1, round(scale * n)) for n in picture.shape[1::-1])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        x = i % columns * (side + gap) + (side - width) // 2
        y = i // columns * (side + gap) + (side - height) // 2
        sheet[y : y + height, x : x + width] = small
    return sheet
