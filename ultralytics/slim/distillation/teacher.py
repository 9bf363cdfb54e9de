"""The teacher of a training run: how it is handed over, loaded, frozen, and kept for a resumed run."""

from __future__ import annotations

import atexit
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed as dist
from torch import nn

from ultralytics.utils import LOGGER, RANK

from ..compat import YAML, unwrap_model
from ..errors import InputError, MissingFileError
from ..files import copy_whole
from ..loading import load_checkpoint
from ..logs import PREFIX
from ..stored import check_finite, plain_copy
from .taps import FeatureTaps

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

TEMPORARY, IN_MEMORY = "slim-teacher-", "in-memory.pt"  # folder and file of a teacher that was passed as a module
LAYOUT = re.compile(
    r"\b(view|strides?|contiguous)\b", re.IGNORECASE
)  # in what torch says of a block that needs another


def save_temporary(module: nn.Module) -> str:
    """Write a module to a temporary checkpoint (not in the run's folder, which the DDP launcher deletes).

    It has a folder of its own, by which every rank knows it from a file of the user's. It goes with this process at the
    latest: a trainer that fails before it trains has nowhere to remove it.
    """
    path = str(Path(tempfile.mkdtemp(prefix=TEMPORARY), IN_MEMORY))
    atexit.register(remove_temporary, path)
    torch.save({"model": plain_copy(unwrap_model(module)).cpu(), "train_args": {}}, path)
    return path


def is_temporary(path: str | None) -> bool:
    """Return whether the path was made by `save_temporary`, in this process or in the one that started it."""
    folder = Path(path or "").parent
    own_folder = folder.name.startswith(TEMPORARY) and folder.parent == Path(tempfile.gettempdir())
    return own_folder and Path(path).name == IN_MEMORY


def remove_temporary(path: str) -> None:
    """Remove what `save_temporary` made, if it is still there."""
    Path(path).unlink(missing_ok=True)
    with suppress(OSError):  # gone already, or not empty
        Path(path).parent.rmdir()


def require_file(path: str) -> None:
    """Raise MissingFileError unless the teacher's checkpoint exists, InputError where it is an exported model."""
    from ultralytics.engine.exporter import export_formats  # imports the trainer

    takes = "Distillation= takes the path of a checkpoint (.pt), a YOLO object or a module."
    exported = any(path.endswith(end) for end in export_formats()["Suffix"] if end and end != ".pt")
    if exported and Path(path).exists():
        raise InputError(f"teacher '{path}' is an exported model, which has no layers to compare. {takes}")
    if Path(path).is_dir():
        raise MissingFileError(f"teacher '{path}' is a folder. {takes} Give the one in it, such as weights/best.pt.")
    if not Path(path).is_file():
        raise MissingFileError(f"teacher '{path}' does not exist. {takes}")


def keep_temporary(trainer: BaseTrainer) -> None:
    """Move a temporary teacher into the run's folder, where a resumed run finds it, and say so in args.yaml.

    The ranks of Ultralytics' own launcher were given one file; those of a script of the user's made one each.
    """
    source = getattr(trainer.args, "Distillation", None)
    if not is_temporary(source):
        return
    kept = trainer.wdir / "teacher.pt"
    if RANK in {-1, 0}:
        copy_whole(source, kept)
    if RANK != -1:
        dist.barrier()
    remove_temporary(source)
    trainer.args.Distillation = str(kept)
    if RANK in {-1, 0}:
        YAML.save(trainer.save_dir / "args.yaml", vars(trainer.args))


def load(path: str, student: nn.Module) -> nn.Module:
    """Return the teacher in evaluation mode, on the CPU.

    Raises:
        MissingFileError: If the file is missing.
        InputError: If teacher and student read images of different numbers of channels, or the teacher is broken.
    """
    require_file(path)
    teacher, _ = load_checkpoint(path)
    check_finite(teacher, f"the teacher '{path}'")
    channels = [getattr(m, "yaml", {}).get("channels", 3) for m in (student, teacher)]  # a module may have no yaml
    if channels[0] != channels[1]:
        raise InputError(f"the student takes images of {channels[0]} channels, the teacher '{path}' of {channels[1]}")
    return teacher


def freeze(teacher: nn.Module, device: torch.device, channels_last: bool, keep_head: bool) -> nn.Module:
    """Return the teacher on the device, fused, without gradients.

    Args:
        keep_head: Leave a head with two branches whole: fusing drops the one that is trained densely.
    """
    teacher = teacher.to(device).eval().requires_grad_(False)  # first: older releases fuse with a graph
    two_branches = getattr(teacher.model[-1], "one2one_cv2", None) is not None
    if hasattr(teacher, "fuse") and not (keep_head and two_branches):
        teacher = teacher.fuse(verbose=False)
    if channels_last:
        teacher = teacher.to(memory_format=torch.channels_last)
    return teacher.requires_grad_(False)


def features(taps: FeatureTaps, images: torch.Tensor) -> list:
    """Return the teacher's tapped features of images (N, C, H, W); see `FeatureTaps.run`.

    A block with `view` may not be able to take maps in channels_last: the teacher is then made contiguous, for good.
    """
    try:
        return taps.run(images)
    except RuntimeError as error:
        if not (LAYOUT.search(str(error)) and _is_channels_last(taps.model)):
            raise
        reason = str(error).splitlines()[0]
    LOGGER.info(f"{PREFIX}a block of the teacher cannot take channels_last ({reason}), it goes on contiguous")
    taps.model.to(memory_format=torch.contiguous_format)
    return taps.run(images.contiguous())


def _is_channels_last(model: nn.Module) -> bool:
    return any(p.ndim == 4 and not p.is_contiguous() for p in model.parameters())
