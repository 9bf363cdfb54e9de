"""A data set whose labels are what a model finds itself: what others are measured on where nobody labelled anything."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from .. import logs
from ..classes import names_of
from ..compat import YAML
from ..errors import InputError, translated
from ..files import copy_whole, make_folder, write_whole
from ..measuring.agreement import TRUE_CONF
from .images import nothing_seen

NAME = "agreement"  # of the folder and of the YAML in it


def pseudo_data(run: Path) -> Path:
    """Return where the YAML of such a data set is in the folder of a run, whether it is there or not."""
    return run.resolve() / NAME / f"{NAME}.yaml"


def label_by(yolo: YOLO, images: list[Path], folder: Path, imgsz: int, device: Any) -> Path:
    """Copy images into a folder, label them by what a model finds in them, and return the YAML of this data set.

    Its `val` and its `train` are the same images. Labels are the detections at a score of 0.25 in the form of the
    model's task, as Ultralytics' validation finds and writes them: measured on them, the model itself is nearly at 1.

    Args:
        yolo: The model, of a task that finds boxes.
        images: The images.
        folder: Where the data set goes; what is there is made anew.
        imgsz: Side of the images in pixels.
        device: As in Ultralytics.

    Raises:
        InputError: The model finds nothing in any of them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    place, data = make_folder(folder / "images/val"), folder / f"{NAME}.yaml"
    digits = len(str(len(images)))
    for number, image in enumerate(images):  # numbered, as images of several folders may share a name
        copy_whole(image, place / f"{number:0{digits}}-{Path(image).name}")
    content = {"train": "images/val", "val": "images/val", "names": names_of(yolo.model)}
    if shape := getattr(yolo.model, "kpt_shape", None):
        content["kpt_shape"] = list(shape)
    with tempfile.TemporaryDirectory() as found:
        trial = Path(found, "data.yaml")
        YAML.save(trial, {"path": folder.as_posix(), **content})
        settings = {"plots": False, "verbose": False, "workers": 0, "save_txt": True, "conf": TRUE_CONF}
        with translated(), logs.only(logging.ERROR):  # Ultralytics warns that there are no labels
            yolo.val(data=str(trial), imgsz=imgsz, device=device, save_dir=Path(found), **settings)
        labels = make_folder(folder / "labels/val")
        for copy in place.iterdir():
            label = Path(found, "labels", f"{copy.stem}.txt")
            (labels / label.name).write_bytes(label.read_bytes() if label.is_file() else b"")
    (folder / "labels/val.cache").unlink(missing_ok=True)  # of the time before there were any
    if not any(label.stat().st_size for label in labels.iterdir()):
        raise InputError(nothing_seen(len(images)))
    # Without path: it counts from the YAML's own folder, which may be moved.
    return write_whole(data, lambda partial: YAML.save(partial, content))
