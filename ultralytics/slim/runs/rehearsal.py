"""How long a run would take: every stage is begun for real, for a moment and in a temporary folder, and reckoned up.

What would fail hours later (an export, a layer that the distillation cannot tap, memory) fails here.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.utils import TQDM

from .. import logs
from ..errors import translated
from ..exporting.check import check_exports
from ..inputs.data import check_data, prepare_data
from ..inputs.images import list_images
from ..inputs.unlabelled import given_images, spread, without_unreadable
from ..inputs.weights import open_model
from ..measuring import timing
from ..measuring.runtimes import has_onnx_runtime, onnx_run
from ..measuring.tables import TextTable
from ..promise.search import TRIES
from ..pruning.prune import prune_model
from ..recovery.options import RecoverOptions
from ..recovery.pseudo_data import label_by
from ..recovery.recover import MEASUREMENTS, recover_model
from .pace import Clock, Pace
from .run_settings import RunSettings
from .stages import DISTILL, EXPORT, PRUNE, RECOVER, STAGES, TEACHER, Stage

IMAGES, MOST_IMAGES = 16, 64  # images of the pruning that is tried, and of a real one


@dataclass(frozen=True)
class StageTime:
    """What one stage is expected to take."""

    stage: str
    epochs: int | None
    seconds: float


class Estimate(TextTable):
    """The expected times of a run's stages."""

    header = ("stage", "epochs", "estimate")
    caption = "an estimate, from a moment of each stage on this machine; nothing was started or kept"

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self)

    def cells(self) -> list[tuple[str, ...]]:
        rows = [(s.stage, "" if s.epochs is None else str(s.epochs), in_words(s.seconds)) for s in self]
        return [*rows, ("all", "", in_words(self.seconds))]


def _data(settings: RunSettings, folder: Path) -> str:
    """Return the YAML of the data to measure on: of a run without labels a few images, labelled by the original."""
    if not settings.images:
        return prepare_data(settings.data)
    images = without_unreadable(spread(given_images(settings.images), IMAGES), tell=False)
    return str(label_by(open_model(settings.weights), images, folder / "few", settings.imgsz, settings.device))


