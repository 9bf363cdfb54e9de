"""What a recovery leaves beside its checkpoint until it is finished, so that an interrupted one can be gone on with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import write_whole
from .schedule import Schedule


@dataclass
class Progress(Schedule):
    """How far a recovery has come on its schedule.

    Attributes:
        step: Steps made, of `steps`.
        best_step: Step whose weights are the best so far, 0 for those that it started from.
        stale: Measurements since the agreement last grew.
        peak: Largest agreement measured after the first step: at first it may fall.
        updates: Updates of the averaged weights.
    """

    step: int = 0
    best_step: int = 0
    stale: int = 0
    peak: float = 0.0
    updates: int = 0

    def check(self) -> None:
        """Raise ValueError unless the numbers are possible."""
        counts = {name: value for name, value in asdict(self).items() if name != "peak"}
        if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in counts.values()):
            raise ValueError(f"counts {counts}")
        if not self.best_step <= self.step <= self.steps or not self.steps or not math.isfinite(self.peak):
            raise ValueError(f"step {self.step} of {self.steps}, best {self.best_step}, peak {self.peak}")


def state_file(path: Path) -> Path:
    """Return where an interrupted recovery of a checkpoint keeps what it needs to go on."""
    return path.with_name(f".{path.stem}.recovering.pt")


def save_state(path: Path, key: Mapping[str, Any], progress: Progress, tensors: Mapping[str, Any]) -> None:
    """Write the state of the recovery of a checkpoint.

    Args:
        path: The checkpoint that it will write.
        key: What a recovery that goes on must have in common with this one; plain values.
        progress: How far it has come.
        tensors: State dictionaries by name.
    """
    state = {"key": dict(key), "progress": asdict(progress), **tensors}
    write_whole(state_file(path), lambda partial: torch.save(state, partial))


def load_state(path: Path, key: Mapping[str, Any], device: Any) -> tuple[Progress, dict[str, Any]]:
    """Return progress and state dictionaries of the interrupted recovery of a checkpoint.

    Raises:
        InputError: There is none, it is damaged, or it had another key.
    """
    file = state_file(path)
    if not file.is_file():
        raise InputError(f"resume=True: no interrupted recovery of {path}; leave out resume to start one")
    with damage_told(path):
        state = torch.load(file, map_location=device, weights_only=True)
        known, progress = state["key"], Progress(**state["progress"])
        progress.check()
        if isinstance(known["start"], float):  # a version before wrote the agreement there
            key = {name: value for name, value in key.items() if name != "start"}
        differing = [f"{name}={known[name]} (now {value})" for name, value in key.items() if known[name] != value]
    if differing:
        raise InputError(
            f"the interrupted recovery of {path} had {', '.join(differing)}; give the same, or leave out resume"
        )
    return progress, state


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn whatever the damaged state of a checkpoint's recovery raises into an InputError that names its file."""
    try:
        yield
    except Exception as error:  # of many kinds: the file may be anything
        raise InputError(f"{state_file(path)} is damaged ({error!r:.80}); remove it and start again") from error
