"""The settings of a run: read and checked once, where they are given, and saved in `run.json`.

Users give flat keywords, some of them for one stage alone as `STAGE.key`; run.json holds the same. `RunSettings.read`
is the door: behind it every stage has a small value of its own, and nobody looks at such a key again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError
from ..exporting.export import check_options, check_ranges
from ..exporting.formats import read_formats
from ..hints import split_list
from ..installation import is_fork
from ..measuring.runtimes import has_onnx_runtime
from ..pruning.select.goals import RUN_FACTOR, check_factor
from ..recovery.options import RecoverOptions
from ..settings import as_paths
from .stage_settings import ExportSettings, PruningSettings, RecoverySettings, TrainingSettings
from .stages import DISTILL, EXPORT, PRUNE, RECOVER, RETRAIN, SPARSE, STAGES, TEACHER, TRAININGS, Stage
from .training import FINE_TUNING, TRAINING, check_training, gently

RUN_KEYS = frozenset(
    "weights data images unlabelled teacher factor keep classes loss_type epochs format compare".split()
)  # the others are for the trainings
# What a run itself sets for its stages, so that STAGE.key cannot.
PLACED = frozenset("weights data unlabelled save_dir format Distillation loss_type project name resume".split())
PARTS = tuple(part.name for part in (*TRAININGS, PRUNE, RECOVER, TEACHER, EXPORT))  # what STAGE.key may name
DEFAULTS = {"factor": RUN_FACTOR, "loss_type": "mgd", "epochs": 100, "plots": False}
# Where few images are labelled: what the teacher says counts to the end, its predictions as well as its features.
FEW_LABELS = {"loss_type": "logit+mgd", "distill.distill_schedule": "constant"}
UNLABELLED = {"data": "", "factor": RUN_FACTOR, "imgsz": None, "device": None}  # defaults where there are images alone
OF_RECOVERY = {"batch", "lr0", "amp", "workers", "seed"}  # which a run without labels takes for its recovery
# What changes no model, so that a run may go on with another: for all stages or one, and all of the export.
FREE_ON_RESUME = {"device", "workers", "cache", "plots", "verbose", "save_period", "format", "compare"}

# About ten minutes on two cores. So short a training gets better without mosaic, and so does a gentle sparsity.
DEMO: Mapping[str, Any] = MappingProxyType(
    {"weights": "weights/diagram-yolov8n.pt", "data": TRAINING["data"], "factor": 0.7, "imgsz": 320, "epochs": 12}
    | {"batch": 16, "nbs": 16, "mosaic": 0.0, "warmup_epochs": 0.5, "sparse.sparsity": 0.1}
    | {**FINE_TUNING, "lr0": 0.0005}
)


@dataclass(frozen=True)
class RunSettings:
    """What a run does, stage by stage; made by `read`.

    Attributes:
        weights: The checkpoint that it starts from, and `data` the data YAML; absolute paths once `settled`.
        images: What a run without labels learns from, in the place of `data`, which is empty then.
        unlabelled: Images beside those of `data`, on which the teacher alone teaches; empty where there are none.
        imgsz: Side of the images in pixels, in every measurement.
        device: As in Ultralytics.
        teacher: The checkpoint that teaches; empty for the better of the original and the sparse-trained model.
        epochs: Of the distillation; the other trainings have their share of it.
        compare: Checkpoints to show beside the run's in the report.
        verbose: Whether nothing is kept out of the log.
        sparse, recover, retrain, distill: None where the stage is left out; without labels nothing else recovers.
        teaching: Training of the teacher on the data before it teaches; None where it teaches as it is.
        recorded: The flat keywords, completed, as they are kept in run.json.
    """

    weights: str
    data: str
    images: str | list[str]
    unlabelled: str | list[str]
    teacher: str
    imgsz: int | None
    device: Any
    epochs: int
    compare: tuple[str, ...]
    verbose: bool
    sparse: TrainingSettings | None
    prune: PruningSettings
    recover: RecoverySettings | None
    retrain: TrainingSettings | None
    distill: TrainingSettings | None
    teaching: TrainingSettings | None
    export: ExportSettings
    recorded: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> RunSettings:
        """Return what is given, completed with defaults: those of the demo where neither data nor weights are given.

        Raises:
            SlimError: A setting that a later stage would refuse, perhaps after hours.
        """
        several = [key for key in ("images", "unlabelled") if given.get(key) is not None]
        given = {**given, **{key: as_paths(given[key], key) for key in several}}
        sources = [key for key in ("data", "images") if given.get(key)]
        if len(sources) > 1 or bool(given.get("weights")) != bool(sources) or not (sources or is_fork()):
            demo = "; or none of them for the demo" if is_fork() else ""
            raise InputError(
                "give weights= (a trained checkpoint) with data= (its data YAML) or, where nothing is labelled, with "
                f"images= (a folder){demo}"
            )
        file_format = {"format": "onnx" if has_onnx_runtime() else "torchscript"}
        if given.get("keep") is not None and given.get("factor") is not None:
            raise InputError("keep= looks for how much to remove; leave factor= out")
        if given.get("images"):
            _check_unlabelled(given)
            settings = {**UNLABELLED, **file_format, **given}
        else:
            few = FEW_LABELS if given.get("unlabelled") else {}
            settings = {**TRAINING, **DEFAULTS, **few, **file_format, **({} if sources else DEMO), **given}
            _check_epochs(settings["epochs"], "epochs")
        check_factor(settings["factor"])
        _check_parts(settings)
        read = cls.of_record(settings)
        check_export(read)
        read.prune.check()
        if read.recover:
            RecoverOptions.read(dict(read.recover.options))
        if any(key.startswith(f"{TEACHER.name}.") for key in settings) and not read.teaching:
            raise InputError("teacher.KEY trains the teacher first: give teacher=, teacher.epochs= and data=")
        trainings = {**read.trainings, **({TEACHER: read.teaching} if read.teaching else {})}
        for stage, training in trainings.items():
            _check_epochs(training.epochs, f"{stage.name}.epochs")
            teacher = {"Distillation": "a teacher"} if stage is DISTILL else {}
            check_training({**training.arguments, **teacher}, pruned=stage not in (SPARSE, TEACHER))
        return read

    @classmethod
    def of_record(cls, recorded: Mapping[str, Any]) -> RunSettings:
        """Return the settings that run.json holds; what an older record lacks has its default. Nothing is checked."""
        defaults = UNLABELLED if recorded.get("images") else {**TRAINING, **DEFAULTS}
        blank = dict.fromkeys(("images", "unlabelled", "teacher", "format", "weights"), "")
        flat = {"epochs": 0, **blank, **defaults, **recorded}
        given = flat["compare"] if flat.get("compare") else ()
        return cls(
            weights=flat["weights"],
            data=flat["data"],
            images=flat["images"],
            unlabelled=flat["unlabelled"],
            teacher=flat["teacher"],
            imgsz=flat["imgsz"],
            device=flat.get("device"),
            epochs=flat["epochs"],
            compare=tuple(split_list(given)) if given else (),
            verbose=bool(flat.get("verbose")),
            sparse=_training(flat, SPARSE, {"loss_type": "sparse"}),
            prune=_pruning(flat),
            recover=_recovery(flat),
            retrain=_training(flat, RETRAIN),
            distill=None if flat["images"] else _distillation(flat),
            teaching=_teaching(flat),
            export=ExportSettings(flat["format"], _only(flat, EXPORT.name)),
            recorded=MappingProxyType(dict(recorded)),
        )

    def replaced(self, **recorded: object) -> RunSettings:
        """Return a copy with some of the recorded keywords replaced."""
        return type(self).of_record({**self.recorded, **recorded})

    @property
    def all_images(self) -> str | list[str]:
        """All images of the run, as `given_images` takes them: pruning and recovery look at them without labels."""
        return _all_images(self.recorded)

    @property
    def loss_type(self) -> str:
        """The loss of the distillation; empty where there is none."""
        return self.distill.arguments["loss_type"] if self.distill else ""

    @property
    def trainings(self) -> dict[Stage, TrainingSettings]:
        """The trainings of the run, in order, without those that are left out."""
        found = {stage: getattr(self, stage.name) for stage in TRAININGS}
        return {stage: training for stage, training in found.items() if training}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the run, in order, without those that are left out."""
        return tuple(stage for stage in STAGES if getattr(self, stage.name))

    @property
    def plan(self) -> str:
        """The plan of the run in a line."""
        words = []
        for stage in self.stages:
            training = self.trainings.get(stage)
            about = [str(self.prune)] if stage is PRUNE else [self.loss_type] if stage is DISTILL else []
            about += [f"{training.epochs} epoch{'s' * (training.epochs != 1)}"] if training else []
            about += ["also on images without labels"] if stage is DISTILL and self.unlabelled else []
            words.append(f"{stage.noun} ({', '.join(about)})" if about else stage.noun)
        if self.teaching:
            words.insert(0, f"{TEACHER.noun} ({self.teaching.epochs} epochs)")
        return f"plan: {', '.join(words)}, {self.export.format} {EXPORT.noun}, comparison"

    def resumed(
        self, given: Mapping[str, Any], settle: Callable[[RunSettings], RunSettings]
    ) -> tuple[RunSettings, list[str]]:
        """Return the settings of a run that goes on with what is given now, and what of that would mix its results.

        Args:
            given: Flat keywords, tuples in them as lists, as in run.json.
            settle: Turns settings into what is recorded of them.

        Returns:
            The settings, with those of `given` that change no result; and, in words, those given that differ from what
            is recorded and may not.
        """
        recorded = self.recorded
        settled = settle(self.replaced(**given)).recorded
        given = {key: settled[key] for key in given}
        free = {key: value for key, value in given.items() if _is_free(key)}
        differing = sorted(k for k, v in given.items() if k not in free and not _is_same(recorded.get(k), v))
        going_on = self.replaced(**free)
        if any(key == "format" or key.startswith(f"{EXPORT.name}.") for key in free):
            check_export(going_on)
        return going_on, [f"{key}={recorded.get(key)} (now {given[key]})" for key in differing]


