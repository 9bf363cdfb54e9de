"""The settings of each stage of a run; `run_settings` reads them from what is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import KindError
from ..inputs.data import is_data_set
from ..promise.keep import check_keep
from ..promise.options import Promise
from ..pruning.options import TARGETS, PruneOptions
from ..pruning.repair.repairs import read_repairs
from ..pruning.rounds import check_steps
from ..pruning.select.goals import read_goal
from ..pruning.select.stopwatch import check_runtime
from ..recovery.options import RecoverOptions
from .training import check_training

PROMISE_KEYS = frozenset(("keep", "keep_iterations"))
PRUNE_KEYS = frozenset(("factor", *(f.name for f in fields(PruneOptions)))) - {"retrain"} | PROMISE_KEYS


@dataclass(frozen=True)
class TrainingSettings:
    """One training of a run.

    Attributes:
        arguments: Those of Ultralytics and of this fork, whole but for the teacher and the place of the result.
    """

    arguments: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        return self.arguments["epochs"]


@dataclass(frozen=True)
class PruningSettings:
    """The pruning of a run.

    Attributes:
        factor: Share of the channels to remove; None where `options` name a target.
        options: The others, training images among them, but for the training between the steps.
        between: Training arguments for between the steps; None where nothing is trained there.
        promise: How much is to be kept; None where that is not asked for.
    """

    factor: float | None
    options: PruneOptions
    between: Mapping[str, Any] | None = None
    promise: Promise | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any], default_factor: float | None = None) -> PruningSettings:
        """Tell the arguments of a pruning from those of the training between its steps.

        Args:
            given: Both; `batch` is the training's unless a latency is the target.
            default_factor: Factor where neither one nor a target is given.

        Raises:
            KindError: There are arguments of a training but no training.
        """
        options = {key: value for key, value in given.items() if key in PRUNE_KEYS or key == "retrain"}
        training = {key: value for key, value in given.items() if key not in options}
        promise = _promised(options, training)
        if training and not {"data", "epochs"} <= training.keys():
            raise KindError(
                f"prune takes no {', '.join(sorted(training))}; training between steps= needs data= and epochs="
            )
        if training:
            if "batch" in options and "latency_ms" not in options:
                training["batch"] = options.pop("batch")
            training |= {key: options[key] for key in ("imgsz", "device") if key in options}
        has_goal = promise or options.keys() & set(TARGETS)
        factor = options.pop("factor", None if has_goal else default_factor)
        return cls(factor, PruneOptions(**options), training or None, promise)

    def check(self, has_images: bool = True) -> None:
        """Raise a SlimError where pruning or training would refuse an argument whatever the model."""
        if self.between:
            check_training(self.between, pruned=True)
        options = self.options
        if self.promise:
            self.promise.check()
            check_keep(options, self.factor, has_images)
        if not self.promise or options.targets:
            read_goal(self.factor, **options.targets)
        check_runtime(options.runtime, options.batch)
        check_steps(options.steps, self.between)
        read_repairs(options.repair, has_images)

    def __str__(self) -> str:
        """The goal, as it was given."""
        goals = [f"keep={self.promise.keep}"] if self.promise else []
        goals += [f"{name}={value}" for name, value in self.options.targets.items()]
        return ", ".join(goals or [f"factor={self.factor}"])


def _promised(options: dict[str, Any], training: dict[str, Any]) -> Promise | None:
    """Take what belongs to a promise out of the arguments of a pruning; return it, or None where nothing is promised.

    Its data are `data`, or the data set that is given as `images`; where `data` alone is given it has the images, too.
    """
    keep, steps = (options.pop(key, None) for key in ("keep", "keep_iterations"))
    if keep is None:
        if steps is not None:
            raise KindError("keep_iterations= is of keep=, which is not given")
        return None
    images = options.get("images")
    data = training.get("data") if "epochs" in training else training.pop("data", None)
    if data is None:  # "" says that there are no labels
        data = str(images) if is_data_set(images) else ""
    if data and images is None:
        options["images"] = data
    return Promise(keep, str(data), **({} if steps is None else {"keep_iterations": steps}))


@dataclass(frozen=True)
class RecoverySettings:
    """The recovery of a run.

    Attributes:
        images: What it learns from: the run's images, or the training images of its data and those beside them.
        options: Keywords of `RecoverOptions`.
    """

    images: str | list[str]
    options: Mapping[str, Any]

    @property
    def holdout(self) -> int:
        """Most images that are kept back to measure on."""
        return RecoverOptions(**self.options).holdout


@dataclass(frozen=True)
class ExportSettings:
    """The export of a run: its formats, as they are given, and further arguments of Ultralytics' `export`."""

    format: str | list[str]
    options: Mapping[str, Any] = field(default_factory=dict)
