"""The settings of a whole run: checked before its first stage, and divided among its stages."""

from __future__ import annotations

import inspect

from ultralytics.cfg import get_cfg

from . import exports
from .pruning.iterate import check_steps
from .pruning.latency import check_runtime
from .pruning.prune import prune_model
from .pruning.repair import read_repairs
from .pruning.targets import check_factor, read_goal
from .runtimes import has_onnx_runtime
from .settings import TRAIN_ARGS, SlimSettings

OPTIONAL = ("sparse", "retrain")  # left out with STAGE.epochs=0
PACE = {"sparse": 0.5, "retrain": 0.5, "distill": 1.0}  # epochs of each training, as a share of `epochs`
RUN_KEYS = frozenset(("weights", "data", "factor", "loss_type", "epochs", "format", "compare"))  # the others are for the trainings
# What a run itself sets for its stages, so that STAGE.key cannot.
PLACED = frozenset("weights data save_dir format Distillation loss_type project name resume".split())
TARGETS = frozenset(("flops", "params", "size_mb", "latency_ms"))  # what a pruning may aim at instead of a factor
PRUNING = frozenset(inspect.signature(prune_model).parameters)
DEFAULTS = {"factor": 0.5, "loss_type": "mgd", "epochs": 100, "plots": False}


def complete(given: dict, demo: dict, training: dict) -> dict:
    """Return what is given, completed with defaults: those of the demo where neither data nor weights are given.

    Raises:
        ValueError, TypeError: a setting that a later stage would refuse, perhaps after hours.
    """
    if bool(given.get("weights")) != bool(given.get("data")):
        raise ValueError("give both weights= (a trained checkpoint) and data= (its data YAML), or neither for the demo")
    file_format = "onnx" if has_onnx_runtime() else "torchscript"
    settings = {**training, **DEFAULTS, "format": file_format, **({} if given.get("data") else demo), **given}
    check_factor(settings["factor"])
    check_parts(settings)
    exports.check_packages(exports.parse(settings["format"]))
    check_pruning(settings)
    for stage in trainings(settings):
        check_epochs(training_of(settings, stage)["epochs"], f"{stage}.epochs")
        distilling = {"Distillation": "a teacher", "loss_type": settings["loss_type"]} if stage == "distill" else {}
        check_training({**training_of(settings, stage), **distilling})
    return settings


def describe(settings: dict) -> str:
    """Return the plan of a run in a line."""
    epochs = {stage: training_of(settings, stage)["epochs"] for stage in trainings(settings)}
    goals = {"factor": settings["factor"], **only(settings, "prune")}
    goal = next((f"{key}={goals[key]}" for key in (*sorted(TARGETS), "factor") if key in goals))
    long = {stage: f"{count} epoch{'s' * (count != 1)}" for stage, count in epochs.items()}
    words = [f"sparse training ({long['sparse']})"] if "sparse" in long else []
    words += [f"pruning ({goal})"]
    words += [f"retraining ({long['retrain']})"] if "retrain" in long else []
    words += [f"distillation ({settings['loss_type']}, {long['distill']})", f"{settings['format']} export", "comparison"]
    return f"plan: {', '.join(words)}"


def trainings(settings: dict) -> tuple[str, ...]:
    """Return the trainings of a run, in order, without those that are left out."""
    return tuple(stage for stage in PACE if not is_left_out(settings, stage))


def is_left_out(settings: dict, stage: str) -> bool:
    """Return whether a run is to do without this stage."""
    epochs = only(settings, stage).get("epochs")
    return stage in OPTIONAL and epochs == 0 and epochs is not False


def training_of(settings: dict, stage: str) -> dict:
    """Return the training arguments of one stage."""
    shared = {key: value for key, value in settings.items() if key not in RUN_KEYS and "." not in key}
    return {"data": settings["data"], "epochs": epochs_of(settings["epochs"], stage), **shared, **only(settings, stage)}


def pruning_of(settings: dict) -> tuple[dict, dict]:
    """Return what `split_pruning` does for the pruning of a run: trained between its steps as in the retraining."""
    own = only(settings, "prune")
    own = {"data": settings["data"], **own} if "epochs" in own else own
    pruning, training = split_pruning({"imgsz": settings["imgsz"], "device": settings.get("device"), **own})
    return pruning, {**training_of(settings, "retrain"), **training} if training else {}


def split_pruning(options: dict) -> tuple[dict, dict]:
    """Return (arguments of a pruning, arguments of the training between its steps); the latter is empty where none is.

    Args:
        options: What was given for both; `batch` is the training's unless a latency is the target.

    Raises:
        TypeError, ValueError: If there are arguments of a training but no training, or one that cannot be.
    """
    pruning = {key: value for key, value in options.items() if key in PRUNING}
    training = {key: value for key, value in options.items() if key not in PRUNING}
    if not training:
        return pruning, {}
    if not {"data", "epochs"} <= training.keys():
        raise TypeError(f"prune takes no {', '.join(sorted(training))}; training between steps= needs data= and epochs=")
    if "batch" in pruning and "latency_ms" not in options:
        training["batch"] = pruning.pop("batch")
    training |= {key: pruning[key] for key in ("imgsz", "device") if key in pruning}
    check_training(training)
    return pruning, training


def epochs_of(epochs: object, stage: str) -> int:
    """Return the stage's share of the epochs, at least one."""
    check_epochs(epochs)
    return max(1, round(PACE[stage] * epochs))


def check_epochs(epochs: object, key: str = "epochs") -> None:
    """Raise ValueError unless this is a number of epochs that can be trained."""
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        instead = f", or 0 to leave the stage out ({' or '.join(OPTIONAL)} only)" if "." in key else ""
        raise ValueError(f"{key}={epochs}: expected a whole number from 1{instead}")


def only(settings: dict, stage: str) -> dict:
    """Return the arguments that were given for one stage alone, as STAGE.key=value."""
    return {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{stage}.")}


def check_parts(settings: dict) -> None:
    """Raise ValueError where an argument is given for no stage, or one that the run itself sets."""
    stages = (*PACE, "prune", "export")
    for key in settings:
        stage, dot, name = key.partition(".")
        if dot and (stage not in stages or name in PLACED):
            listed = ", ".join(sorted(PLACED))
            raise ValueError(f"{key}: expected STAGE.key, STAGE one of {', '.join(stages)}, the key none of {listed}")


def check_pruning(settings: dict) -> None:
    """Raise where the pruning of a run would refuse an argument whatever the model."""
    pruning, training = pruning_of(settings)
    targets = {key: pruning[key] for key in TARGETS & pruning.keys()}
    read_goal(None if targets else pruning.get("factor", settings["factor"]), **targets)
    check_runtime(pruning.get("runtime", "torch"), pruning.get("batch", 1))
    check_steps(pruning.get("steps", 1), training or None)
    read_repairs(pruning.get("repair", "auto"), has_images=True)


def check_training(settings: dict) -> None:
    """Raise where Ultralytics or this fork would refuse a training argument."""
    get_cfg(overrides={key: value for key, value in settings.items() if key not in TRAIN_ARGS})
    SlimSettings.from_args(settings)
