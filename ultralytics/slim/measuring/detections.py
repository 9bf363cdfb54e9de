"""What a model finds in some images, and how that differs from what another one finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ultralytics.engine.model import Model
from ultralytics.utils.metrics import box_iou

from ..classes import LabelNumbers, Names
from ..errors import InputError
from ..inputs.images import label_files, list_images
from ..inputs.weights import open_model
from .signal_stack import kept_signal_stack

if TYPE_CHECKING:
    from ultralytics.engine.results import OBB, Boxes, Results


@dataclass(frozen=True)
class Found:
    """Detections of one image: (N, 4) boxes xyxy in pixels, N class numbers, N scores in 0..1, and N class names."""

    boxes_xyxy: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    names: list[str]

    @property
    def texts(self) -> list[str]:
        return [f"{name} {score:.2f}" for name, score in zip(self.names, self.scores)]


@dataclass(frozen=True)
class Difference:
    """Indices of the detections of one image: pairs that agree, those lost, those new."""

    both: list[tuple[int, int]]
    lost: list[int]
    new: list[int]

    @property
    def size(self) -> int:
        return len(self.lost) + len(self.new)


def choose_images(source: str | list[str], count: int) -> list[Path]:
    """Return up to `count` images of a split that have labels, evenly spaced."""
    images = list_images(source)
    images = [image for image, label in zip(images, label_files(images)) if label.is_file()] or images
    return [images[i] for i in np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))] if images else []


def boxes_of(result: Results) -> Boxes | OBB:
    """Return the boxes of an Ultralytics result, upright or rotated."""
    boxes = result.obb if result.boxes is None else result.boxes
    if boxes is None:
        raise InputError("this model finds no boxes; give weights of a detector")
    return boxes


def detect(model: Model | str | Path, images: list[Path], like: Names | None = None, **settings) -> list[Found]:
    """Return what a model finds in each image.

    Args:
        model: The model.
        images: Images.
        like: Class names of another model that it is compared with: classes are numbered as in that one, by name.
        settings: Those of Ultralytics' `predict`.
    """
    yolo = model if isinstance(model, Model) else open_model(model)
    found = []
    for result in predicted(yolo, images, **settings):
        boxes = boxes_of(result)
        classes, scores = (values.cpu().numpy() for values in (boxes.cls, boxes.conf))
        names = [result.names[int(c)] for c in classes]
        if like is not None:
            classes = LabelNumbers(result.names, like).of(torch.from_numpy(classes)).numpy()
        found.append(Found(boxes.xyxy.cpu().numpy().astype(float), classes.astype(int), scores.astype(float), names))
    return found


def predicted(yolo: Model, images: Iterable[Any], **settings: Any) -> Iterator[Results]:
    """Give what a model predicts for each image, a path or a BGR array (H, W, 3).

    Exported files of one image at a time are given one at a time, as 8.0.x hands over all of a list at once.
    """
    sources = [str(image) if isinstance(image, Path) else image for image in images]
    if isinstance(yolo.model, torch.nn.Module):
        yield from yolo.predict(sources, stream=True, verbose=False, **settings)
        return
    for source in sources:
        with kept_signal_stack():  # the first one compiles it
            found = list(yolo.predict([source], stream=True, verbose=False, **settings))
        yield from found


def match_detections(original: Found, other: Found, same_iou: float) -> Difference:
    """Match detections of the same class one to one, largest overlap first, at IoU >= `same_iou`."""
    boxes = (torch.from_numpy(side.boxes_xyxy.astype(float)) for side in (original, other))
    overlap = box_iou(*boxes, eps=0).nan_to_num().numpy()  # 0 where neither has an area
    overlap[original.classes[:, None] != other.classes[None]] = 0
    both, left, right = [], set(range(len(original.classes))), set(range(len(other.classes)))
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = (int(k) for k in np.unravel_index(flat, overlap.shape))
        if overlap[i, j] < np.float32(same_iou):  # as exact as the overlap: NumPy 1 compares in double precision
            break
        if i in left and j in right:
            both.append((i, j))
            left.discard(i)
            right.discard(j)
    return Difference(both, sorted(left), sorted(right))
