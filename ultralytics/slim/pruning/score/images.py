"""Unlabelled images for the repairs: from a folder, a file, a data set's YAML, a list, or a tensor, to one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.utils.patches import imread

from ...errors import DATA_ERRORS, InputError, translated
from ...inputs.data import as_yaml, is_data_set
from ...inputs.images import list_images
from ..graph.channels import ChannelGraph, input_size

MEMORY = 3 * 10**9  # bytes
MOST = 256  # images: more change next to nothing
LAYERS_ALIVE = 12  # outputs as large as the largest that are alive at once while two networks run a stage


def fit_in_memory(graph: ChannelGraph, model: nn.Module, imgsz: int) -> tuple[int, int]:
    """Return (input channels, most images) so that all images' activations of one stage take about `MEMORY` bytes."""
    _, channels, height, width = input_size(model)
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    widest = max(
        n * shapes[name][0] for name, n in graph.positions.items()
    )  # floats a layer puts out on the traced input
    each = 4 * widest * imgsz**2 / (height * width) * LAYERS_ALIVE
    return channels, int(min(MOST, max(MEMORY // each, 4)))


def load_images(source: Any, imgsz: int, channels: int = 3, limit: int = MOST) -> torch.Tensor:
    """Return up to `limit` images, evenly picked, letterboxed to a square: (N, C, imgsz, imgsz), float32, RGB, 0..1.

    Args:
        source: A folder (searched below too), an image file, a text file of paths, a data set's YAML, NDJSON or
            archive (its training images), a list of paths or of BGR arrays (H, W, 3), or a ready tensor (N, C, H, W)
            in 0..1.
        imgsz: Side in pixels.
        channels: 3, or 1 for grey; of others only a tensor is taken.
        limit: Most images to use.

    Raises:
        MissingFileError: If there is no such file or folder.
        InputError: If no image is found, or one cannot be read, or a tensor has another shape.
    """
    if isinstance(source, torch.Tensor):
        if source.dim() != 4 or source.shape[1] != channels or not len(source):
            raise InputError(
                f"images should be a tensor (N, {channels}, H, W) with values 0..1, got shape {tuple(source.shape)}"
            )
        return _spread(source, limit).float().cpu()
    if channels not in (1, 3):
        raise InputError(f"the model reads {channels} channels: give images= as a tensor (N, {channels}, H, W)")
    items = _spread(_listed(source), limit)
    return torch.stack([_prepared(item, imgsz, channels) for item in items])


def _spread(items: Any, limit: int):
    """Return at most `limit` items, evenly spread."""
    if len(items) <= limit:
        return items
    index = np.linspace(0, len(items) - 1, limit).astype(int).tolist()
    return items[index] if isinstance(items, torch.Tensor) else [items[i] for i in index]


def _listed(source: Any) -> list:
    """Return the paths or arrays that `source` stands for."""
    if isinstance(source, (list, tuple)):
        items = list(source)
    elif is_data_set(source):
        with translated(*DATA_ERRORS):
            found = check_det_dataset(as_yaml(source))
        items = list_images(found["train"])
    elif Path(source).suffix[1:].lower() in IMG_FORMATS and Path(source).is_file():
        items = [source]
    else:
        items = list_images(str(source))
    if not items:
        raise InputError(f"images: found none in {source!r}; give a folder, a data set's YAML, a list or a tensor")
    return items


def _prepared(item: Any, imgsz: int, channels: int) -> torch.Tensor:
    """Return one image as a tensor (C, imgsz, imgsz), RGB, 0..1."""
    image = item if isinstance(item, np.ndarray) else imread(str(item))
    if image is None:
        raise InputError(f"images: '{item}' cannot be read as an image")
    image = LetterBox((imgsz, imgsz), auto=False)(image=image)
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if image.shape[-1] == 3 else image
    else:
        image = image[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
