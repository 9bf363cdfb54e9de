"""Models of fewer classes than they were trained for: the others leave the head, and data is seen through those kept.

What a model was cut from is noted in its `yaml`, which every training of Ultralytics hands on. Wherever such a model is
trained or measured on data with the classes that it lost, a view of that data takes its place: the same images, the
labels of the kept classes alone, under the model's numbers (`inputs.class_view`). The user's files are only read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ultralytics.utils import LOGGER

from .classes import BOX_TASKS, Names, class_key, is_unnamed, listed, names_of, pair_classes, task_of
from .errors import InputError
from .hints import hint, split_list
from .inputs.class_view import read_set, view_of
from .inputs.data import as_yaml
from .kinds import is_a
from .widths import class_layers, note_parameters

BY_TEXTS = "compares with texts instead: set_classes([...]) says which classes it is to find, with no weight the less"
OTHERWISE = {  # heads whose classes cannot be taken out, and why
    "WorldDetect": BY_TEXTS,
    "YOLOEDetect": BY_TEXTS,
    "RTDETRDecoder": (
        "decodes the places that score best of all classes: without some it would decode others, and say something "
        "else of the classes that stay"
    ),
}
KEPT_FROM = "kept_from"  # key of `model.yaml`: names of all classes that the model once had


def read_classes(wanted: Any, names: Names) -> list[int]:
    """Return the numbers of the classes to keep, rising.

    Args:
        wanted: Names or numbers; several in a collection, or in text with commas between. An integer is a number; of
            text, which may be either, a name comes first.
        names: Those of the model.

    Raises:
        InputError: A class that the model does not have, or none at all.
    """
    known: dict[str, list[int]] = {}
    for number, name in names.items():
        known.setdefault(class_key(name), []).append(number)
    numbers: set[int] = set()
    for item in _items(wanted, known):
        by_number = {int(item)} & set(names) if str(item).isdecimal() else set()
        by_name = set() if isinstance(item, int) else set(known.get(class_key(item), ()))
        if not by_name | by_number:
            text = str(item)
            raise InputError(
                f"classes: the model has no class {text!r}{hint(text, map(str, names.values()))}; its classes: "
                f"{listed(names)}, numbers 0 to {len(names) - 1}"
            )
        if by_name and by_number - by_name:
            _tell(f"classes: {item!r} is taken for the class of that name; number {item} is {names[int(item)]!r}")
        numbers |= by_name or by_number
    if not numbers:
        raise InputError(f"classes={wanted!r} keeps no class; name one at least of {listed(names)}")
    return sorted(numbers)


def _items(wanted: Any, known: Iterable[str]) -> list[int | str]:
    """Return the items of what is given for classes: integers as such, anything else as text."""
    wanted = wanted.tolist() if hasattr(wanted, "tolist") else wanted  # arrays
    if isinstance(wanted, str):
        return [wanted] if class_key(wanted) in known else list(filter(None, split_list(wanted)))
    several = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, bytes) else [wanted]
    plain = [item.item() if hasattr(item, "item") else item for item in several]
    return [item if type(item) is int else _unquoted(str(item), known) for item in plain if item != ""]


def _unquoted(name: str, known: Iterable[str]) -> str:
    """Return a name without quotes around it, unless they are part of it."""
    return name if class_key(name) in known else name.strip(" '\"")


@torch.no_grad()
def only_classes(model: nn.Module, numbers: Iterable[int]) -> nn.Module:
    """Return a copy of a model whose head puts out these classes alone, renumbered in their order.

    What it puts out for them is what the model does.

    Args:
        model: Of any task with classes; not modified.
        numbers: Its numbers of the classes to keep, rising.

    Raises:
        InputError: The head's classes are no channels of their own, or not independent of each other.
    """
    numbers, names = list(numbers), names_of(model)
    net = copy.deepcopy(model)
    head = net.model[-1]
    for kind, why in OTHERWISE.items():
        if is_a(head, kind):
            raise InputError(f"classes: none can be taken out of this head ({type(head).__name__}): it {why}")
    layers = [(container, key, getattr(container, str(key))) for container, key in class_layers(head)]
    if not layers or any(len(layer.weight) != len(names) for *_, layer in layers):
        raise InputError(
            f"classes: the head of this model ({type(head).__name__}) does not put out a channel for each of its "
            f"{len(names)} classes, so that none can be taken out"
        )
    for container, key, layer in layers:
        setattr(container, str(key), _rows(layer, numbers))
    lost = len(names) - len(numbers)
    for name in ("nc", "no"):
        if hasattr(head, name):
            setattr(head, name, getattr(head, name) - lost)
    note_parameters(net)
    net.names = {new: names[old] for new, old in enumerate(numbers)}
    if hasattr(net, "nc"):
        net.nc = len(numbers)
    if isinstance(getattr(net, "yaml", None), dict):
        net.yaml = {**net.yaml, "nc": len(numbers), KEPT_FROM: net.yaml.get(KEPT_FROM) or list(names.values())}
    return net


def _rows(layer: nn.Module, numbers: list[int]) -> nn.Module:
    """Return a copy of a layer that puts out these channels alone."""
    cut = copy.deepcopy(layer)
    for name in ("weight", "bias"):
        if (tensor := getattr(layer, name)) is not None:
            setattr(cut, name, nn.Parameter(tensor[numbers].clone(), requires_grad=tensor.requires_grad))
    setattr(cut, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(numbers))
    return cut


def had_more(model: nn.Module) -> bool:
    """Return whether classes were taken out of a model."""
    cfg = getattr(model, "yaml", None)
    return isinstance(cfg, dict) and bool(cfg.get(KEPT_FROM))


def like(model: nn.Module, other: nn.Module) -> nn.Module:
    """Return `model` with those classes alone that `other` has, if classes were taken out of that; else as it is."""
    if not had_more(other):
        return model
    numbers = sorted(pairs_with(other, names_of(model)))
    return model if not numbers or len(numbers) == len(names_of(model)) else only_classes(model, numbers)


def pairs_with(model: nn.Module, theirs: Names) -> dict[int, int]:
    """Return {their number: the model's} of the classes that a model, which lost some, has in common with others.

    Where one side has no names, numbers are those of the classes that the model once had, if there are as many.
    """
    ours, once = names_of(model), _once(model)
    if not _by_number(model, theirs):
        return dict(pair_classes(theirs, ours))
    places = {class_key(name): number for number, name in reversed(once.items())}
    kept = {places[class_key(name)]: number for number, name in ours.items() if class_key(name) in places}
    return {old: kept[number] for number, old in enumerate(sorted(theirs)) if number in kept}


def _once(model: nn.Module) -> dict[int, str]:
    """Return the names of all classes that a model once had."""
    return dict(enumerate(model.yaml[KEPT_FROM]))


def _by_number(model: nn.Module, theirs: Names) -> bool:
    """Return whether the numbers of others are those of the classes that a model once had."""
    once = _once(model)
    return len(theirs) == len(once) and (is_unnamed(theirs) or is_unnamed(once))


def fewest_classes(models: Iterable[nn.Module]) -> nn.Module | None:
    """Return the model of the fewest classes among those that lost some; None where none did."""
    return min(filter(had_more, models), key=lambda model: len(names_of(model)), default=None)


def data_for(model: nn.Module | None, data: str) -> str:
    """Return the data to train or to measure a model on: a view where the data has classes that the model lost.

    Args:
        model: The model, or None.
        data: A data set in any form.
    """
    if model is None or not had_more(model):
        return data
    names, task = names_of(model), task_of(model)
    if task not in (*BOX_TASKS, "classify"):
        return data
    data = data if task == "classify" else as_yaml(data)
    found = read_set(data, task)
    theirs = dict(found["names"])
    pairs = pairs_with(model, theirs)
    lost = set(map(class_key, _once(model).values())) - set(map(class_key, names.values()))
    gone = [
        n for n, name in theirs.items() if n not in pairs and (_by_number(model, theirs) or class_key(name) in lost)
    ]
    if not gone or not pairs:
        return data  # of the classes that it has, or of others, which it is to learn
    view = view_of(data, task, found, names, pairs)
    _tell(f"{data}: seen through {len(pairs)} of its {len(theirs)} classes, {listed(names)}: {view}")
    return view


@lru_cache  # once a process
def _tell(message: str) -> None:
    LOGGER.info(message)