def in_words(seconds: float) -> str:
    """Return seconds as "45 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def rehearse(settings: RunSettings) -> Estimate:
    """Try every stage of a run for a moment; return what the whole would take.

    With several devices the first one alone is timed, on its share of the batch.
    """
    hushed = logs.only(logging.ERROR)  # the bar stands in the place of what Ultralytics logs meanwhile
    with tempfile.TemporaryDirectory(prefix="slim-rehearsal-") as folder, hushed:
        attempt = Attempt(settings, _data(settings, Path(folder)), Path(folder))
        works = {stage.name: partial(attempt.stage, stage) for stage in settings.stages}
        if settings.teaching:
            works = {TEACHER.name: attempt.teaching, **works}
        works |= {EXPORT.name: attempt.export, "measuring": attempt.measuring}
        with TQDM(works.items(), total=len(works), desc="rehearsal") as bar:
            seconds = {}
            for name, work in bar:
                bar.set_description(f"rehearsal: {name}")
                seconds[name] = work()
    epochs = {stage.name: training.epochs for stage, training in settings.trainings.items()}
    return Estimate(StageTime(name, epochs.get(name), needed) for name, needed in seconds.items())


class Attempt:
    """The stages of a run, each tried for a moment; methods return the seconds that the whole would take."""

    def __init__(self, settings: RunSettings, data: str, folder: Path):
        self.settings, self.data, self.folder = settings, data, folder
        found = check_data(data)
        self.images = {split: list_images(found[split]) for split in ("train", "val")}
        self.original, self.pruned = settings.weights, str(folder / "pruned.pt")
        self.teacher = settings.teacher or self.original

    def stage(self, stage: Stage) -> float:
        """Try a stage that leaves a checkpoint."""
        if stage is PRUNE:
            return self.pruning()
        if stage is RECOVER:
            return self.recovery()
        arguments = self.settings.trainings[stage].arguments
        weights = self.original if STAGES.index(stage) < STAGES.index(PRUNE) else self.pruned
        if stage is not DISTILL:
            return self._trained(arguments, stage.name, weights)
        teachers = 1 + (self.settings.sparse is not None)  # each is validated before, to choose the better one
        before = teachers * self._validation(self.original).whole
        return before + self._trained({**arguments, "Distillation": self.teacher}, stage.name, weights)

    def _trained(self, arguments: Mapping[str, Any], name: str, weights: str) -> float:
        devices = split_devices(arguments.get("device"))
        place = {"project": str(self.folder), "name": name, "exist_ok": True, "device": devices[0]}
        if len(devices) > 1:
            place["batch"] = max(1, arguments["batch"] // len(devices))
        yolo = open_model(weights)
        with translated():
            pace = Clock().time(yolo, lambda: yolo.train(**{**arguments, **place}))
        batches = math.ceil(len(yolo.trainer.train_loader) / len(devices))
        return pace.training(arguments["epochs"], batches, arguments.get("val", True))

    def pruning(self) -> float:
        """Prune on a few images: the time grows about as their number does. Trainings between steps come on top."""
        pruning = self.settings.prune
        is_default = pruning.options.images == self.settings.all_images
        images = given_images(pruning.options.images) if is_default else []
        few = [str(image) for image in spread(images, IMAGES)]
        options = replace(pruning.options, images=few) if is_default else pruning.options
        seconds = _seconds(lambda: prune_model(open_model(self.original), self.pruned, pruning.factor, options))
        seconds *= min(MOST_IMAGES, len(images)) / len(few) if is_default else 1
        between = self._trained(pruning.between, PRUNE.name, self.pruned) if pruning.between else 0
        return seconds + (pruning.options.steps - 1) * between + self._promise()

    def _promise(self) -> float:
        """Return the time of the recoveries and measurements of a promise, of as many models as are tried at most."""
        promise, o = self.settings.prune.promise, self.settings.prune.options
        if not promise:
            return 0.0
        options = {key: value for key, value in (("imgsz", o.imgsz), ("device", o.device)) if value is not None}
        options["iterations"] = promise.keep_iterations
        return TRIES * (self._recovery(options) + self._validation(self.pruned).whole)

    def teaching(self) -> float:
        """Train the teacher for a moment."""
        return self._trained(self.settings.teaching.arguments, TEACHER.name, self.teacher)

    def recovery(self) -> float:
        """Recover for a moment."""
        return self._recovery(dict(self.settings.recover.options))

    def _recovery(self, options: dict[str, Any]) -> float:
        """Recover in one step and in three; measurements of the agreement are as many validations on top."""
        images = self.images["train"]
        teacher, student = open_model(self.teacher), open_model(self.pruned)

        def steps(count: int) -> float:
            trial = {**options, "iterations": count, "holdout": 1}
            return _seconds(lambda: recover_model(student, teacher, images, self.folder / "recovered.pt", **trial))

        few, more = steps(1), steps(3)
        asked = RecoverOptions(**options)
        step, held = max(0.0, more - few) / 2, asked.holdout / len(images)
        measured = MEASUREMENTS * held * self._validation(self.pruned).whole
        return few + asked.iterations * step + measured

    def export(self) -> float:
        settings = self.settings
        options = {"imgsz": settings.imgsz, "original": self.original, "ranges": settings.images or None}
        options |= {**settings.export.options, "iterations": 0}
        return _seconds(lambda: check_exports(self.pruned, settings.export.format, self.data, **options))

    def measuring(self) -> float:
        """What follows the stages: the relations of two models, the comparison of all, and the report on them.

        The large models were validated before the distillation, and no model is twice. The report exports about
        three models to time them in ONNX Runtime.
        """
        imgsz, runtime = self.settings.imgsz, has_onnx_runtime()
        export = _seconds(lambda: onnx_run(self.pruned, imgsz, self.folder)) if runtime else 0
        large, small = self._validation(self.original), self._validation(self.pruned)
        compared = len(self.settings.stages) - (self.settings.sparse is not None)
        validations = compared * small.whole + large.whole + small.whole
        rounds, count = timing.WARM_UP + timing.default_rounds(), len(self.images["val"])
        timed = [min(timing.SECONDS, rounds * pace.validation / count) for pace in (large, small)]
        latencies = 6 * timed[0] + 5 * timed[1]  # comparison; report, in two runtimes, one of each shape
        return validations + latencies + 3 * export

    def _validation(self, weights: str) -> Pace:
        yolo, clock = open_model(weights), Clock()
        options = {"plots": False, "verbose": False, "workers": 0, "save_dir": str(self.folder / "val")}
        place = {"data": self.data, "imgsz": self.settings.imgsz, "device": self.settings.device}
        started = time.perf_counter()
        with translated():
            pace = clock.time(yolo, lambda: yolo.val(**place, **options))
        pace.setup = time.perf_counter() - started - sum(clock.val_batches)
        return pace


def split_devices(device: object) -> list[object]:
    """Return the devices of an argument such as "0,1" or [0, 1]; a single one as it is given."""
    several = str(device).strip("[]() ").replace(" ", "").split(",")
    return several if len(several) > 1 else [device]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
