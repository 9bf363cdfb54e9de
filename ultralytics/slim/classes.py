"""Classes of two models, or of a model and its data, paired by their names: the same class may have another number.

Names are compared as Ultralytics does where it fits a head to new data, without regard to case and outer spaces. Where
one side has no names (Ultralytics' own in the place of those: 0, class_0, class0), numbers are all there is to go by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .hints import few
from .kinds import is_a

if TYPE_CHECKING:
    from ultralytics.engine.validator import BaseValidator

Names = Mapping[int, str]  # class number -> name
BOX_TASKS = ("detect", "segment", "pose", "obb")  # tasks whose data is images/ beside labels/, rows of class and box


def names_of(model: nn.Module) -> dict[int, str]:
    """Return a model's class names; where it has none, or not as many as its head has classes, its numbers as names."""
    layers = getattr(model, "model", None)
    head = layers[-1] if isinstance(layers, nn.Sequential) else None
    count = getattr(head, "nc", getattr(getattr(head, "linear", None), "out_features", None))  # a classifier's
    names = getattr(model, "names", None) or {}
    names = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
    return names if count in (None, len(names)) else {number: str(number) for number in range(count)}


def task_of(model: nn.Module) -> str:
    """Return the task of a network: what it says itself, else what its class and head are for."""
    from ultralytics.nn.tasks import guess_model_task  # imports slim

    task = getattr(model, "task", None) or guess_model_task(model)
    return task or ("detect" if any(is_a(m, "RTDETRDecoder") for m in model.modules()) else task)


def pair_classes(ours: Names, theirs: Names) -> list[tuple[int, int]]:
    """Return (our number, their number) of the classes that both sides have, in our order.

    Of classes of one name the first is paired with the first, the second with the second. A side without names is
    paired by number if both have equally many classes, and not at all if not.
    """
    if is_unnamed(ours) or is_unnamed(theirs):
        return [(number, number) for number in sorted(ours)] if len(ours) == len(theirs) else []
    numbers = {key: number for number, key in _keys(theirs).items()}
    return [(number, numbers[key]) for number, key in sorted(_keys(ours).items()) if key in numbers]


def is_unnamed(names: Names) -> bool:
    """Return whether the names only repeat the numbers."""
    return all(re.fullmatch(rf"(class_?)?{number}", str(name)) for number, name in names.items())


def _keys(names: Names) -> dict[int, tuple[str, int]]:
    """Return what each class is known by: its name, and how many before it have the same."""
    seen: Counter[str] = Counter()
    keys = {}
    for number in sorted(names):
        name = class_key(names[number])
        keys[number] = name, seen[name]
        seen[name] += 1
    return keys


def class_key(name: object) -> str:
    """Return what a class name is compared by."""
    return str(name).strip().lower()


def listed(names: Names, numbers: Iterable[int] | None = None, most: int = 10) -> str:
    """Return names of classes for a message, some at most."""
    return few([names[number] for number in (sorted(names) if numbers is None else numbers)], most)


class LabelNumbers:
    """The numbers that a model has for the classes of a data set.

    Args:
        data: Names of the data's classes.
        model: Names of the model's classes.

    Attributes:
        names: Names by number: the model's, and behind them those of the data that the model lacks.
        missing: Those that it lacks; all of them where no class has the name of one of the model's.
        by_name: Whether classes are paired by their names; else the data's numbers stay.
    """

    def __init__(self, data: Names, model: Names):
        pairs = dict(pair_classes(data, model))
        self.by_name = bool(pairs)
        self.missing = [number for number in sorted(data) if number not in pairs]
        self.names = dict(model)
        self._table = torch.arange(max(data, default=-1) + 1)
        for number in sorted(data) if self.by_name else ():
            self._table[number] = pairs.get(number, len(self.names))
            if number not in pairs:
                self.names[len(self.names)] = data[number]
        self.data, self.model = data, model

    @property
    def change(self) -> bool:
        """Whether a class has another number in the model."""
        return not self._table.equal(torch.arange(len(self._table)))

    def of(self, labels: torch.Tensor) -> torch.Tensor:
        """Return labels of the data, any shape, in the model's numbers; those that are no class of the data stay."""
        known = (labels >= 0) & (labels < len(self._table))
        table = self._table.to(labels.device)
        return torch.where(known, table[labels.long().clamp(0, max(len(table) - 1, 0))].to(labels.dtype), labels)

    @property
    def warning(self) -> str:
        """What the user should know of classes without a partner; empty where the data's are all the model's, too."""
        if not self.missing or is_unnamed(self.data) or is_unnamed(self.model):
            return ""
        if not self.by_name:
            return (
                f"none of the data's classes ({listed(self.data)}) is one of the model's ({listed(self.model)}), so "
                "they are taken by number; the figures mean something only if the numbers stand for the same things"
            )
        return (
            f"the model does not know the data's {listed(self.data, self.missing)}, whose objects count as missed; its "
            f"classes: {listed(self.model)}"
        )


def validate_by_name(validator: BaseValidator, data: Names, model: Names) -> LabelNumbers:
    """Let a validator compare by class name; return the numbers that it then uses.

    Ultralytics compares numbers: a model trained on the same classes in another order is right and counts as wrong.

    Args:
        validator: At the event `on_val_start`, or before.
        data: Names of the classes of its data.
        model: Names of the classes of the model that it is to validate.
    """
    numbers = LabelNumbers(data, model)
    if validator.args.single_cls or not numbers.change:
        return numbers
    preprocess, init_metrics = validator.preprocess, validator.init_metrics

    def preprocess_by_name(batch: dict[str, Any]) -> dict[str, Any]:
        return preprocess({**batch, "cls": numbers.of(batch["cls"])})

    def init_metrics_by_name(net: nn.Module) -> None:
        net.names = numbers.names
        init_metrics(net)
        validator.nc = len(model)  # by which predictions are taken apart

    validator.preprocess, validator.init_metrics = preprocess_by_name, init_metrics_by_name
    return numbers
