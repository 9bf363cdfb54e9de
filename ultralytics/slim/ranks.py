"""What the ranks of a training that the user launched (torchrun) agree on; upstream leaves it to its own launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from torch import distributed as dist

from ultralytics.utils import RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def count_all(trainer: BaseTrainer) -> None:
    """Make `world_size` that of all machines: upstream counts the devices of this one."""
    if RANK != -1 and "WORLD_SIZE" in os.environ:
        trainer.world_size = int(os.environ["WORLD_SIZE"])


def share_folder(trainer: BaseTrainer) -> None:
    """Give every rank the folder of rank 0.

    Upstream numbers a folder that exists on rank 0 alone (run, run2, …); the others would read an earlier run's files.
    """
    if RANK == -1 or not dist.is_initialized():
        return
    folder = [str(trainer.save_dir)]
    dist.broadcast_object_list(folder, src=0)
    trainer.save_dir = Path(folder[0])
    trainer.wdir = trainer.save_dir / "weights"
    trainer.last, trainer.best = trainer.wdir / "last.pt", trainer.wdir / "best.pt"
    trainer.csv = trainer.save_dir / "results.csv"
