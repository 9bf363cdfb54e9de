"""A pruning in several steps: how much is due after each, and the training between them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_num_params

from ..errors import FailedError, InputError
from ..loading import load_checkpoint
from .checkpoint import save_checkpoint


def check_steps(steps: int, retrain: object) -> None:
    """Raise InputError unless there are steps, and more than one where something is to happen between them."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps should be a number of prunings, from 1, got {steps!r}")
    if retrain and steps == 1:
        raise InputError("retraining takes place between the steps of a pruning: give steps=2 or more")


def factor_due(factor: float, done: float) -> float:
    """Return the share of the first model's channels that is gone when this share of the prunings is done.

    What is kept falls geometrically, so that every pruning removes the same share of what it finds: with equal amounts
    the last one, which has the least to spare, would cut the deepest.
    """
    return factor if done == 1 else 1 - (1 - factor) ** done


def retrained(model: nn.Module, retrain: Callable[[Path], object], record: dict, original: dict | None) -> nn.Module:
    """Return the model after `retrain` trained its checkpoint, which lies in a temporary folder, in its place.

    Raises:
        RuntimeError: If it comes back with other widths.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "step.pt")
        save_checkpoint(model, path, record, original)
        LOGGER.info("prune: retraining before the next step")
        retrain(path)
        trained = load_checkpoint(path)[0].float().cpu().eval()
    before, after = (get_num_params(m) for m in (model, trained))
    if before != after:
        raise FailedError(f"retraining between two steps made {after:,} of {before:,} parameters: widths were not kept")
    return trained