def _training(flat: Mapping[str, Any], stage: Stage, own: Mapping[str, Any] | None = None) -> TrainingSettings | None:
    """Return one training of a run, or None where it is left out; `own` is what the run itself sets for it.

    Where few images are labelled, those that know no others are left out unless they are asked for.
    """
    only = _only(flat, stage.name)
    epochs = only.get("epochs")
    if flat["images"] or (flat["unlabelled"] and not only):
        return None
    if stage.optional and epochs == 0 and epochs is not False:
        return None
    return TrainingSettings(MappingProxyType({**_arguments(flat, stage), **(own or {})}))


def _arguments(flat: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Return the training arguments of one stage: for all trainings, its share of the epochs, for it alone."""
    shared = {key: value for key, value in flat.items() if key not in RUN_KEYS and "." not in key}
    epochs = flat["epochs"]
    if isinstance(epochs, (int, float)):  # else it is no number of epochs, which `read` says, and a resumed run, too
        epochs = max(1, round(stage.share * epochs))
    return {"data": flat["data"], "epochs": epochs, **shared, **_only(flat, stage.name)}


def _distillation(flat: Mapping[str, Any]) -> TrainingSettings:
    """Return the distillation of a run; the teacher is measured before it, so the training does not do so again."""
    arguments = {"distill_check": False, **_arguments(flat, DISTILL), "loss_type": flat["loss_type"]}
    if flat["unlabelled"]:
        arguments["unlabelled"] = flat["unlabelled"]
    return TrainingSettings(MappingProxyType(gently(arguments)))


def _teaching(flat: Mapping[str, Any]) -> TrainingSettings | None:
    """Return the training of the teacher before it teaches, where its epochs are given."""
    if not flat["teacher"] or flat["images"] or "epochs" not in _only(flat, TEACHER.name):
        return None
    return TrainingSettings(MappingProxyType(gently(_arguments(flat, TEACHER))))


def _recovery(flat: Mapping[str, Any]) -> RecoverySettings | None:
    """Return the recovery of a run: of one with unlabelled images unless it is left out, of another if asked for."""
    own = _only(flat, RECOVER.name)
    if not flat["images"] and (not (own or flat["unlabelled"]) or own.get("iterations") == 0):
        return None
    shared = {key: flat[key] for key in OF_RECOVERY if flat["images"] and key in flat}
    options = {"imgsz": flat["imgsz"], "device": flat.get("device"), **shared, **own}
    return RecoverySettings(_all_images(flat), MappingProxyType(options))


def _check_unlabelled(given: Mapping[str, Any]) -> None:
    """Raise InputError where a run without labels is given something of the trainings that need them."""
    known = RUN_KEYS - {"loss_type", "epochs", "unlabelled"} | UNLABELLED.keys() | OF_RECOVERY | {"verbose"}
    parts = (PRUNE.name, RECOVER.name, EXPORT.name)
    for key in given:
        part, dot, _ = key.partition(".")
        if key not in known and not (dot and part in parts):
            raise InputError(
                f"{key}: with images= nothing is labelled, so nothing is trained on labels; there are prune, recover "
                f"and export, and for all of them {', '.join(sorted(known - {'data'}))}"
            )


def _pruning(flat: Mapping[str, Any]) -> PruningSettings:
    """Return the pruning of a run, scored on its training images; trained between its steps as in the retraining."""
    own = _only(flat, PRUNE.name)
    own = {"data": flat["data"], **own} if "epochs" in own else own
    options = {"imgsz": flat["imgsz"], "device": flat.get("device"), "images": _all_images(flat)}
    options |= {"classes": flat.get("classes"), **own}
    if flat.get("keep") is not None:
        options.setdefault("keep", flat["keep"])
    if options.get("keep") is not None:
        options.setdefault("data", flat["data"])
    pruning = PruningSettings.read(options, flat["factor"])
    if not pruning.between:
        return pruning
    between = {**_arguments(flat, RETRAIN), **pruning.between}
    return PruningSettings(pruning.factor, pruning.options, MappingProxyType(between))


def _all_images(flat: Mapping[str, Any]) -> str | list[str]:
    """Return all images of a run, for what looks at them without their labels."""
    more = flat.get("unlabelled") or []
    source = flat.get("images") or flat["data"]
    return [source, *(more if isinstance(more, list) else [more])] if more else source


def _only(flat: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return what is given for one stage alone, as STAGE.key=value."""
    return {key.partition(".")[2]: value for key, value in flat.items() if key.startswith(f"{stage}.")}


def _check_epochs(epochs: object, key: str) -> None:
    """Raise InputError unless this is a number of epochs that can be trained."""
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        optional = " or ".join(stage.name for stage in STAGES if stage.optional)
        instead = f", or 0 to leave the stage out ({optional} only)" if "." in key else ""
        raise InputError(f"{key}={epochs}: expected a whole number from 1{instead}")


def _check_parts(settings: Mapping[str, Any]) -> None:
    """Raise InputError where an argument is given for no stage, or one that the run itself sets."""
    for key in settings:
        stage, dot, name = key.partition(".")
        if dot and (stage not in PARTS or name in PLACED):
            listed = ", ".join(sorted(PLACED))
            raise InputError(f"{key}: expected STAGE.key, STAGE one of {', '.join(PARTS)}, the key none of {listed}")


def check_export(settings: RunSettings) -> None:
    """Raise a SlimError where the export of a run would be refused, or lack a package."""
    names, options = read_formats(settings.export.format), settings.export.options
    check_options(options, names)
    if settings.images and not options.get("data"):
        for name in names:
            check_ranges(name, settings.images, options)


def _is_free(key: str) -> bool:
    """Return whether a setting changes no model of a run."""
    stage, _, name = key.rpartition(".")
    return name in FREE_ON_RESUME or stage == EXPORT.name


def _is_same(recorded: object, given: object) -> bool:
    """Return whether a setting is the recorded one; a path may be given from the working directory."""
    return recorded == given or (isinstance(given, str) and recorded == str(Path(given).expanduser().resolve()))
