"""Find nodes and their parents: Ultralytics' detections without twins, and the rule of `relation` on what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import nn

from relation import Relations, check_mode, distinct_nodes, read_relations
from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT, get_cfg
from ultralytics.data.utils import exif_size
from ultralytics.utils.files import increment_path

from ..errors import InputError, translated
from ..inputs.images import check_sides
from ..inputs.sources import class_numbers
from ..kinds import input_channels
from ..measuring.detections import boxes_of

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

# Ultralytics opens all images of a list at once and takes them as one batch, padded to squares where shapes differ.
AT_ONCE = 16
CHANNELS = ((), (1,), (3,), (4,))  # of what can be drawn on: grey, BGR, BGRA
NODES = {"iou": 0.4, "verbose": False}  # less overlap than Ultralytics' own: keeps more relations, docs/relations.md


def read_detection(given: Mapping[str, Any], mode: str, names: Mapping[int, str]) -> dict[str, Any]:
    """Return arguments of Ultralytics' `predict`, classes as numbers.

    Args:
        given: Arguments, in which `classes` may be names.
        mode: How parents will be found, see `relation.read_relations`.
        names: The model's classes, by number.

    Raises:
        SlimError: An argument, a class or the mode would be refused later.
    """
    with translated(ValueError):
        check_mode(mode)
    settings = dict(given)
    check_sides(settings.get("imgsz"))
    if "classes" in given:
        settings["classes"] = class_numbers(given["classes"], names)
    with translated():
        get_cfg(overrides={key: value for key, value in settings.items() if key in DEFAULT_CFG_DICT})
    return settings


def detect_nodes(model: YOLO, source: Any, settings: Mapping[str, Any]) -> Iterator[Results]:
    """Yield Ultralytics' result for each image or frame, without the boxes of nodes that have a better one.

    Args:
        model: The model.
        source: Anything that Ultralytics predicts on.
        settings: Arguments of `predict`, as `read_detection` returns them.
    """
    settings = {**NODES, **settings}
    of_list = isinstance(source, (list, tuple)) and len(source) > 0
    with translated():
        found = _detect_in_list(model, source, settings) if of_list else model.predict(source, stream=True, **settings)
        for result in found:
            boxes, scores = corners_of(result), boxes_of(result).conf.cpu().numpy()
            whole = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))  # YOLO26 may predict a box inside out
            yield result[whole[distinct_nodes(boxes[whole], scores[whole])]]


def _detect_in_list(model: YOLO, images: Sequence[Any], settings: dict[str, Any]) -> Iterator[Results]:
    """Yield Ultralytics' result for each image of a list, a few at a time; those without a name are numbered."""
    net = model.model  # a path, of an exported model
    alone = isinstance(net, nn.Module) and input_channels(net) not in (1, 3)  # of files in lists Ultralytics reads 3
    at_once = 1 if alone else AT_ONCE
    if len(images) > at_once and not alone:
        settings["rect"] = settings.get("rect", True) and len({_shape(image) for image in images}) == 1
    for start in range(0, len(images), at_once):
        part = images[start : start + at_once]
        results = model.predict(part[0] if alone else part, stream=True, **settings)
        for number, (result, image) in enumerate(zip(results, part), start):
            if not _name(image):
                result.path = f"image{number}.jpg"  # as Ultralytics calls it, which counts within a part
            yield result


def _name(image: Any) -> str:
    """Return what a result of this image of a list is called by; '' for arrays, and for what is at an address."""
    if isinstance(image, (str, Path)):
        return "" if _is_address(image) else str(image)
    return getattr(image, "filename", "")


def _is_address(image: Any) -> bool:
    return "://" in str(image)


def _shape(image: Any) -> tuple[int, ...]:
    """Return (height, width) of an image that is given as a path, an array or a picture; of an address nothing."""
    if isinstance(image, (str, Path)):
        if _is_address(image):
            return ()
        with Image.open(image) as opened:
            return exif_size(opened)[::-1]
    return image.size[::-1] if isinstance(image, Image.Image) else tuple(image.shape[:2])


def nodes_of(result: Results, mode: str) -> tuple[np.ndarray, Relations]:
    """Return boxes (N, 4) xyxy in pixels and the relations of N nodes of an Ultralytics result.

    Raises:
        InputError: The mode looks at lines, and the image has other channels than a picture's.
    """
    boxes, picture = corners_of(result), picture_of(result)
    if mode == "connectors" and picture is None:
        raise InputError(
            f"{result.path}: mode=connectors follows lines in pictures of 1, 3 or 4 channels, this image has "
            f"{result.orig_img.shape[2]}; give mode=auto, layout or containment"
        )
    return boxes, read_relations(boxes, mode, picture)


def corners_of(result: Results) -> np.ndarray:
    """Return (N, 4) boxes xyxy in pixels; Ultralytics lets those around rotated boxes reach out of the picture."""
    return boxes_of(result).xyxy.cpu().numpy().clip(0, np.tile(result.orig_shape[::-1], 2))


def picture_of(result: Results) -> np.ndarray | None:
    """Return the picture of a result, in which strokes can be followed; None of other channels than a picture's."""
    return shown_of(result) if result.orig_img.shape[2:] in CHANNELS else None


def shown_of(result: Results) -> np.ndarray:
    """Return what can be drawn on: a result's image as uint8, of channels that are no picture's the first."""
    image = result.orig_img
    if image.dtype == np.uint16 and image.max(initial=0) > 255:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:  # an array that was given so: in 0..1 or 0..255
        image = (image * (255.0 if image.max() <= 1 else 1.0)).clip(0, 255).astype(np.uint8)
    return image if image.shape[2:] in CHANNELS else image[..., : 3 if image.shape[2] > 3 else 1]


def result_folder(save_dir: str | Path | None, command: str) -> Path:
    """Return the folder of what is saved: as given, or runs/slim/COMMAND, numbered."""
    return Path(save_dir) if save_dir else increment_path(Path("runs/slim", command))
