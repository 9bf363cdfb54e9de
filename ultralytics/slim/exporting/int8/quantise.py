"""Make the int8 file of a model: the first way that holds what the float model says, or the best of all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.utils import LOGGER

from ... import logs
from .judge import HELD, HELD_IOU, Judge, Verdict
from .onnx import OnnxQuantiser
from .openvino import OpenVinoQuantiser
from .ranges import RangeImages

QUANTISERS = {"onnx": OnnxQuantiser, "openvino": OpenVinoQuantiser}


def quantise(model: YOLO, path: Path, name: str, ranges: Sequence[Any], judged: Sequence[Any]) -> Path:
    """Make an int8 file beside a float one, and return it.

    Args:
        model: What was exported.
        path: The float file or folder that it was exported to.
        name: Its format, a key of `QUANTISERS`.
        ranges: Images to take the ranges from, paths or BGR arrays.
        judged: Others, to judge the ways by.
    """
    batch, channels, *sides = QUANTISERS[name].input_shape(path)
    images = RangeImages(ranges, (sides[0], sides[1]), channels, batch, model.task == "classify")
    judge = Judge(model, judged, imgsz=sides, device="cpu")
    best: tuple[Verdict, str, Path] | None = None
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as folder:
        with logs.only():
            maker = QUANTISERS[name](path, images, Path(folder))
        for number, recipe in enumerate(maker.recipes):
            made = Path(folder, str(number), path.name)
            made.parent.mkdir()
            with logs.only():
                maker.make(recipe, made)
            verdict = judge.verdict(made)
            if best is None or verdict > best[0]:
                best = verdict, recipe.name, made
            if verdict.holds:
                break
        verdict, way, made = best
        target = path.with_name(int8_name(path.name))
        os.replace(made, target)
    _tell(judge, f"{name}-int8: {way}", verdict, len(maker.recipes))
    return target


def _tell(judge: Judge, what: str, verdict: Verdict, ways: int) -> None:
    if not judge.seen:
        LOGGER.warning(
            f"{what}; not judged: the float model detects nothing in {len(judge.images)} images, so nobody knows what "
            "the int8 file still finds. Give images of the kind that it was trained on"
        )
        return
    told = f"{verdict.held:.1%} of the float model's detections held at IoU {HELD_IOU}"
    if judge.task == "classify":
        told = f"the first class is the float model's in {verdict.held:.1%} of {judge.seen} images"
    if verdict.holds:
        LOGGER.info(f"{what}; {told}")
    else:
        LOGGER.warning(f"{what}, of {ways} ways the best; {told}, which is less than {HELD:.0%}")


def int8_name(name: str) -> str:
    """Return the name that Ultralytics gives an int8 file: x_int8.onnx, x_int8_openvino_model."""
    if name.endswith("_openvino_model"):
        return f"{name.removesuffix('_openvino_model')}_int8_openvino_model"
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}_int8{dot}{suffix}"
