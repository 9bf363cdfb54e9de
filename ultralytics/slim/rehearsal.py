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
    with tempfile.TemporaryDirectory(prefix="slim-rehearsal-") as folder, hushed, _Steps(6) as step:
        stages = _Stages(settings, data, images, Path(folder))
        sparse = step("sparse", lambda: stages.training("sparse", stages.original, {"loss_type": "sparse"}))
        pruning = step("prune", stages.pruning)
        retrain = step("retrain", lambda: stages.training("retrain", stages.pruned, {}))
        distill = step("distill", stages.distillation)
        export = step("export", stages.export)
        measuring = step("measuring", stages.measuring)
    epochs = {stage: plan.training_of(settings, stage)["epochs"] for stage in plan.PACE}
    own = plan.only(settings, "prune")
    pruning += (own.get("steps", 1) - 1) * own.get("epochs", 0) / epochs["retrain"] * retrain  # trained between its steps
    return Estimate((
        StageTime("sparse", epochs["sparse"], sparse),
        StageTime("prune", None, pruning),
        StageTime("retrain", epochs["retrain"], retrain),
        StageTime("distill", epochs["distill"], distill),
        StageTime("export", None, export),
        StageTime("measuring", None, measuring),
    ))  # fmt: skip


class _Steps:
    """A progress bar over the steps of the rehearsal."""

    def __init__(self, count: int):
        self.bar = TQDM(total=count, desc="rehearsal")

    def __enter__(self) -> _Steps:
        return self

    def __call__(self, name: str, work: Callable[[], float]) -> float:
        self.bar.set_description(f"rehearsal: {name}")
        seconds = work()
        self.bar.update()
        return seconds

    def __exit__(self, *error) -> None:
        self.bar.close()


class _Stages:
    """The stages of a run, each tried for a moment; every method returns the seconds that the whole of it would take."""

    def __init__(self, settings: dict, data: str, images: dict[str, list[Path]], folder: Path):
        self.settings, self.data, self.images, self.folder = settings, data, images, folder
        self.original, self.pruned = settings["weights"], str(folder / "pruned.pt")

    def training(self, stage: str, weights: str, own: dict) -> float:
        given = {**own, **plan.training_of(self.settings, stage)}
        devices = _devices(given.get("device"))
        place = {"project": str(self.folder), "name": stage, "exist_ok": True, "device": devices[0]}
        if len(devices) > 1:
            place["batch"] = max(1, given["batch"] // len(devices))
        yolo = YOLO(weights)
        pace = Clock().time(yolo, lambda: yolo.train(**{**given, **place}))
        batches = math.ceil(len(yolo.trainer.train_loader) / len(devices))
        return pace.training(given["epochs"], batches, given.get("val", True))

    def pruning(self) -> float:
        """Prune on a few images: the time grows about as their number does."""
        images = self.images["train"]
        few = [str(image) for image in images[:: max(1, len(images) // IMAGES)][:IMAGES]]
        options = {"images": few, **plan.pruning_of(self.settings)[0]}
        factor = options.pop("factor", self.settings["factor"])
        factor = None if plan.TARGETS & options.keys() else factor
        seconds = _seconds(lambda: prune_model(YOLO(self.original), self.pruned, factor, **options))
        return seconds * min(MOST_IMAGES, len(images)) / len(few) if options["images"] is few else seconds

    def distillation(self) -> float:
        """The training, and before it the validation of the two models that could be the teacher."""
        own = {"Distillation": self.original, "loss_type": self.settings["loss_type"], "distill_check": False}
        before = self._validation(self.original)
        return 2 * before.whole + self.training("distill", self.pruned, own)

    def export(self) -> float:
        options = {"imgsz": self.settings["imgsz"], **plan.only(self.settings, "export")}
        return _seconds(lambda: exports.check(self.pruned, self.settings["format"], self.data, **options))

    def measuring(self) -> float:
        """What follows the stages: the relations of two models, the comparison of five, and the report on them.

        The two large models were validated before the distillation, and no model is twice. The report exports about
        three models to time them in ONNX Runtime.
        """
        imgsz, runtime = self.settings["imgsz"], has_onnx_runtime()
        export = _seconds(lambda: onnx_run(self.pruned, imgsz, self.folder)) if runtime else 0
        large, small = self._validation(self.original), self._validation(self.pruned)
        validations = 3 * small.whole + large.whole + small.whole
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
