"""Find and check what a run is given, so that a bad path or a bad image stops it before the first epoch."""

from __future__ import annotations

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path

from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import DATASETS_DIR, checks

from ..classes import BOX_TASKS
from ..compat import YAML
from ..errors import InputError, MissingFileError, translated
from ..files import write_whole
from .images import check_images, check_labels, list_images
from .places import PROJECT, find_file, looked_in, read_yaml


def find_data(data: str | Path, beside: Path = PROJECT) -> str:
    """Return the path of a data YAML: as given, beside this project's wrapper, or shipped with Ultralytics."""
    found = find_file(data, beside) or checks.check_file(str(data), hard=False)
    if not found:
        raise MissingFileError(
            f"data={data}: no such file in {looked_in(beside)}; give a data YAML with train:, val: and names:"
        )
    return str(found)


def prepare_data(data: str | Path, beside: Path = PROJECT, task: str = "detect") -> str:
    """Find a data YAML and check what it describes; return the path of the YAML to hand to Ultralytics."""
    if task not in BOX_TASKS:
        return str(data)  # folders and formats of their own, Ultralytics' to judge
    found = anchor(Path(find_data(data, beside)))
    check_data(found)
    return found


def anchor(data: Path) -> str:
    """Return the YAML, or an absolute copy of one whose `path:` holds only seen from the YAML's own folder.

    Ultralytics looks for a relative `path:` in the working directory and in its own datasets folder.
    """
    content = read_yaml(data) if data.suffix in (".yaml", ".yml") else {}
    root, val = content.get("path"), content.get("val")
    vals = val if isinstance(val, list) else [val]
    if not all(isinstance(item, str) for item in (root, *vals)) or Path(root).is_absolute():
        return str(data)
    if any(_holds(folder / root, vals) for folder in (Path(), DATASETS_DIR)) or not _holds(data.parent / root, vals):
        return str(data)
    own = hashlib.sha256(f"{Path.home()} {data.resolve()}".encode()).hexdigest()[:12]  # the folder is everybody's
    copy = Path(tempfile.gettempdir(), f"slim-data-{own}", data.name)
    content["path"] = (data.parent / root).resolve().as_posix()
    return str(write_whole(copy, lambda partial: YAML.save(partial, content)))


def _holds(root: Path, names: list[str]) -> bool:
    return all((root / name).exists() for name in names)


def check_data(data: str | Path) -> dict:
    """Read a data YAML, draw or download what it describes where that is missing, and check images and labels.

    Returns:
        Ultralytics' dictionary of the data set, paths absolute.

    Raises:
        SyntaxError: A required key is missing.
        MissingFileError: No images, or no label file for any of them.
        InputError: Images that cannot be read; names them.
    """
    return _check_data(str(data), Path(data).read_bytes() if Path(data).is_file() else b"")


@lru_cache  # once a process and content: a large data set takes a minute; what failed is looked at again
def _check_data(data: str, content: bytes) -> dict:
    with translated(RuntimeError, SyntaxError, ValueError, AssertionError, OSError):
        found = check_det_dataset(data)
    for split in ("train", "val"):
        if not found[split]:
            raise InputError(f"{data}: '{split}:' is empty; give a folder of images, or a text file of their paths")
        images = list_images(found[split])
        if not images:
            raise MissingFileError(f"{data}: '{split}:' holds no images: {found[split]}")
        check_images(images)
        check_labels(images, split)
    return found


def relations_folder(data: dict) -> Path | None:
    """Return the data set's root if it holds `images/val` and `plabels/val`, else None."""
    roots = [Path(data["path"])] + [p.parents[1] for p in [Path(str(data["val"]))] if len(p.parents) > 1]
    return next((r for r in roots if (r / "images/val").is_dir() and (r / "plabels/val").is_dir()), None)
