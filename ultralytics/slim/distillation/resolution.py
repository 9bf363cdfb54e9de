"""A teacher that sees larger images than its student: one loader, two sizes.

The training images are loaded at the teacher's size, so that it sees real detail; the student gets them scaled down.
Source of the idea: Qi et al., Multi-Scale Aligned Distillation for Low-Resolution Detection, CVPR 2021, section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import distributed as dist

from ultralytics.utils import LOCAL_RANK

from ..errors import InputError

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

TEACHER_IMAGES = "img_teacher"  # key of the batch that holds what the teacher sees


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
    preprocess = trainer.preprocess_batch

    def preprocess_batch(batch: dict[str, Any]) -> dict[str, Any]:
        large = batch["img"].to(trainer.device)
        batch = preprocess(batch)
        if batch["img"].shape[-2:] == large.shape[-2:]:  # multi-scale training has already chosen a size
            batch["img"] = _scaled(batch["img"], trainer.args.imgsz, stride)
        batch[TEACHER_IMAGES] = large.float() / 255
        return batch

    trainer.preprocess_batch = preprocess_batch


def _scaled(images: torch.Tensor, imgsz: int, stride: int) -> torch.Tensor:
    """Return images (N, C, H, W) with the longer side at `imgsz` and both at multiples of the stride."""
    factor = imgsz / max(images.shape[-2:])
    size = [max(round(side * factor / stride), 1) * stride for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="area") if size != list(images.shape[-2:]) else images


def to_grid(teacher: list[torch.Tensor], student: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the teacher's maps averaged down to the sizes (H, W) of the student's."""
    return [
        F.adaptive_avg_pool2d(t, s.shape[-2:]) if t.shape[-2:] != s.shape[-2:] else t for s, t in zip(student, teacher)
    ]
