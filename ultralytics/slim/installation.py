"""What Ultralytics this is: this project's fork or a checkout that was patched; and whether it is the installed one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import ultralytics
from ultralytics.utils import LOGGER, RANK

PACKAGE = Path(next(iter(ultralytics.__path__))).resolve()
SCRIPT, MODULE = "python prune_model.py", "python -m ultralytics.slim"  # the command line, in the fork and everywhere


def is_fork() -> bool:
    """Return whether this is the project's fork, which has relation.py, the example's data and its weights beside it.

    A checkout of the user's own that was patched has `ultralytics.slim` alone.
    """
    return "+slim" in ultralytics.__version__


def command_line() -> str:
    """Return how the command line is called in this installation."""
    return SCRIPT if is_fork() else MODULE


def tell_mixed(version: str, place: Path) -> str | None:
    """Return what is wrong where this process runs another ultralytics than the one that is installed, else None.

    From a checkout's folder Python imports what lies there, while the `yolo` command, and Python anywhere else,
    run what pip has installed: a stock package that was installed over this fork takes its place there without a word.

    Args:
        version: The version imported.
        place: The folder of the package imported.
    """
    try:
        installed = metadata.distribution("ultralytics")
    except metadata.PackageNotFoundError:
        return None
    if installed.version == version:
        return None
    return (
        f"two packages named ultralytics: this process runs {version} from {place}, but {installed.version} is "
        f"installed "
        f"({Path(str(installed.locate_file(''))).resolve()}), and the yolo command runs that one. To have one, run "
        f"`pip install -e {place.parent}` if that is a checkout of the fork, or `pip uninstall ultralytics`."
    )


def warn_mixed() -> None:
    """Log `tell_mixed` once a process, on the first rank."""
    if RANK in {-1, 0} and (words := tell_mixed(ultralytics.__version__, PACKAGE)):
        LOGGER.warning(words)
