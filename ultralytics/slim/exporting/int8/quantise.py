"""Make the int8 file of a model: the first way that holds what the float model says, or the best of all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultralytics.engine.model import Model
from ultralytics.utils import LOGGER

from ... import logs
from ...inputs.unlabelled import spread
from ..formats import INT8, with_precision
from .judge import HELD, HELD_IOU, Judge, Verdict
from .onnx import OnnxQuantiser
from .openvino import OpenVinoQuantiser
from .ranges import MOST, RangeImages

QUANTISERS = {"onnx": OnnxQuantiser, "openvino": OpenVinoQuantiser}


@dataclass(frozen=True)
class Made:
    """An int8 file, how far it holds, and the way it was made."""

    verdict: Verdict
    way: str
    path: Path


def quantise(
    model: Model,
    path: Path,
    name: str,
    ranges: Sequence[Any],
    judged: Sequence[Any],
    teach: Callable[[Path, int], Path] | None = None,
) -> Path:
    """Make an int8 file beside a float one, and return it.

    Args:
        model: What was exported.
        path: The float file or folder that it was exported to.
        name: Its format, a key of `QUANTISERS`.
        ranges: Images to take the ranges from, paths or BGR arrays.
        judged: Others, to judge the ways by.
        teach: Where no way holds, makes the float file anew, of a model that learnt to do with int8: in this folder, on
            images of so many pixels a side.
    """
    batch, channels, *sides = QUANTISERS[name].input_shape(path)
    images = RangeImages(spread(ranges, MOST), (sides[0], sides[1]), channels, batch, model.task == "classify")
    judge = Judge(model, judged, imgsz=sides, device="cpu")
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as folder:
        best = _first_that_holds(name, path, images, judge, Path(folder, "ways"))
        if teach and judge.seen and not best.verdict.holds:
            taught = teach(Path(folder), max(sides))
            made = _first_that_holds(name, taught, images, judge, Path(folder, "taught"))
            best = max(best, replace(made, way=f"after learning, {made.way}"), key=_rank)
        target = path.with_name(with_precision(path.name, INT8))
        os.replace(best.path, target)
    _tell(judge, f"{name}-int8: {best.way}", best.verdict, bool(teach))
    return target


def _first_that_holds(name: str, path: Path, images: RangeImages, judge: Judge, folder: Path) -> Made:
    """Try the ways of a format on a float file, and return the first that holds, or else the best."""
    folder.mkdir()
    with logs.only():
        maker = QUANTISERS[name](path, images, folder)
    tried: list[Made] = []
    for number, recipe in enumerate(maker.recipes):
        made = folder / str(number) / path.name
        made.parent.mkdir()
        with logs.only():
            maker.make(recipe, made)
        tried.append(Made(judge.verdict(made), recipe.name, made))
        if tried[-1].verdict.holds:
            break
    return max(tried, key=_rank)


def _rank(made: Made) -> tuple[bool, float]:
    return made.verdict.holds, made.verdict.mean


def _tell(judge: Judge, what: str, verdict: Verdict, may_learn: bool) -> None:
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
        advice = "" if may_learn else ". With iterations=300 a model learns to do with int8 where no way holds"
        LOGGER.warning(f"{what}, of all ways the best; {told}, which is less than {HELD:.0%}{advice}")
