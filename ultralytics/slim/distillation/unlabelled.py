"""Images without labels beside the labelled ones of a training: the teacher alone says what is in them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist
from torch.utils.data import DataLoader, Subset

from ultralytics.utils import LOGGER, RANK

from ..classes import BOX_TASKS
from ..compat import unwrap_model
from ..errors import InputError
from ..logs import PREFIX

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


UNLABELLED = "unlabelled"  # key of a batch in which nothing is labelled


class MixedBatches:
    """A training's loader with batches of unlabelled images spread evenly between the labelled ones.

    An epoch has every labelled image once and every unlabelled one about once; each rank has its share. What an
    unlabelled batch is depends on epoch, rank and seed alone, so that a resumed run goes on with the same. Everything
    else that is asked of a loader is that of the labelled images.

    Args:
        trainer: The training, of a model that finds boxes.
        labelled: Its own loader.
        images: Paths of the unlabelled images.
    """

    def __init__(self, trainer: BaseTrainer, labelled: Any, images: list):
        self.labelled, self.images, self.trainer = labelled, images, trainer
        self.ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self.batch = max(trainer.batch_size // self.ranks, 1)
        self.added = math.ceil(len(images) / (self.batch * self.ranks))

    def __len__(self) -> int:
        return len(self.labelled) + self.added

    def __getattr__(self, name: str) -> Any:
        if name == "labelled":  # not set yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self.labelled, name)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        unlabelled, like, due = iter(self._unlabelled()), None, 0
        for number, batch in enumerate(self.labelled, start=1):
            like = like or dict(batch)  # the trainer changes its own
            yield batch
            while due < self.added * number // len(self.labelled):
                due += 1
                yield _without_labels(next(unlabelled), like)

    def _unlabelled(self) -> DataLoader:
        """Return the unlabelled batches of the trainer's epoch, (N, C, imgsz, imgsz), uint8."""
        from ..inputs.varied import VariedImages  # imports the trainer

        args, count = self.trainer.args, self.added * self.batch * self.ranks
        channels, first = self.trainer.data.get("channels", 3), self.trainer.epoch * count
        samples = VariedImages(self.images, args.imgsz, channels, count, args.seed, first)
        own = Subset(samples, range(max(RANK, 0), count, self.ranks))
        workers, pinned = self.labelled.num_workers, self.trainer.device.type == "cuda"
        return DataLoader(own, self.batch, num_workers=workers, pin_memory=pinned)


def mix_in(trainer: BaseTrainer, source: str | list[str]) -> None:
    """Put unlabelled images between the labelled batches of a training; those that are among the labelled are left out.

    Raises:
        SlimError: No other image can be read, or the model has no boxes that the teacher could tell.
    """
    from ..inputs.unlabelled import readable_images  # imports the trainer

    student = unwrap_model(trainer.model)
    channels = trainer.data.get("channels", 3)
    if trainer.args.task not in BOX_TASKS or not hasattr(student.model[-1], "reg_max"):
        raise InputError(
            f"unlabelled= is for models that predict boxes at anchor points, not for {type(student.model[-1]).__name__}"
            "; recover teaches classifiers without labels"
        )
    if channels not in (1, 3):
        raise InputError(f"unlabelled={source}: the data has {channels} channels; images of 3, or of 1, are read")
    known = {os.path.realpath(path) for path in trainer.train_loader.dataset.im_files}
    images = [path for path in readable_images(source, key="unlabelled") if os.path.realpath(path) not in known]
    if not images:
        raise InputError(f"unlabelled={source}: all images there are training images of the data")
    get_dataloader = trainer.get_dataloader

    def get_mixed(*args, **kwargs) -> Any:
        loader = get_dataloader(*args, **kwargs)
        mode = kwargs.get("mode", args[3] if len(args) > 3 else "train")
        return MixedBatches(trainer, loader, images) if mode == "train" else loader

    trainer.get_dataloader = get_mixed  # the trainer makes its loader anew when it halves the batch
    trainer.train_loader = mixed = MixedBatches(trainer, trainer.train_loader, images)
    LOGGER.info(
        f"{PREFIX}{len(images)} unlabelled images beside {len(mixed.dataset)} labelled ones, {mixed.added} of "
        f"{len(mixed)} batches an epoch: the teacher alone teaches on them"
    )


def _without_labels(images: torch.Tensor, like: dict[str, Any]) -> dict[str, Any]:
    """Return a batch of images with the keys of a labelled one, and nothing in it that is labelled."""
    count, side = len(images), images.shape[-1]
    empty = {key: value[:0] for key, value in like.items() if isinstance(value, torch.Tensor)}
    each = {"im_file": "", "ori_shape": (side, side), "resized_shape": (side, side), "ratio_pad": None}
    batch = {**empty, **{key: [value] * count for key, value in each.items() if key in like}}
    for key in ("masks", "sem_masks"):
        if key in like:
            batch[key] = like[key].new_zeros((count, *like[key].shape[1:]))
    return {**batch, "img": images, UNLABELLED: True}
