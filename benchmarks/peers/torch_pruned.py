"""Pruning by Torch-Pruning (github.com/VainF/Torch-Pruning), on a YOLOv8 made fit for it by `split_c2f`.

As its authors' example for YOLOv8 has it, every layer gives the same share of its channels, which is its default;
unlike there, only the last convolutions of the head are kept whole, and not all of the head, which has much to give.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.pruning.checkpoint import save_checkpoint
from ultralytics.slim.pruning.repair.refit import inputs_of
from ultralytics.utils.torch_utils import get_flops

from .bisect import nearest
from .split_c2f import split_c2f

ROUND_TO = (8, 4, 2, 1)  # widths are multiples of the first of these with which the goal is met closely enough
CLOSE = 0.02  # share of the goal


def raw_maps(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Return what the branches of the head put out, (N, C, H, W) each: all that the dependencies need to be seen in."""
    kept: list = []
    x = images
    for layer in model.model[:-1]:
        x = layer(inputs_of(layer, x, kept))
        kept.append(x)
    head = model.model[-1]
    return [branch[i](kept[f]) for branch in (head.cv2, head.cv3) for i, f in enumerate(head.f)]


def cut(model: nn.Module, importance: str, ratio: float, imgsz: int, round_to: int) -> nn.Module:
    """Return a pruned copy of a model without chunks.

    Args:
        model (nn.Module): What `split_c2f` returns, float32; not modified.
        importance (str): 'l2' (norms of all weights that a channel touches) or 'bn' (its BatchNorm scales).
        ratio (float): Share of the channels to remove from every layer, in [0, 1).
        imgsz (int): Side of the traced image, pixels.
        round_to (int): Widths become multiples of this.
    """
    import torch_pruning as tp

    model = copy.deepcopy(model).requires_grad_(True)  # it leaves alone what is frozen
    head = model.model[-1]
    whole = [branch[-1] for branches in (head.cv2, head.cv3) for branch in branches] + [head.dfl]
    shared = {"pruning_ratio": ratio, "ignored_layers": whole, "round_to": round_to, "forward_fn": raw_maps}
    images = torch.zeros(1, 3, imgsz, imgsz)
    if importance == "l2":
        pruner = tp.pruner.BasePruner(model, images, tp.importance.GroupMagnitudeImportance(p=2), **shared)
    elif importance == "bn":
        pruner = tp.pruner.BNScalePruner(model, images, tp.importance.BNScaleImportance(), **shared)
    else:
        raise ValueError(f"importance should be 'l2' or 'bn', got {importance!r}")
    pruner.step()
    return model


def prune(start: Path, out: Path, importance: str, share: float, imgsz: int) -> Path:
    """Prune a checkpoint to about this share of its GFLOPs and write the result to `out`."""
    yolo = YOLO(start)
    model = split_c2f(yolo.model.float().eval())
    goal = share * get_flops(model, imgsz)
    for round_to in ROUND_TO:
        make = partial(cut, model, importance, imgsz=imgsz, round_to=round_to)
        pruned = nearest(make, partial(get_flops, imgsz=imgsz), goal, (0.95, 0.0))
        if abs(get_flops(pruned, imgsz) - goal) <= CLOSE * goal:
            break
    save_checkpoint(pruned.eval(), out, {"torch_pruning": importance, "round_to": round_to}, yolo.ckpt)
    return out
