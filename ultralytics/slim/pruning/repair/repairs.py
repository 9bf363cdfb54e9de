"""What is done to a pruned model before any training, so that it comes closer to the original.

- `fold`: the mean of what was removed is added to what read it (`fold`); needs no images.
- `refit`: the layers that are left are solved for by least squares (`refit`); needs unlabelled images.
- `bn`: BatchNorm statistics are taken anew from the pruned model (`batchnorm`); needs unlabelled images.

In this order, whichever are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER

from ...errors import InputError
from ..graph.channels import ChannelGraph
from .batchnorm import estimate_statistics
from .fold import fold_constants
from .refit import refit

REPAIRS = ("fold", "refit", "bn")
NEEDS_IMAGES = {"refit", "bn"}


def read_repairs(repair: str | tuple[str, ...] | None, has_images: bool) -> tuple[str, ...]:
    """Return the repairs that are asked for, in the order in which they are made.

    Args:
        repair: 'auto' ('refit' with images, 'fold' without: what measured best), names of
            `REPAIRS` as a tuple or with commas between them, or none: None, 'none' or ().
        has_images: Whether there are images to repair with.

    Raises:
        InputError: If a name is unknown, or a repair needs images and there are none.
    """
    if repair == "auto":
        return ("refit",) if has_images else ("fold",)
    names = repair.split(",") if isinstance(repair, str) else repair or ()
    names = [str(name).strip() for name in names if str(name).strip() not in ("", "none")]
    for name in names:
        if name not in REPAIRS:
            raise InputError(f"repair should be 'auto', 'none' or some of {', '.join(REPAIRS)}, got {repair!r}")
        if name in NEEDS_IMAGES and not has_images:
            raise InputError(
                f"repair={name!r} needs images: give images= (a folder, a data set's YAML, a list or a tensor)"
            )
    return tuple(name for name in REPAIRS if name in names)


@dataclass(frozen=True)
class Example:
    """What a re-fit has for an example.

    Attributes:
        model: The original.
        where: Sensitivity (N, positions) of the predictions to each of its layers' outputs.
        names: What it calls each module of the model that is re-fitted.
        norms: The BatchNorm behind each of its convolutions, as `ChannelGraph.norms`.
    """

    model: nn.Module
    where: dict[str, torch.Tensor]
    names: Mapping[str, str]
    norms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, where: dict[str, torch.Tensor], norms: Mapping[str, str]) -> Example:
        """Return the example of a model that lost nothing but channels."""
        return cls(model, where, {name: name for name, _ in model.named_modules()}, norms)


def repair_model(
    repairs: tuple[str, ...],
    model: nn.Module,
    pruned: nn.Module,
    graph: ChannelGraph,
    keep: np.ndarray,
    example: Example,
    batch: torch.Tensor | None,
) -> None:
    """Repair `pruned` in place.

    Args:
        repairs: As `read_repairs` returns them.
        model: The model before pruning; not modified.
        pruned: The sliced model.
        graph: Channels of `model`.
        keep: (labels + 1,) which labels were kept.
        example: What 'refit' takes the outputs from: `model`, or what that was before blocks were taken out.
        batch: Images (N, C, H, W) in 0..1.
    """
    if keep.all():
        return
    if "fold" in repairs:
        fold_constants(model, pruned, graph, keep)
    if "refit" in repairs:
        kept = {example.names[name]: np.flatnonzero(keep[labels]) for name, labels in graph.layers.items()}
        done = refit(example.model, pruned, kept, example.where, example.norms, batch, example.names)
        LOGGER.info(f"prune: re-fitted {done} layers on {len(batch)} images")
    if "bn" in repairs:
        count = estimate_statistics(pruned, batch)
        LOGGER.info(f"prune: statistics of {count} BatchNorms taken anew on {len(batch)} images")
