"""Export a checkpoint in one format: whole or not at all."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ultralytics.cfg import get_cfg
from ultralytics.engine.model import Model
from ultralytics.utils import LOGGER

from .. import logs
from ..classes import BOX_TASKS
from ..compat import half_options, int8_options, onnx_by_torchscript
from ..errors import FailedError, InputError, SlimError, WriteError, translated
from ..files import disk_size, scratch_folder
from ..inputs.class_view import read_set
from ..inputs.data import check_data, is_data_set, prepare_data
from ..inputs.images import list_images
from ..inputs.weights import open_model, torch_model
from ..recovery.recover import recover_model
from .formats import FP16, INT8, check_packages, float_format, read_formats, takes, with_precision
from .int8.quantise import QUANTISERS, quantise
from .int8.ranges import MOST, split_for_ranges

OWN = ("images", "iterations")  # options of ours and of the comparison, which are none of Ultralytics'
PRECISION = ("quantize", "int8", "half")  # what releases call Ultralytics' option
CALIBRATED = (8, "w8a16")  # values of quantize= that take ranges from images


def export_model(
    weights: str | Path,
    name: str,
    data: str | None = None,
    images: Any = None,
    iterations: int = 0,
    folder: str | Path | None = None,
    **options,
) -> Path:
    """Export a checkpoint in one format; the file or folder appears when it is complete.

    Args:
        weights: The checkpoint.
        name: A format of Ultralytics, or that and `-int8` or `-fp16`.
        data: Data YAML whose training images int8 takes its ranges from.
        images: Other images for these, without labels: any source that `load_images` takes but a tensor.
        iterations: Steps of recovery in which the model learns to do with int8 on these images (`recover_model`), where
            no way of quantising it holds; its checkpoint stays as it is.
        folder: Where it goes; beside the checkpoint by default.
        options: Further ones of Ultralytics' `export`; `quantize=8` is Ultralytics' own int8, with ranges from data.

    Raises:
        MissingPackageError: A package is missing.
        InputError: An unknown format, or int8 without images.
        FailedError: The export failed.
        TypeError: `weights` is an exported file itself.
    """
    (name,) = read_formats(name)
    base, int8, half = float_format(name), name.endswith(INT8), name.endswith(FP16)
    check_options({**options, "iterations": iterations}, [name])
    ours, calibrated = is_ours(name, options), is_calibrated(name, options)
    yolo, started = open_model(weights), time.monotonic()
    model = torch_model(yolo, "export")
    source = Path(weights)
    if not source.is_file():  # what Ultralytics found, or downloaded
        source = Path(getattr(yolo, "ckpt_path", None) or weights)
    if int8 and images is None and not data:
        raise InputError(
            f"format={name}: int8 needs data=, a data YAML with training images to take the ranges from, or images="
        )
    check_ranges(name, images, options)
    given = images if images is not None else data or None
    if given is not None and (images is None or calibrated):
        given = prepare_data(given, task=yolo.task)
    from_data = _ranges(base, given, yolo.task) if calibrated and given is not None else {}
    options = {**_defaults(base), **from_data, **options}
    options |= int8_options() if int8 and not ours else half_options() if half else {}
    if ours and images is None and yolo.task == "classify":  # whose data set is a folder of all splits
        given = read_set(given, yolo.task)["train"]
    ranges, judged = split_for_ranges(given) if ours else ([], [])
    beside = Path(folder or source.parent)
    with scratch_folder(beside, ".export-") as scratch:
        model.pt_path = str(scratch / source.name)  # where Ultralytics puts the export
        with _told(source, name):
            made = _converted(yolo, options)
            if ours:
                teach = partial(_taught, yolo, ranges, iterations, options) if iterations else None
                made = quantise(yolo, made, base, ranges, judged, teach)
        path = _place(made, beside, with_precision(made.name, FP16) if half else made.name)
    LOGGER.info(f"{name}: {path}, {disk_size(path) / 1e6:.2f} MB, in {time.monotonic() - started:.0f} s")
    return path


def _converted(yolo: Model, options: dict[str, Any]) -> Path:
    """Return what Ultralytics exports a model to."""
    with logs.only(), hushed(options["format"] == "ncnn"), onnx_by_torchscript():
        return Path(yolo.export(**options))


def _taught(yolo: Model, images: list, iterations: int, options: dict[str, Any], folder: Path, imgsz: int) -> Path:
    """Return the float file, in a folder, of a model that learnt from what it is to do with int8."""
    path = folder / Path(yolo.model.pt_path).name
    how = {"int8": True, "iterations": iterations, "imgsz": imgsz, "device": options.get("device")}
    with logs.only():  # it tells of a checkpoint that nobody keeps
        done = recover_model(yolo, yolo, images, path, **how)
    LOGGER.info(
        f"no way of quantising holds; in {done.steps} steps with int8's rounding the model's agreement with itself, "
        f"{done.after.measure}, went from {done.before.value:.4f} to {done.after.value:.4f}"
    )
    return _converted(open_model(path), options)


@contextmanager
def _told(source: Path, name: str) -> Iterator[None]:
    """Tell what failed; of a SlimError its own words."""
    try:
        yield
    except SlimError:
        raise
    except Exception as error:  # of a converter: any kind
        raise FailedError(f"{source} could not be exported to {name}: {error}") from error


def is_ours(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether a format is int8 that is made here; Ultralytics' own takes its ranges at one size alone."""
    return name.endswith(INT8) and float_format(name) in QUANTISERS and not options.get("dynamic")


