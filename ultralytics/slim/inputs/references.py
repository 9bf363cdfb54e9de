"""Check the checkpoints that a run's models are shown beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..classes import class_key, names_of
from ..errors import InputError, MissingFileError
from ..loading import load_checkpoint


def check_references(paths: Sequence[str], original: str | Path | None) -> None:
    """Raise unless each checkpoint can be measured beside the original, where that is there: same task, same classes.

    The order of the classes does not matter: everything is measured by name.

    Raises:
        MissingFileError: There is no such file.
        InputError: Another task, or other classes.
    """
    for path in paths:
        if not Path(path).is_file():
            raise MissingFileError(f"compare={path}: no such file; give a checkpoint trained on the same data")
    model = load_checkpoint(original)[0] if original else None
    for path in paths if original else ():
        other = load_checkpoint(path)[0]
        for what, ours, theirs in (
            ("task", model.task, other.task),
            ("classes", _classes(model), _classes(other)),
        ):
            if ours != theirs:
                raise InputError(
                    f"compare={path}: its {what} {_short(theirs)} should be those of {original}, {_short(ours)}; give "
                    "a checkpoint trained on the same data"
                )


def _classes(model: nn.Module) -> list[str]:
    """Return a model's classes as they are compared, see `class_key`."""
    return sorted(map(class_key, names_of(model).values()))


def _short(value: object) -> str:
    return f"{', '.join(value[:3])}, ... ({len(value)})" if isinstance(value, list) and len(value) > 3 else str(value)
