"""How far a quantised file says what its float model says, on images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ultralytics.engine.model import Model

from ... import logs
from ...inputs.weights import open_export
from ...measuring.detections import Found, detect, match_detections, predicted

HELD = 0.98  # share of the float model's detections that a file should find, at HELD_IOU
HELD_IOU, CLOSE_IOU = 0.75, 0.9
IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
CONF = 0.25


@dataclass(frozen=True)
class Verdict:
    """Shares of the float model's detections at a score of 0.25 that a file finds: same class, one to one.

    For a classifier both are the share of images with the same first class.

    Attributes:
        held: At IoU >= 0.75.
        close: At IoU >= 0.9.
        mean: Over IoUs from 0.5 to 0.95 in steps of 0.05, as in mAP50-95: of two files the larger is better.
    """

    held: float
    close: float
    mean: float

    @property
    def holds(self) -> bool:
        return self.held >= HELD


class Judge:
    """Compares files with the model that they were exported from.

    Args:
        model: The float model.
        images: Paths or BGR arrays to look at.
        settings: Those of Ultralytics' `predict` that both are run with, such as imgsz.
    """

    def __init__(self, model: Model, images: Sequence[Any], **settings: Any):
        self.model, self.images, self.task = model, list(images), model.task
        self.settings = {"conf": CONF, "rect": False, **settings}  # rect: padded as an export of fixed size has to
        self.expected = self._said_by(model)

    @property
    def seen(self) -> int:
        """How much there is to compare: detections, or a classifier's images."""
        return len(self.expected) if self.task == "classify" else sum(len(found.scores) for found in self.expected)

    def verdict(self, path: str | Path) -> Verdict:
        """Compare one exported file with it."""
        with logs.only():
            said = self._said_by(open_export(path, self.model))
        if not self.seen:
            return Verdict(1.0, 1.0, 1.0)  # nothing to lose; the caller says so
        if self.task == "classify":
            same = sum(a == b for a, b in zip(self.expected, said)) / self.seen
            return Verdict(same, same, same)
        shares = {iou: self._share(said, iou) for iou in IOUS}
        return Verdict(shares[HELD_IOU], shares[CLOSE_IOU], fmean(shares.values()))

    def _share(self, said: list[Found], iou: float) -> float:
        return sum(len(match_detections(a, b, iou).both) for a, b in zip(self.expected, said)) / self.seen

    def _said_by(self, model: Model) -> list:
        if self.task != "classify":
            return detect(model, self.images, **self.settings)
        return [result.probs.top1 for result in predicted(model, self.images, **self.settings)]
