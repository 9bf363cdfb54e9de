"""How long a run would take: every stage is begun for real, for a moment and in a temporary folder, and reckoned up.

What would fail hours later (an export, a layer that the distillation cannot tap, memory) fails here.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ultralytics import YOLO
from ultralytics.utils import TQDM

from . import exports, inputs, logs, plan, timing
from .pace import Clock, Pace
from .pruning.prune import prune_model
from .runtimes import has_onnx_runtime, onnx_run
from .tables import TextTable

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


def in_words(seconds: float) -> str:
    """Return seconds as "45 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def rehearse(settings: dict, data: str) -> Estimate:
    """Try every stage of a run for a moment; return what the whole would take.

    With several devices the first one alone is timed, on its share of the batch.

    Args:
        settings: the settings of the run, completed.
        data: the data YAML, checked.
    """
    found = inputs.check_data(data)
    images = {split: inputs.list_images(found[split]) for split in ("train", "val")}
    hushed = logs.only(logging.ERROR)  # the bar stands in the place of what Ultralytics logs meanwhile
    with tempfile.TemporaryDirectory(prefix="slim-rehearsal-") as folder, hushed:
        stages = _Stages(settings, data, images, Path(folder))
        works = {
            "sparse": lambda: stages.training("sparse", stages.original, {"loss_type": "sparse"}),
            "prune": stages.pruning,
            "retrain": lambda: stages.training("retrain", stages.pruned, {}),
            "distill": stages.distillation,
            "export": stages.export,
            "measuring": stages.measuring,
        }
        works = {stage: work for stage, work in works.items() if not plan.is_left_out(settings, stage)}
        with TQDM(works.items(), total=len(works), desc="rehearsal") as bar:
            seconds = {}
            for stage, work in bar:
                bar.set_description(f"rehearsal: {stage}")
                seconds[stage] = work()
    epochs = {stage: plan.training_of(settings, stage)["epochs"] for stage in plan.trainings(settings)}
    return Estimate(StageTime(stage, epochs.get(stage), needed) for stage, needed in seconds.items())


class _Stages:
    """The stages of a run, each tried for a moment; every method returns the seconds that the whole of it would take."""

    def __init__(self, settings: dict, data: str, images: dict[str, list[Path]], folder: Path):
        self.settings, self.data, self.images, self.folder = settings, data, images, folder
        self.original, self.pruned = settings["weights"], str(folder / "pruned.pt")

    def training(self, stage: str, weights: str, own: dict) -> float:
        return self._trained({**own, **plan.training_of(self.settings, stage)}, stage, weights)

    def _trained(self, given: dict, stage: str, weights: str) -> float:
        devices = _devices(given.get("device"))
        place = {"project": str(self.folder), "name": stage, "exist_ok": True, "device": devices[0]}
        if len(devices) > 1:
            place["batch"] = max(1, given["batch"] // len(devices))
        yolo = YOLO(weights)
        pace = Clock().time(yolo, lambda: yolo.train(**{**given, **place}))
        batches = math.ceil(len(yolo.trainer.train_loader) / len(devices))
        return pace.training(given["epochs"], batches, given.get("val", True))

    def pruning(self) -> float:
        """Prune on a few images: the time grows about as their number does. Trainings between steps come on top."""
        images = self.images["train"]
        few = [str(image) for image in images[:: max(1, len(images) // IMAGES)][:IMAGES]]
        own, training = plan.pruning_of(self.settings)
        options = {"images": few, "steps": 1, **own}
        factor = options.pop("factor", self.settings["factor"])
        factor = None if plan.TARGETS & options.keys() else factor
        seconds = _seconds(lambda: prune_model(YOLO(self.original), self.pruned, factor, **options))
        seconds *= min(MOST_IMAGES, len(images)) / len(few) if options["images"] is few else 1
        between = self._trained(training, "prune", self.pruned) if training else 0
        return seconds + (options["steps"] - 1) * between

    def distillation(self) -> float:
        """The training, and before it the validation of the one or two models that could be the teacher."""
        own = {"Distillation": self.original, "loss_type": self.settings["loss_type"], "distill_check": False}
        before = self._validation(self.original)
        return (1 if plan.is_left_out(self.settings, "sparse") else 2) * before.whole + self.training("distill", self.pruned, own)

    def export(self) -> float:
        options = {"imgsz": self.settings["imgsz"], **plan.only(self.settings, "export")}
        return _seconds(lambda: exports.check(self.pruned, self.settings["format"], self.data, **options))

    def measuring(self) -> float:
        """What follows the stages: the relations of two models, the comparison of all, and the report on them.

        The large models were validated before the distillation, and no model is twice. The report exports about
        three models to time them in ONNX Runtime.
        """
        imgsz, runtime = self.settings["imgsz"], has_onnx_runtime()
        export = _seconds(lambda: onnx_run(self.pruned, imgsz, self.folder)) if runtime else 0
        large, small = self._validation(self.original), self._validation(self.pruned)
        compared = 2 if plan.is_left_out(self.settings, "retrain") else 3
        validations = compared * small.whole + large.whole + small.whole
        rounds, count = timing.WARM_UP + timing.ROUNDS, len(self.images["val"])
        timed = [min(timing.SECONDS, rounds * pace.validation / count) for pace in (large, small)]
        latencies = 6 * timed[0] + 5 * timed[1]  # comparison; report, in two runtimes, one of each shape
        return validations + latencies + 3 * export

    def _validation(self, weights: str) -> Pace:
        yolo, clock = YOLO(weights), Clock()
        options = {"plots": False, "verbose": False, "workers": 0, "save_dir": str(self.folder / "val")}
        place = {"data": self.data, "imgsz": self.settings["imgsz"], "device": self.settings["device"]}
        started = time.perf_counter()
        pace = clock.time(yolo, lambda: yolo.val(**place, **options))
        pace.setup = time.perf_counter() - started - sum(clock.val_batches)
        return pace


def _devices(device: object) -> list[object]:
    """Return the devices of an argument such as "0,1" or [0, 1]; a single one as it is given."""
    several = str(device).strip("[]() ").replace(" ", "").split(",")
    return several if len(several) > 1 else [device]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
