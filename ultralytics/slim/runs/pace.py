"""How fast a training or a validation goes, timed through Ultralytics' callbacks and cut short when enough is known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultralytics import YOLO

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.engine.validator import BaseValidator

SECONDS, BATCHES = 3.0, 3  # a training, and a validation, is timed for so long at least, and for so many batches


class Enough(Exception):
    """All that was to be timed has been."""


@dataclass
class Pace:
    """Seconds that parts of a training or a validation take.

    Attributes:
        setup: Until the first batch, and what the first batch took longer than the others.
        batch: One training batch, loading included.
        validation: The whole validation split once.
        save: From the end of a validation to the next epoch.
    """

    setup: float = 0.0
    batch: float = 0.0
    validation: float = 0.0
    save: float = 0.0

    @property
    def whole(self) -> float:
        """Seconds of a validation with its set-up."""
        return self.setup + self.validation

    def training(self, epochs: int, batches: int, validate: bool = True) -> float:
        """Return the seconds of a training of so many epochs of so many batches; the best epoch is validated again."""
        validations = epochs + 1 if validate else 2
        return self.setup + epochs * (batches * self.batch + self.save) + validations * self.validation


class Clock:
    """Times a training or a validation through Ultralytics' callbacks, and ends it by `Enough`."""

    EVENTS = (
        "on_train_start", "on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end", "on_fit_epoch_end",
        "on_val_start", "on_val_batch_end", "on_val_end",
    )  # fmt: skip

    def __init__(self):
        self.pace, self.batches, self.val_batches, self.mark = Pace(), [], [], time.perf_counter()

    def time(self, yolo: YOLO, work: Callable[[], object]) -> Pace:
        """Do the work, a training or validation of `yolo`, for a moment; return its pace."""
        for event in self.EVENTS:
            yolo.add_callback(event, getattr(self, event))
        self.mark = time.perf_counter()
        with contextlib.suppress(Enough):
            work()
        first, rest = self.batches[:1], self.batches[1:] or self.batches
        if rest:
            self.pace.batch = sum(rest) / len(rest)
            self.pace.setup += max(0.0, first[0] - self.pace.batch)
        return self.pace

    def _lap(self) -> float:
        """Return the seconds since the last call."""
        now = time.perf_counter()
        self.mark, passed = now, now - self.mark
        return passed

    def on_train_start(self, trainer: BaseTrainer) -> None:
        self.pace.setup = self._lap()

    def on_train_epoch_start(self, trainer: BaseTrainer) -> None:
        self._lap()

    def on_train_batch_end(self, trainer: BaseTrainer) -> None:
        self.batches.append(self._lap())
        trainer.stop = self._is_enough(self.batches)  # Ultralytics then validates, as at the end of an epoch

    def on_train_epoch_end(self, trainer: BaseTrainer) -> None:
        self._lap()

    def on_val_start(self, validator: BaseValidator) -> None:
        self._lap()

    def on_val_batch_end(self, validator: BaseValidator) -> None:
        self.val_batches.append(self._lap())
        if self._is_enough(self.val_batches):
            self.pace.validation = sum(self.val_batches) / len(self.val_batches) * len(validator.dataloader)
            raise Enough

    def on_val_end(self, validator: BaseValidator) -> None:
        self.pace.validation = sum(self.val_batches) + self._lap()

    def on_fit_epoch_end(self, trainer: BaseTrainer) -> None:
        self.pace.save = self._lap()
        raise Enough

    @staticmethod
    def _is_enough(taken: list[float]) -> bool:
        return len(taken) > BATCHES and sum(taken) > SECONDS
