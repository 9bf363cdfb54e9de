"""What differs between the releases of Ultralytics that the patches cover (patches/series.json), in one place.

Names are imported from here where an older release calls them otherwise or has no such thing; functions hide what works
otherwise there. On the release that this fork is pinned to, everything is upstream's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics import utils
from ultralytics.nn import modules
from ultralytics.nn.modules import block
from ultralytics.utils import torch_utils

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class _Absent(nn.Module):
    """Stands for a block that the release does not have: no module is an instance of it."""


A2C2f = getattr(modules, "A2C2f", _Absent)
AAttn = getattr(block, "AAttn", _Absent)
Attention = getattr(block, "Attention", _Absent)
RealNVP = getattr(block, "RealNVP", _Absent)
RepVGGDW = getattr(modules, "RepVGGDW", _Absent)

unwrap_model = getattr(torch_utils, "unwrap_model", None) or torch_utils.de_parallel  # renamed in 8.3.2xx

if hasattr(utils, "YAML"):
    YAML = utils.YAML
else:

    class YAML:
        """Read and write YAML files under the newer name."""

        load = staticmethod(utils.yaml_load)
        save = staticmethod(utils.yaml_save)


def load_checkpoint(
    weight: str | Path, device: Any = None, inplace: bool = True, fuse: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """Return (model, checkpoint) of one file."""
    from ultralytics.nn import tasks  # imports slim

    load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
    return load(weight, device, inplace, fuse)


def converted_data(data: str) -> str:
    """Return the YAML, or the folder, that a data set in NDJSON or on Ultralytics' platform is converted to.

    Others are returned as they are, and so are these where the release takes neither.
    """
    from ultralytics.data import utils as data_utils  # imports slim

    convert = getattr(data_utils, "convert_ndjson_to_yolo_if_needed", None)
    return str(convert(data)) if convert else data


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16 itself; False where torch is too old to say."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def warmup_iterations(trainer: BaseTrainer, batches: int) -> int:
    """Return how many iterations the learning rate rises for, 0 for none; `batches` are those of an epoch."""
    if hasattr(trainer, "_get_warmup_iterations"):
        return trainer._get_warmup_iterations(batches)
    return max(round(trainer.args.warmup_epochs * batches), 100) if trainer.args.warmup_epochs > 0 else 0


def add_loss_items(trainer: BaseTrainer, items: dict[str, torch.Tensor]) -> int | None:
    """Put figures beside the parts of the loss that the progress bar and results.csv show.

    Returns the number of these parts, where they are a tensor, for `hide_loss_items`.
    """
    if isinstance(trainer.loss_items, dict):
        trainer.loss_items = {**trainer.loss_items, **items}
        return None
    own = len(trainer.loss_items)
    names = [name for name in trainer.loss_names if name not in items][:own]
    names += [f"loss_{number}" for number in range(len(names) + 1, own + 1)]  # a fork's trainer may name fewer
    trainer.loss_items = torch.cat([trainer.loss_items, torch.stack(list(items.values()))])
    trainer.loss_names = (*names, *items)
    return own


def hide_loss_items(trainer: BaseTrainer, own: int | None) -> None:
    """Take the figures out again before validation, which adds the parts of its own loss to a tensor of that length."""
    items = getattr(trainer, "loss_items", None)  # set by the first batch
    if own is not None and isinstance(items, torch.Tensor) and len(items) > own:
        trainer.loss_items = items[:own]
