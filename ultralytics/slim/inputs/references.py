"""Check the checkpoints that a run's models are shown beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..errors import InputError, MissingFileError, translated
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
    model = _loaded(original) if original else None
    for path in paths if original else ():
        other = _loaded(path)
        for what, ours, theirs in (
            ("task", model.task, other.task),
            ("classes", sorted(model.names.values()), sorted(other.names.values())),
        ):
            if ours != theirs:
                raise InputError(
                    f"compare={path}: its {what} {_short(theirs)} should be those of {original}, {_short(ours)}; give "
                    f"a "
                    "checkpoint trained on the same data"
                )


def _loaded(path: str | Path) -> nn.Module:
    with translated(Exception):
        return load_checkpoint(str(path))[0]


def _short(value: object) -> str:
    return f"{', '.join(value[:3])}, ... ({len(value)})" if isinstance(value, list) and len(value) > 3 else str(value)
