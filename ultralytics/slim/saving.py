"""The checkpoints of a training appear whole or not at all, and last.pt together with the state that belongs to it.

Ultralytics writes over last.pt and best.pt: killed meanwhile, it leaves half a file, and a run that cannot be resumed.
Here everything is written aside and renamed into place, best.pt before last.pt, so that what last.pt says of the best
is there. slim.pt waits beside the older one until last.pt has its name: whichever belongs to last.pt is found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import make_folder, partial_of
from .logs import without
from .resuming import NEXT_STATE, STATE

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

ASIDE = ".saving"  # folder below weights/ of what is being written


def save_whole(trainer: BaseTrainer, save_state: Callable[[Path], object] | None) -> None:
    """Let a trainer's `save_model` write aside, and its files get their names when all of them are whole.

    Args:
        trainer: The trainer; its class's own `save_model` goes on doing the work.
        save_state: Writes what a resumed run needs besides last.pt into the file that it is given; None for nothing.
    """
    save = trainer.save_model

    @wraps(save)
    def save_model(*args: Any, **kwargs: Any) -> Any:
        folder, last, best = trainer.wdir, trainer.last, trainer.best
        aside = folder / ASIDE
        shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
        make_folder(aside)
        trainer.wdir, trainer.last, trainer.best = aside, aside / last.name, aside / best.name
        try:
            saved = save(*args, **kwargs)
            if save_state and trainer.last.is_file():
                save_state(aside / NEXT_STATE)
            made = sorted(path.name for path in aside.iterdir())
            for name in sorted(made, key=lambda name: (name == last.name, name)):  # last.pt last
                os.replace(aside / name, folder / name)
        finally:
            trainer.wdir, trainer.last, trainer.best = folder, last, best
            shutil.rmtree(aside, ignore_errors=True)
        if NEXT_STATE in made:
            os.replace(folder / NEXT_STATE, folder / STATE)
        return saved

    trainer.save_model = save_model


def strip_whole(strip: Callable[..., Any]) -> Callable[..., Any]:
    """Return Ultralytics' `strip_optimizer`, which writes over its file, as one that renames the result into place."""
    if hasattr(strip, "__wrapped__"):
        return strip

    @wraps(strip)
    def strip_optimizer(f: str | Path = "best.pt", s: str | Path = "", *args: Any, **kwargs: Any) -> Any:
        if s:
            return strip(f, s, *args, **kwargs)
        partial = partial_of(Path(f))
        try:
            with without(f" saved as {partial},"):  # the log names the file that stays
                result = strip(f, str(partial), *args, **kwargs)
            if partial.is_file():  # else it was no checkpoint, which is logged
                os.replace(partial, f)
        finally:
            partial.unlink(missing_ok=True)
        return result

    return strip_optimizer
