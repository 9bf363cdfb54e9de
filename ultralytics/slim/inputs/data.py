"""Find and check what a run is given, so that a bad path or a bad image stops it before the first epoch."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import DATASETS_DIR, checks

from ..classes import BOX_TASKS
from ..compat import YAML, converted_data
from ..errors import DATA_ERRORS, InputError, KindError, MissingFileError, translated
from ..files import write_stand_in
from ..installation import is_fork
from .images import check_images, check_labels, check_rows, list_images
from .places import PROJECT, SHIPPED_DATA, find_file, looked_in, read_yaml

YAMLS = (".yaml", ".yml")
PACKED = (".ndjson", ".zip", ".tar", ".gz", ".tgz")  # forms that Ultralytics makes such a YAML of


def is_data_set(source: object) -> bool:
    """Return whether something names a data set rather than images, by its ending."""
    return isinstance(source, (str, os.PathLike)) and str(source).lower().endswith((*YAMLS, *PACKED))


def find_data(data: str | Path, beside: Path = PROJECT) -> str:
    """Return the path of a data set: as given, beside this project's wrapper, or shipped with Ultralytics.

    Addresses (https:, ul:) stay as they are.
    """
    if isinstance(data, (list, tuple)):
        raise KindError(f"data={data}: one data set is taken at a time; a YAML may list several folders in train:")
    if "://" in str(data):
        return str(data)
    names = [f"{data}{ending}" for ending in ("", *(YAMLS if not Path(data).suffix else ()))]  # coco8 is coco8.yaml
    places = (find_file(name, beside) or checks.check_file(name, hard=False) for name in names)
    found = next(filter(None, places), None)
    if not found and str(data) == SHIPPED_DATA and not is_fork():
        raise MissingFileError(
            f"give data=, a data YAML with train:, val: and names:; the default, {SHIPPED_DATA}, is not in a patched "
            f"checkout"
        )
    if not found:
        raise MissingFileError(
            f"data={data}: no such file in {looked_in(beside)}; give a data YAML with train:, val: and names:"
        )
    return str(found)


def prepare_data(data: str | Path, beside: Path = PROJECT, task: str = "detect") -> str:
    """Find a data set and check what it describes; return the path of the YAML to hand to Ultralytics.

    Whatever Ultralytics trains on will do: a YAML, a folder or an archive with one in it, NDJSON, an address.
    """
    if task not in BOX_TASKS:
        return str(data)  # folders and formats of their own, Ultralytics' to judge
    found = anchor(Path(as_yaml(find_data(data, beside))))
    check_data(found)
    return found


def as_yaml(data: str | Path) -> str:
    """Return the path of the YAML of a data set in whatever form, unpacked, downloaded or converted if need be."""
    path = Path(data)
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return str(data) if path.suffix in YAMLS and "://" not in str(data) else _as_yaml(str(data), stamp)


@lru_cache  # once a process and content
def _as_yaml(data: str, stamp: int) -> str:
    with translated(*DATA_ERRORS, ImportError, KeyError):
        converted = converted_data(data)
        if Path(converted).suffix in YAMLS and "://" not in converted:
            return converted
        found = check_det_dataset(converted)
    yaml = Path(found["yaml_file"])
    if Path(converted).is_dir():
        return str(yaml)
    content = {**read_yaml(yaml), "path": Path(found["path"]).as_posix()}  # an archive counts from where it is unpacked
    return write_stand_in(yaml, "data", lambda partial: YAML.save(partial, content))


def anchor(data: Path) -> str:
    """Return the YAML, or an absolute copy of one whose `path:` holds only seen from the YAML's own folder.

    Ultralytics looks for a relative `path:` in the working directory and in its own datasets folder.
    """
    content = read_yaml(data)
    root, val = content.get("path"), content.get("val")
    vals = val if isinstance(val, list) else [val]
    if not all(isinstance(item, str) for item in (root, *vals)) or Path(root).is_absolute():
        return str(data)
    if any(_holds(folder / root, vals) for folder in (Path(), DATASETS_DIR)) or not _holds(data.parent / root, vals):
        return str(data)
    content["path"] = (data.parent / root).resolve().as_posix()
    return write_stand_in(data, "data", lambda partial: YAML.save(partial, content))


def _holds(root: Path, names: list[str]) -> bool:
    return all((root / name).exists() for name in names)


def check_data(data: str | Path) -> dict:
    """Read a data set, draw or download what it describes where that is missing, and check images and labels.

    Returns:
        Ultralytics' dictionary of the data set, paths absolute.

    Raises:
        SyntaxError: A required key is missing.
        MissingFileError: No images, or no label file for any of them.
        InputError: Images that cannot be read; names them.
    """
    data = as_yaml(data)
    return _check_data(data, Path(data).read_bytes() if Path(data).is_file() else b"")


@lru_cache  # once a process and content: a large data set takes a minute; what failed is looked at again
def _check_data(data: str, content: bytes) -> dict:
    with translated(*DATA_ERRORS):
        found = check_det_dataset(data)
    for split in ("train", "val"):
        if not found[split]:
            raise InputError(f"{data}: '{split}:' is empty; give a folder of images, or a text file of their paths")
        images = list_images(found[split])
        if not images:
            raise MissingFileError(f"{data}: '{split}:' holds no images: {found[split]}")
        check_images(images)
        check_labels(images, split)
        check_rows(images, split, found)
    return found


def relations_folder(data: dict) -> Path | None:
    """Return the data set's root if it holds `images/val` and `plabels/val`, else None."""
    roots = [Path(data["path"])] + [p.parents[1] for p in [Path(str(data["val"]))] if len(p.parents) > 1]
    return next((r for r in roots if (r / "images/val").is_dir() and (r / "plabels/val").is_dir()), None)
