"""What a resumed training finds of itself: files beside its checkpoint, and rows of epochs that it will redo."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ultralytics.utils import LOGGER

from .errors import InputError
from .files import fingerprint, write_csv
from .loading import load_checkpoint
from .logs import PREFIX

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

OWN_TEACHER = "teacher.pt"  # the copy of a teacher in memory, beside last.pt
STATE = "slim.pt"  # beside last.pt, which stays a stock checkpoint
NEXT_STATE = "slim.next.pt"  # the same until last.pt is written: after a kill either may be the one that belongs to it


def beside_checkpoint(args: Any, file: str | Path) -> Path | None:
    """Return the file of this name beside the checkpoint that is resumed, None where there is none.

    A run whose folder was moved still names the old place in its arguments.
    """
    beside = Path(str(args.model)).with_name(Path(file).name)
    return beside if beside.is_file() else None


def find_teacher(args: Any) -> None:
    """Let a moved run take its teacher from beside its checkpoint, where the named place is empty.

    Not whatever has its name: a teacher is often called best.pt, as is the student's own checkpoint there.
    """
    teacher = getattr(args, "Distillation", None)
    if teacher and not Path(teacher).is_file() and (found := beside_checkpoint(args, teacher)):
        state = beside_checkpoint(args, STATE)
        known = read_state(state, "cpu").get("teacher_sha256") if state else None
        if known != fingerprint(found) if known else found.name != OWN_TEACHER:
            return
        LOGGER.info(f"{PREFIX}{teacher} is gone, the teacher is taken from {found}")
        args.Distillation = str(found)


def stay_with_checkpoint(args: Any) -> None:
    """Let a training whose folder was moved or copied go on in that folder, not in the one that its arguments name."""
    folder, named = Path(str(args.model)).resolve().parent.parent, getattr(args, "save_dir", None)
    if named and (folder / "args.yaml").is_file() and folder != Path(named).resolve():
        LOGGER.info(f"{PREFIX}going on in {folder}, where the checkpoint lies; it was begun in {named}")
        args.save_dir = str(folder)


def find_state(args: Any, folder: Path, epochs: int) -> Path | None:
    """Return the file with the state that belongs to the checkpoint that is resumed, else any, None if there is none.

    Args:
        args: The trainer's.
        folder: The trainer's own folder of checkpoints, looked into where nothing lies beside the checkpoint.
        epochs: How many epochs are in the checkpoint.
    """
    found = [beside_checkpoint(args, name) or folder / name for name in (STATE, NEXT_STATE)]
    found = [path for path in found if path.is_file()]
    known = {path: read_state(path, "cpu").get("epochs", epochs) for path in found}
    return next((path for path in found if known[path] == epochs), found[0] if found else None)


def read_state(file: Path, device: Any) -> dict[str, Any]:
    """Return what slim.pt holds.

    Raises:
        InputError: It is damaged.
    """
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # of many kinds: the file may be anything
        state = error
    if not isinstance(state, dict):
        held = (
            f"it cannot be read ({state!r:.120})"
            if isinstance(state, Exception)
            else f"it holds a {type(state).__name__}"
        )
        raise InputError(
            f"{file}: expected adapters and γ penalty of the training that is resumed, but {held}; without the file "
            f"both start afresh"
        )
    return state


def epochs_done(trainer: BaseTrainer) -> int:
    """Return how many epochs are in the checkpoint that is resumed."""
    return load_checkpoint(trainer.args.model)[1].get("epoch", -1) + 1


def drop_later_rows(trainer: BaseTrainer) -> None:
    """Take the rows of epochs that will be trained again out of results.csv, and what a full disk left half-written."""
    epochs = trainer.start_epoch
    if not trainer.csv.is_file():
        return
    text = trainer.csv.read_text(encoding="utf-8", errors="replace").replace("\0", "?")  # older csv stops there
    header, *rows = list(csv.reader(text.splitlines())) or [[]]
    kept = [row for row in rows if row and len(row) >= len(header) and _epoch(row[0]) <= epochs]
    if len(kept) < len(rows):
        LOGGER.warning(
            f"{PREFIX}{trainer.args.model} holds {epochs} epochs, {trainer.csv} {len(rows)}: the other rows are dropped"
        )
    if len(kept) < len(rows) or not text.endswith("\n"):  # the next row would be glued to the last
        write_csv(trainer.csv, header, kept)
    if not kept:
        trainer.csv.unlink()  # the trainer begins it anew, with its header


def _epoch(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.inf
