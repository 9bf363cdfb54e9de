"""How far a model says what another one says on unlabelled images: the other's detections stand for the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from ultralytics.engine.validator import BaseValidator
from ultralytics.utils.metrics import ap_per_class, box_iou

from ..classes import task_of
from ..compat import batch_probiou, non_max_suppression

TRUE_CONF = 0.25  # detections of the reference below this score are no truth
LEAST_CONF, NMS_IOU = 0.001, 0.7  # as Ultralytics validates
THRESHOLDS = torch.linspace(0.5, 0.95, 10)  # of mAP50-95
SHOWN_IOUS = (0.5, 0.75, 0.9)
BANDS = (TRUE_CONF, 0.5, 0.75, 1.0)  # edges of the reference's scores


@dataclass(frozen=True)
class Band:
    """Detections of the reference with scores in [low, high).

    Attributes:
        low, high: The scores.
        count: How many.
        matched: Shares of them that the other model finds at IoU 0.5, 0.75 and 0.9: same class, one to one.
    """

    low: float
    high: float
    count: int
    matched: tuple[float, ...]


@dataclass(frozen=True)
class Agreement:
    """How far a model says what a reference says.

    Attributes:
        images: Images looked at.
        seen: Those in which the reference detects anything at a score of 0.25; for a classifier all.
        truths: Detections of the reference at that score; for a classifier the images.
        value: mAP50-95 with these as the truth, in 0..1, the model's own detections down to a score of 0.001; for a
            classifier the share of images with the same first class. 0 without truths.
        matched: Shares of the truths that the model finds at a score of 0.25, at IoU 0.5, 0.75 and 0.9.
        flips: Share of the truths at whose place (IoU >= 0.5) the model finds another class and not this one.
        extra: Share of the model's detections at 0.25 that are none of the truths, at IoU 0.5.
        bands: The truths by score.
        measure: What `value` is.
    """

    images: int
    seen: int
    truths: int
    value: float
    matched: tuple[float, ...] = ()
    flips: float = 0.0
    extra: float = 0.0
    bands: tuple[Band, ...] = field(default=(), repr=False)
    measure: str = "mAP50-95"

    def __str__(self) -> str:
        if not self.bands:
            return f"{self.measure} {self.value:.4f} of the original on {self.images} images"
        found = ", ".join(f"{share:.1%} at IoU {iou}" for share, iou in zip(self.matched, SHOWN_IOUS))
        return (
            f"agreement {self.measure} {self.value:.4f} on {self.images} images; of the original's {self.truths} "
            f"detections {found} found, {self.flips:.1%} as another class; {self.extra:.1%} of its own are none of them"
        )


class Reference:
    """What a reference model says of some images, to compare others with.

    Args:
        model: Of any task whose predictions are boxes, or a classifier; evaluation mode.
        images: (N, C, H, W), uint8 or 0..1; kept.
        batch: Images run at once.

    Attributes:
        classifies: Whether it is a classifier.
    """

    def __init__(self, model: nn.Module, images: torch.Tensor, batch: int = 16):
        self.images, self.batch = images, batch
        self.classifies, self._rotated = (task_of(model) == task for task in ("classify", "obb"))
        self.says = self._said_by(model)

    @property
    def seen(self) -> int:
        """On how many images it sees anything."""
        return len(self.images) if self.classifies else sum(bool((d[:, 4] >= TRUE_CONF).any()) for d in self.says)

    def agreement(self, model: nn.Module, classes: dict[int, int] | None = None) -> Agreement:
        """Compare a model of the same task with it.

        Args:
            model: In evaluation mode, on any device.
            classes: Model's number -> reference's number of each class, where these differ; others match nothing.
        """
        said = self._said_by(model)
        if self.classifies:
            first = said if classes is None else torch.tensor([classes.get(int(number), -1) for number in said])
            return Agreement(
                len(first), len(first), len(first), float((first == self.says).float().mean()), measure="top-1"
            )
        if classes is not None:
            said = [self._renumbered(found, classes) for found in said]
        return _compared(self.says, said, batch_probiou if self._rotated else partial(box_iou, eps=0), self.seen)

    @torch.inference_mode()
    def _said_by(self, model: nn.Module) -> list[torch.Tensor] | torch.Tensor:
        """Return each image's detections (M, 6): xyxy, score, class (rotated: xywhr in place of xyxy); or N classes."""
        device, found = next(model.parameters()).device, []
        end2end, count = bool(getattr(model, "end2end", False)), len(getattr(model, "names", ())) or 0
        for part in self.images.split(self.batch):
            part = part.to(device).float() / (255 if part.dtype == torch.uint8 else 1)
            said = model(part)
            while not isinstance(said, torch.Tensor):  # detections come first, before prototypes and raw predictions
                said = said["one2one" if isinstance(said, dict) else 0]
            if self.classifies:
                found.append(said.argmax(1).cpu())
                continue
            kept = non_max_suppression(
                said, LEAST_CONF, NMS_IOU, multi_label=True, nc=count, rotated=self._rotated, end2end=end2end,
                max_time_img=10,
            )  # fmt: skip
            found += [self._plain(one.float().cpu()) for one in kept]
        return torch.cat(found) if self.classifies else found

    @staticmethod
    def _renumbered(found: torch.Tensor, classes: dict[int, int]) -> torch.Tensor:
        numbers = [classes.get(int(number), -1) for number in found[:, -1]]
        return torch.cat([found[:, :-1], torch.tensor(numbers, dtype=found.dtype)[:, None]], 1)

    def _plain(self, found: torch.Tensor) -> torch.Tensor:
        """Return boxes, score and class alone, of rotated boxes the angle behind the box."""
        return torch.cat([found[:, :4], found[:, -1:], found[:, 4:6]], 1) if self._rotated else found[:, :6]


