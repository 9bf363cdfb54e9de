"""A teacher that sees larger images than its student: one loader, two sizes, and maps brought to one grid.

The training images are loaded at the teacher's size, so that it sees real detail; the student gets them scaled down.
Source of the idea: Qi et al., Multi-Scale Aligned Distillation for Low-Resolution Detection, CVPR 2021, section 3.1.
A teacher of a larger stride (P6) sees them with a border where their sides are no multiples of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import distributed as dist

from ultralytics.utils import LOCAL_RANK

from ..classes import BOX_TASKS
from ..errors import InputError

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

TEACHER_IMAGES = "img_teacher"  # key of the batch that holds what the teacher sees
GREY = 114 / 255  # what Ultralytics fills borders with


def load_at(trainer: BaseTrainer, imgsz: int) -> None:
    """Make the trainer load its training images at `imgsz`, and hand the student smaller copies of them.

    After this a preprocessed batch has `img` (N, C, H, W) for the student, as before, and `img_teacher` beside it.
    Boxes are relative to the image, so they hold for both; validation is left alone.

    Raises:
        InputError: If `imgsz` is smaller than the student's, or no multiple of the largest stride.
    """
    size, stride = trainer.args.imgsz, max(int(trainer.stride), 32)
    if imgsz < size or imgsz % stride:
        raise InputError(
            f"distill_imgsz must be at least the student's imgsz={size} and a multiple of the stride {stride}, got "
            f"{imgsz}"
        )
    _build_large(trainer, imgsz)
    _preprocess_both(trainer, stride)
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    path = trainer.data["train"]
    trainer.train_loader = trainer.get_dataloader(
        path, batch_size=trainer.batch_size // ranks, rank=LOCAL_RANK, mode="train"
    )


def _build_large(trainer: BaseTrainer, imgsz: int) -> None:
    """Wrap `build_dataset`, which the trainer also calls when it halves the batch after running out of memory."""
    build, size = trainer.build_dataset, trainer.args.imgsz

    def build_dataset(img_path: str, mode: str = "train", *args, **kwargs):
        trainer.args.imgsz = imgsz if mode == "train" else size
        try:
            return build(img_path, mode, *args, **kwargs)
        finally:
            trainer.args.imgsz = size

    trainer.build_dataset = build_dataset


def _preprocess_both(trainer: BaseTrainer, stride: int) -> None:
    """Wrap `preprocess_batch`: the large images are kept for the teacher, the student's are scaled down."""
    preprocess, varies = trainer.preprocess_batch, trainer.args.multi_scale and trainer.args.task in BOX_TASKS

    def preprocess_batch(batch: dict[str, Any]) -> dict[str, Any]:
        if varies:  # the student's size is chosen anew for every batch, the teacher's among others
            large = at_one_size({**batch})
            return {**preprocess(batch), TEACHER_IMAGES: large}
        batch = preprocess(batch)
        large = batch["img"]
        return {**batch, "img": _scaled(large, trainer.args.imgsz, stride), TEACHER_IMAGES: large}

    def at_one_size(batch: dict[str, Any]) -> torch.Tensor:
        before, trainer.args.multi_scale = trainer.args.multi_scale, 0.0
        try:
            return preprocess(batch)["img"]
        finally:
            trainer.args.multi_scale = before

    trainer.preprocess_batch = preprocess_batch


def _scaled(images: torch.Tensor, imgsz: int, stride: int) -> torch.Tensor:
    """Return images (N, C, H, W) with the longer side at `imgsz` and both at multiples of the stride."""
    factor = imgsz / max(images.shape[-2:])
    size = [max(round(side * factor / stride), 1) * stride for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="area") if size != list(images.shape[-2:]) else images


def padded(images: torch.Tensor, stride: int) -> torch.Tensor:
    """Return images (N, C, H, W) with grey to the right and below, up to multiples of the stride; as they are if so."""
    height, width = images.shape[-2:]
    right, below = -width % stride, -height % stride
    return F.pad(images, (0, right, 0, below), value=GREY) if right or below else images


def uncovered(maps: torch.Tensor, images: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the part of maps (N, C, H, W) of this stride that lies on the images, and not on their border."""
    height, width = (-(-side // stride) for side in images.shape[-2:])
    return maps[..., :height, :width]


def uncovered_predictions(raw: dict[str, Any], images: torch.Tensor, strides: list[float]) -> dict[str, Any]:
    """Return raw predictions of the anchor points on the images, see `raw_predictions`, of a head of these strides."""
    sides = [level.shape[-2:] for level in raw["feats"]]

    def cut(predictions: torch.Tensor) -> torch.Tensor:
        levels = predictions.split([height * width for height, width in sides], 2)
        maps = [level.unflatten(2, side) for level, side in zip(levels, sides)]
        return torch.cat([uncovered(x, images, int(stride)).flatten(2) for x, stride in zip(maps, strides)], 2)

    feats = [uncovered(level, images, int(stride)) for level, stride in zip(raw["feats"], strides)]
    return {"boxes": cut(raw["boxes"]), "scores": cut(raw["scores"]), "feats": feats}


def to_grid(teacher: list[torch.Tensor], student: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the teacher's maps averaged down to the sizes (H, W) of the student's."""
    return [
        F.adaptive_avg_pool2d(t, s.shape[-2:]) if t.shape[-2:] != s.shape[-2:] else t for s, t in zip(student, teacher)
    ]
