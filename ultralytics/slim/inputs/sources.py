"""Check what is predicted on: paths, patterns, videos, cameras, and the classes that are asked for."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Any

import cv2

from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

from ..errors import InputError, MissingFileError
from .images import check_images


def count_images(source: Any, vid_stride: int = 1) -> int | None:
    """Return how many images and frames of videos a source holds; None for cameras, addresses and lists in files."""
    if not isinstance(source, (str, Path)):
        several = source if isinstance(source, (list, tuple)) else [source]
        counts = [count_images(item, vid_stride) if isinstance(item, (str, Path)) else 1 for item in several]
    else:
        files = _files(source)
        counts = [_frames(file, vid_stride) for file in files] if files else [None]
    return None if None in counts else sum(counts)


def _files(source: str | Path) -> list[Path]:
    """Return the images and videos that Ultralytics reads for a path, a folder (not below it) or a pattern."""
    if _is_stream(source):
        return []
    path = Path(source)
    found = map(Path, sorted(glob(str(source), recursive=True))) if "*" in str(source) else [path]
    found = sorted(path / name for name in glob("*.*", root_dir=path)) if path.is_dir() else found
    return [file for file in found if file.suffix[1:].lower() in IMG_FORMATS | VID_FORMATS]


def _is_stream(source: str | Path) -> bool:
    return str(source).isnumeric() or "://" in str(source) or str(source).split()[:1] == ["screen"]


def _frames(file: Path, vid_stride: int) -> int:
    if file.suffix[1:].lower() in IMG_FORMATS:
        return 1
    return max(0, int(cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) / vid_stride))


def check_source(source: Any) -> None:
    """Raise where a path or pattern of `source` leads nowhere, or to what cannot be read; or a list to no image."""
    images, several = [], isinstance(source, (list, tuple))
    for item in source if several else [source]:
        if not isinstance(item, (str, Path)) or _is_stream(item):
            continue  # arrays, cameras and addresses are Ultralytics' to judge
        files = _files(item)
        if not ("*" in str(item) or Path(item).exists()):
            raise MissingFileError(f"source={item}: no such file or folder")
        if not files and ("*" in str(item) or Path(item).is_dir()):
            raise MissingFileError(
                f"source={item}: no images or videos there; expected files such as .png, .jpg or .mp4"
            )
        if several and (not Path(item).is_file() or Path(item).suffix[1:].lower() in VID_FORMATS):
            raise InputError(f"source={item}: a list holds images alone; give a folder, a pattern or a video by itself")
        images += [Path(item)] if several else [file for file in files if file.suffix[1:].lower() in IMG_FORMATS]
    check_images(images)


def class_numbers(classes: Any, names: dict[int, str]) -> list[int] | None:
    """Return the numbers of classes that are given as numbers, names, a list of either, or names with commas between.

    A class that is called by a number, as digits are, is meant by its own number.

    Raises:
        InputError: The model has no such class.
    """
    if classes is None:
        return None
    items = classes.strip("[]()").split(",") if isinstance(classes, str) else classes
    items = items if isinstance(items, (list, tuple)) else [items]
    known = {name: number for number, name in names.items()} | {str(number): number for number in names}
    wanted = [str(item).strip(" '\"") for item in items]
    if unknown := [item for item in wanted if item not in known]:
        listed = ", ".join(f"{number} {name}" for number, name in names.items())
        raise InputError(f"classes={', '.join(unknown)}: no such class; this model has {listed}")
    return [known[item] for item in wanted]