def _compared(truths: Iterable[torch.Tensor], said: Iterable[torch.Tensor], iou: Callable, seen: int) -> Agreement:
    """Compare detections (M, 4 or 5 + 2) image by image."""
    hits, scores, classes, wanted = [], [], [], []
    found_at, flipped, own = [], 0, [0, 0]
    for truth, found in zip(truths, said):
        truth = truth[truth[:, -2] >= TRUE_CONF]
        overlap = iou(truth[:, :-2], found[:, :-2]).nan_to_num()
        hits.append(_hits(overlap, truth[:, -1], found[:, -1], THRESHOLDS))
        scores.append(found[:, -2].numpy())
        classes.append(found[:, -1].numpy())
        wanted.append(truth[:, -1].numpy())
        sure = found[:, -2] >= TRUE_CONF
        overlap, said_classes = overlap[:, sure], found[sure, -1]
        matched = np.stack([_matched(overlap, truth[:, -1], said_classes, at) for at in SHOWN_IOUS], 1)
        found_at.append(np.column_stack([truth[:, -2].numpy(), matched]))
        near = overlap >= SHOWN_IOUS[0]
        flipped += int((near.any(1) & ~(near & (truth[:, -1:] == said_classes)).any(1)).sum())
        own = [own[0] + len(said_classes), own[1] + int(matched[:, 0].sum())]
    hits, scores, classes, wanted = map(np.concatenate, (hits, scores, classes, wanted))
    rows = np.concatenate(found_at)
    average = (
        ap_per_class(hits, scores, classes, wanted, names={})[5] if len(wanted) and len(scores) else np.zeros((0, 10))
    )
    bands = []
    for low, high in zip(BANDS, BANDS[1:]):
        within = rows[(rows[:, 0] >= low) & ((rows[:, 0] < high) | (high == BANDS[-1])), 1:]
        bands.append(Band(low, high, len(within), tuple(within.mean(0).tolist()) if len(within) else ()))
    return Agreement(
        len(found_at),
        seen,
        len(rows),
        float(average.mean()) if average.size else 0.0,
        tuple(rows[:, 1:].mean(0).tolist()) if len(rows) else (0.0,) * len(SHOWN_IOUS),
        flipped / max(len(rows), 1),
        1 - own[1] / own[0] if own[0] else 0.0,
        tuple(bands),
    )


def _hits(overlap: torch.Tensor, wanted: torch.Tensor, said: torch.Tensor, thresholds: torch.Tensor) -> np.ndarray:
    """Return (M, thresholds): which of M detections are right, as Ultralytics matches them with N truths."""
    if not len(wanted) or not len(said):
        return np.zeros((len(said), len(thresholds)), bool)
    matcher = SimpleNamespace(iouv=thresholds)
    return BaseValidator.match_predictions(matcher, said, wanted, overlap.clone()).numpy()


def _matched(overlap: torch.Tensor, wanted: torch.Tensor, said: torch.Tensor, iou: float) -> np.ndarray:
    """Return which of N truths have a detection of their class at this IoU, matched one to one."""
    of_truths = _hits(overlap.T, said, wanted, torch.tensor([iou]))
    return of_truths[:, 0]
