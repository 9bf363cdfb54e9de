"""Where a file that is given is looked for."""

from __future__ import annotations

from pathlib import Path

import ultralytics

PROJECT = Path(next(iter(ultralytics.__path__))).resolve().parent  # the wrapper, diagram.yaml and weights/ lie here


def find_file(given: str | Path, beside: Path = PROJECT) -> Path | None:
    """Return the file as given, from the working directory or else from the folder `beside`; None if neither has it."""
    path = Path(given).expanduser()
    return next((p for p in (path, beside / path) if p.exists()), None)


def looked_in(beside: Path = PROJECT) -> str:
    """Return the folders that a file was looked for in."""
    return " or ".join(dict.fromkeys(str(place.resolve()) for place in (Path.cwd(), beside)))
