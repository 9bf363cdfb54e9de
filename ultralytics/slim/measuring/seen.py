"""In how many images a model detects anything: nothing else tells images of another kind."""

from __future__ import annotations

from typing import Any

from torch import nn

from ultralytics.utils import LOGGER

from ..classes import BOX_TASKS, task_of
from ..inputs.unlabelled import load_images
from .agreement import Reference

LOOKED_AT = 32  # images
ENOUGH = 0.5  # of them; less is warned of


def tell_seen(model: nn.Module, source: Any, imgsz: int, channels: int, who: str) -> None:
    """Say in how many images a model detects anything, and warn where that is few; nothing of a model without boxes.

    Args:
        model: In evaluation mode, on any device.
        source: As `load_images` takes it; a few of these images are looked at.
        imgsz: Side of the images in pixels.
        channels: That the model reads.
        who: What the line begins with, such as "prune: the original".
    """
    if task_of(model) not in BOX_TASKS or not hasattr(model.model[-1], "reg_max"):
        return
    images = load_images(source, imgsz, channels, LOOKED_AT)
    try:
        seen = Reference(model, images).seen
    except Exception:  # of a head of the user's own: any kind
        return
    told = f"{who} detects something in {seen} of {len(images)} images"
    if seen >= ENOUGH * len(images):
        LOGGER.info(told)
        return
    LOGGER.warning(
        f"{told} only; of the others nothing can be learned: take images like those that the model is to be used on, "
        "at about its training size"
    )
