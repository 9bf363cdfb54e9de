"""Export a checkpoint in one format: whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.utils import LOGGER

from .. import logs
from ..errors import FailedError, InputError, translated
from ..files import disk_size
from ..inputs.data import check_data, prepare_data
from ..inputs.images import list_images
from ..inputs.weights import open_model, torch_model
from .formats import INT8, check_packages, read_formats

CHECKED = ("images", "conf")  # options of the comparison that follows, which are none of Ultralytics' export
CALIBRATION = 300  # training images that the ranges of int8 are taken from, as many as Ultralytics recommends


def export_model(weights: str | Path, name: str, data: str | None = None, **options) -> Path:
    """Export a checkpoint in one format; the file or folder appears beside it when it is complete.

    Args:
        weights: The checkpoint.
        name: A format of Ultralytics, or that and `-int8`.
        data: Data YAML whose training images int8 takes its ranges from.
        options: Further ones of Ultralytics' `export`.

    Raises:
        MissingPackageError: A package is missing.
        InputError: An unknown format, or int8 without data.
        FailedError: The export failed.
        TypeError: `weights` is an exported file itself.
    """
    (name,) = read_formats(name)
    int8 = name.endswith(INT8) or options.get("quantize") == 8
    check_packages([name.removesuffix(INT8) + INT8 * int8])
    yolo, started = open_model(weights), time.monotonic()
    model = torch_model(yolo, "export")
    source = Path(getattr(yolo, "ckpt_path", None) or weights)
    options = {**_defaults(name, data, int8), **options}
    with tempfile.TemporaryDirectory(prefix=".export-", dir=source.parent) as folder:
        model.pt_path = str(Path(folder, source.name))  # where Ultralytics puts the export
        try:
            with logs.only(), hushed(options["format"] == "ncnn"):
                made = Path(yolo.export(**options))
        except Exception as error:
            raise FailedError(f"{source} could not be exported to {name}: {error}") from error
        path = _place(made, source.parent)
    LOGGER.info(f"{name}: {path}, {disk_size(path) / 1e6:.2f} MB, in {time.monotonic() - started:.0f} s")
    return path


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a SlimError where Ultralytics would refuse one of these options of an export."""
    with translated():
        get_cfg(overrides={key: value for key, value in options.items() if key not in CHECKED})


def _defaults(name: str, data: str | None, int8: bool) -> dict:
    """Return the options of Ultralytics' export that a format implies."""
    options = {"format": name.removesuffix(INT8)}
    if options["format"] == "onnx":
        options["simplify"] = bool(find_spec("onnxslim"))
    if int8 and not data:
        raise InputError(f"format={name}: int8 needs data=, a data YAML with training images to take the ranges from")
    if int8:
        data = prepare_data(data)
        if options["format"] == "openvino":
            import nncf

            nncf.set_log_level(logging.WARNING)  # it names every layer
        count = len(list_images(check_data(data)["train"]))
        options |= {"quantize": 8, "data": data, "split": "train", "fraction": min(1.0, CALIBRATION / count)}
    return options


def _place(made: Path, folder: Path) -> Path:
    """Move a file or folder into `folder`, over an earlier one."""
    target = folder / made.name
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(made, target)
    return target


@contextmanager
def hushed(active: bool) -> Iterator[None]:
    """Keep back what a converter prints past Python, hundreds of lines about its passes; show it where it fails."""
    if not active:
        yield
        return
    with tempfile.TemporaryFile() as said:
        sys.stdout.flush()
        kept = {number: os.dup(number) for number in (1, 2)}
        for number in kept:
            os.dup2(said.fileno(), number)
        failed = True
        try:
            yield
            failed = False
        finally:
            for number, stream in kept.items():
                os.dup2(stream, number)
                os.close(stream)
            if failed:
                said.seek(0)
                LOGGER.error(said.read().decode(errors="replace")[-3000:])
