"""Where a file that is given is looked for, and the YAML that may be in it."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..compat import YAML
from ..errors import InputError
from ..installation import PACKAGE

PROJECT = PACKAGE.parent  # the wrapper, diagram.yaml and weights/ lie here
SHIPPED_DATA = "diagram.yaml"


def find_file(given: str | Path, beside: Path = PROJECT) -> Path | None:
    """Return the file as given, from the working directory or else from the folder `beside`; None if neither has it."""
    path = Path(given)
    with suppress(RuntimeError):  # ~name of a user that is not there: a name like others
        path = path.expanduser()
    try:
        return next((p for p in (path, beside / path) if p.exists()), None)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return None


def absolute(paths: str | list[str]) -> str | list[str]:
    """Return a path, or each of several, from the root and without links."""
    return [absolute(path) for path in paths] if isinstance(paths, list) else str(Path(paths).resolve())


def looked_in(beside: Path = PROJECT) -> str:
    """Return the folders that a file was looked for in."""
    return " or ".join(dict.fromkeys(str(place.resolve()) for place in (Path.cwd(), beside)))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file.

    Raises:
        InputError: It is none, or holds no `key: value` lines.
    """
    try:
        content = YAML.load(path)
    except Exception as error:  # of the reader's own kinds
        raise InputError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):  # older releases do not look
        raise InputError(f"{path}: expected lines of `key: value`, got {type(content).__name__}")
    return content
