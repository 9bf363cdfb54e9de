"""Predict nodes and their parents, draw them, and save what is asked for as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from relation import visualize_nodes
from ultralytics import YOLO
from ultralytics.utils import LOGGER, TQDM

from ..errors import InputError
from ..inputs.data import check_data
from ..inputs.images import typical_images
from ..inputs.sources import check_source, count_images
from ..inputs.weights import open_model
from .nodes import detect_nodes, nodes_of, read_detection, result_folder, shown_of
from .results import Prediction
from .saver import Saver


def predict_nodes(
    model: YOLO,
    source: Any,
    save_dir: str | Path | None = None,
    mode: str = "auto",
    save: bool = True,
    save_txt: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Prediction]:
    """Check what is given at once; return an iterator over the predictions, each saved when it is fetched.

    Args:
        model: The model.
        source: Anything that Ultralytics predicts on.
        save_dir: Folder of what is saved, by default runs/slim/predict, numbered.
        mode: How parents are found, see `relation.find_parent_nodes`.
        save: Whether to draw.
        save_txt: Whether to write plabels.
        settings: Further arguments of Ultralytics' `predict`.

    Raises:
        SlimError: A source that is not there, an image that cannot be read, a class or an argument that nobody knows.
    """
    check_source(source)
    detection = read_detection(settings or {}, mode, model.names)
    return _predicted(model, source, result_folder(save_dir, "predict"), mode, save, save_txt, detection)


def _predicted(
    model: YOLO, source: Any, folder: Path, mode: str, save: bool, save_txt: bool, detection: dict[str, Any]
) -> Iterator[Prediction]:
    stride = detection.get("vid_stride", 1)
    count, seen, modes, several = count_images(source, stride), Counter(), Counter(), 0
    with Saver(folder, save, save_txt, stride) as saver:
        for result in TQDM(detect_nodes(model, source, detection), total=count, desc="predicting", disable=count == 1):
            boxes, found = nodes_of(result, mode)
            draw = partial(visualize_nodes, shown_of(result), boxes, found.parents, strokes=found.strokes)
            kept = saver.keep(result, found, _is_endless(model), draw)
            yield kept
            seen["image" if kept.frame is None else "frame"] += 1
            modes[found.mode] += 1
            several += len(found.others)
    if not modes:
        raise InputError(f"source={source}: nothing in it could be read")
    saved = f", saved in {folder.resolve()}" if save or save_txt else ""
    taken = ", ".join(f"{mode} {number}" for mode, number in modes.most_common())
    more = f"; at {several} node{'s' * (several != 1)} several parents, of whom the first counts" * bool(several)
    done = " and ".join(f"{number} {what}{'s' * (number != 1)}" for what, number in seen.items())
    LOGGER.info(f"{done}, relations by {taken}{more}{saved}")


def _is_endless(model: YOLO) -> bool:
    """Return whether the model is looking at a camera or another source without end."""
    return getattr(getattr(model.predictor, "dataset", None), "mode", "") == "stream"


def typical_prediction(data: str, weights: str | Path, folder: Path, device: Any) -> Prediction:
    """Return the prediction for a typical image of the validation split, one with many relations where there are any.

    Args:
        data: Data YAML, prepared.
        weights: The checkpoint.
        folder: Where the picture goes, over an earlier one of the same name.
        device: As in Ultralytics.
    """
    model = open_model(weights)
    images = typical_images(check_data(data)["val"], 9)
    parents = [nodes_of(result, "auto")[1].parents for result in detect_nodes(model, images, {"device": device})]
    share = [sum(p >= 0 for p in of_image) / max(len(of_image), 1) for of_image in parents]
    image = images[share.index(max(share))]
    (folder / f"{image.stem}.jpg").unlink(missing_ok=True)  # of the run that is resumed
    return list(predict_nodes(model, str(image), folder, settings={"device": device}))[0]