def check_iterations(iterations: Any, names: Iterable[str], options: Mapping[str, Any]) -> None:
    """Raise InputError for no number of steps, or where models would learn to do with int8 in none of these formats."""
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise InputError(f"iterations={iterations}: expected a whole number from 0")
    if iterations and not any(is_ours(name, options) for name in names):
        listed = " and ".join(name + INT8 for name in QUANTISERS)
        raise InputError(
            f"iterations={iterations} lets a model learn to do with int8, in {listed} of a fixed size; "
            f"format={','.join(names)} is no such export: add one, or leave iterations out"
        )


def check_options(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise a SlimError where an export with these options would be refused, by us or Ultralytics, or lacks a package.

    Formats by Ultralytics' own int8 option need what their names with `-int8` do.
    """
    check_iterations(options.get("iterations", 0), names, options)
    twice = [key for key in PRECISION if options.get(key)]
    for name in names:
        if twice and float_format(name) != name:
            raise InputError(
                f"format={name} names its precision: leave {twice[0]}= out, or give format={float_format(name)} with it"
            )
    _read(options)
    check_packages([float_format(name) + INT8 if is_calibrated(name, options) else name for name in names])


def _read(options: Mapping[str, Any]) -> SimpleNamespace:
    """Return Ultralytics' settings with these options in them."""
    with translated(), logs.only(logging.ERROR):  # of an old option Ultralytics' export warns itself
        return get_cfg(overrides={key: value for key, value in options.items() if key not in OWN})


def is_calibrated(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether Ultralytics makes this export in int8, asked by the name of the format or by its own option."""
    if name.endswith(INT8):
        return not is_ours(name, options)
    settings = _read(options)
    return getattr(settings, "int8", False) or getattr(settings, "quantize", None) in CALIBRATED


def _defaults(name: str) -> dict:
    """Return the options of Ultralytics' export that a format implies."""
    options = {"format": name}
    if name == "onnx":
        options["simplify"] = bool(find_spec("onnxslim"))
    return options


def check_ranges(name: str, given: Any, options: Mapping[str, Any]) -> None:
    """Raise InputError where Ultralytics' own int8 is to take its ranges from images that are no data set."""
    if given is not None and is_calibrated(name, options) and not is_data_set(given):
        kind = " of a dynamic size" if options.get("dynamic") else ""
        raise InputError(
            f"format={name}{kind} takes its ranges from data=, the YAML of a data set, and not from images="
        )


def _ranges(name: str, given: Any, task: str) -> dict[str, Any]:
    """Return the options by which Ultralytics' own int8 takes its ranges from training images."""
    if name == "openvino":
        import nncf  # noqa: F401 (sets its level)

        logging.getLogger("nncf").setLevel(logging.WARNING)  # it names every layer
    if not takes(name, "data"):
        return {}
    count = len(list_images(check_data(given)["train"])) if task in BOX_TASKS else MOST
    share = {"fraction": min(1.0, MOST / count)} if takes(name, "fraction") else {}
    return {"data": given, "split": "train", **share}


def _place(made: Path, folder: Path, name: str) -> Path:
    """Move a file or folder into `folder` under a name, over an earlier one, which goes with the folder of `made`."""
    target, earlier = folder / name, made.with_name(".earlier")
    if made.is_file() and target.is_dir() and not target.is_symlink():
        raise WriteError(f"{target} is a folder, and the export is a file of that name; move the folder away first")
    try:
        if made.is_dir() and os.path.lexists(target):  # what a folder cannot be renamed over
            os.replace(target, earlier)
        os.replace(made, target)
    except BaseException:
        if os.path.lexists(earlier):
            os.replace(earlier, target)
        raise
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
