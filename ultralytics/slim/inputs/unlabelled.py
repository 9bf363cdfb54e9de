"""Unlabelled images: from a folder, a file, a data set's YAML, a list, or a tensor, to batches that a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.data.augment import CenterCrop, LetterBox
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.utils import LOGGER
from ultralytics.utils.patches import imread

from ..errors import DATA_ERRORS, InputError, MissingFileError, translated
from ..hints import few
from .data import anchor, as_yaml, is_data_set
from .images import find_unreadable, list_images
from .places import find_file

MOST = 256  # images: for scores and repairs more change next to nothing


def load_images(source: Any, imgsz: int, channels: int = 3, limit: int = MOST, cover: bool = False) -> torch.Tensor:
    """Return up to `limit` images, evenly picked, letterboxed to a square: (N, C, imgsz, imgsz), float32, RGB, 0..1.

    Args:
        source: A folder (searched below too), an image file, a text file of paths, a data set's YAML, NDJSON or
            archive (its training images), a list of these or of BGR arrays (H, W, 3), uint8, an array (N, H, W, 3) of
            such, or a ready tensor (N, C, H, W) in 0..1, or uint8 in 0..255.
        imgsz: Side in pixels.
        channels: 3, or 1 for grey; of others only a tensor is taken.
        limit: Most images to use.
        cover: Cut out the middle, as for a classifier.

    Raises:
        MissingFileError: If there is no such file or folder.
        InputError: If no image is found, or one cannot be read, or a tensor or an array is of another kind.
    """
    if isinstance(source, torch.Tensor):
        if source.dim() != 4 or source.shape[1] != channels or not len(source):
            raise InputError(
                f"images should be a tensor (N, {channels}, H, W) with values 0..1, got shape {tuple(source.shape)}"
            )
        images = spread(source, limit).cpu()
        return images.float() / (255 if images.dtype == torch.uint8 else 1)
    if channels not in (1, 3):
        raise InputError(f"the model reads {channels} channels: give images= as a tensor (N, {channels}, H, W)")
    items = without_unreadable(spread(given_images(source), limit))
    return torch.stack([read_square(item, imgsz, channels, cover).float() / 255 for item in items])


def spread(items: Any, limit: int) -> Any:
    """Return at most `limit` items of a list or of a tensor's first dimension, evenly spread."""
    if len(items) <= limit:
        return items
    index = np.linspace(0, len(items) - 1, limit).astype(int).tolist()
    return items[index] if isinstance(items, torch.Tensor) else [items[i] for i in index]


def given_images(source: Any, key: str = "images") -> list:
    """Return the paths or arrays (H, W, 3) that a source of images stands for, see `load_images`; each path once.

    Args:
        source: What was given.
        key: The argument that it was given as, for messages.

    Raises:
        MissingFileError: If there is no such file or folder.
        InputError: If no image is found, or an array is none.
    """
    if isinstance(source, np.ndarray) and source.ndim == 4:
        source = list(source)
    if isinstance(source, (list, tuple)):
        items = [item for part in source for item in ([part] if _is_image(part) else given_images(part, key))]
        for item in items:
            _check_image(item, key)
        items = list({Path(item) if isinstance(item, (str, Path)) else id(item): item for item in items}.values())
    elif not isinstance(source, (str, Path)):
        raise InputError(f"{key}: expected a folder, a data set's YAML, or a list, got {type(source).__name__}")
    elif is_data_set(source):
        yaml = Path(as_yaml(find_file(source) or source))
        with translated(*DATA_ERRORS):
            found = check_det_dataset(anchor(yaml) if yaml.is_file() else str(yaml))
        if not found["train"]:
            raise InputError(f"{key}={source}: its 'train:' is empty; give a folder of images, or their data set")
        items = list_images(found["train"])
    elif Path(source).suffix[1:].lower() in IMG_FORMATS and Path(source).is_file():
        items = [source]
    else:
        with _told_as(key):
            items = list_images(str(source))
    if not items:
        raise InputError(f"{key}: found none in {source!r}; give a folder, a data set's YAML, or a list")
    return items


@contextmanager
def _told_as(key: str) -> Iterator[None]:
    try:
        yield
    except MissingFileError as error:
        raise MissingFileError(f"{key}: {error}") from None


def _is_image(item: Any) -> bool:
    return not isinstance(item, (str, Path)) or Path(item).suffix[1:].lower() in IMG_FORMATS


def _check_image(item: Any, key: str) -> None:
    """Raise InputError unless this is a path or a BGR array (H, W, 3), uint8."""
    is_array = isinstance(item, np.ndarray)
    if isinstance(item, (str, Path)) or (is_array and item.shape[2:] == (3,) and item.dtype == np.uint8):
        return
    got = f"an array {item.shape}, {item.dtype}" if is_array else type(item).__name__
    raise InputError(f"{key}: expected paths, or BGR arrays (H, W, 3), uint8, as cv2.imread reads them; got {got}")


def readable_images(source: Any, tell: bool = True, key: str = "images") -> list:
    """Return what `given_images` does, without those that cannot be read, which a warning names if it is to `tell`.

    Raises:
        InputError: None can be read.
    """
    return without_unreadable(given_images(source, key), tell, key)


def without_unreadable(items: list, tell: bool = True, key: str = "images") -> list:
    """Return those of `given_images` that can be read; of the others a warning names some if it is to `tell`.

    Raises:
        InputError: None can be read.
    """
    bad = find_unreadable([Path(item) for item in items if isinstance(item, (str, Path))])
    if not bad:
        return items
    listed = few(list(bad.values()))
    if len(bad) == len(items):
        raise InputError(f"{key}: none of {len(items)} images can be read, for example {listed}")
    if tell:
        LOGGER.warning(f"{key}: {len(bad)} of {len(items)} cannot be read and are left out: {listed}")
    return [item for item in items if not (isinstance(item, (str, Path)) and Path(item) in bad)]


def read_square(item: Any, imgsz: int | tuple[int, int], channels: int, cover: bool = False) -> torch.Tensor:
    """Return one image, a path or an array (H, W, 3), as a square or of a height and a width: (C, H, W), RGB, uint8.

    It is letterboxed, as for a detector, or with `cover` its middle is cut out, as for a classifier.

    Raises:
        InputError: If it cannot be read.
    """
    pixels = read_pixels(item)
    sides = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    square = CenterCrop(sides)(pixels) if cover else LetterBox(sides, auto=False)(image=pixels)
    return as_tensor(square, channels)


def read_pixels(item: Any) -> np.ndarray:
    """Return one image, a path or an array, as an array (H, W, 3), BGR, uint8.

    Raises:
        InputError: If it cannot be read.
    """
    image = item if isinstance(item, np.ndarray) else imread(str(item))
    if image is None:
        raise InputError(f"images: '{item}' cannot be read as an image")
    return image


def as_tensor(image: np.ndarray, channels: int) -> torch.Tensor:
    """Return an image (H, W, 3), BGR, as a tensor (C, H, W), RGB or grey."""
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if image.shape[-1] == 3 else image
    else:
        image = image[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
