"""Write a pruned model as a checkpoint that any stock Ultralytics loads, and prove it before it gets its name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics import __version__
from ultralytics.utils import DEFAULT_CFG_DICT, DEFAULT_CFG_KEYS, LOGGER

from ..classes import task_of
from ..errors import InputError
from ..files import write_whole
from ..hints import few
from ..loading import load_checkpoint
from .graph.verify import Unproved, check_equal

HALF_ROUNDING, HALF_SMALLEST = 2.0**-11, 2.0**-25  # relative, and absolute where numbers are not normalised any more
HOOK_MARKS = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
RECORD = "slim"  # key of the plain-builtins record of what was done to the model


def stripped(model: nn.Module) -> nn.Module:
    """Return a half-precision CPU copy of `model` without training state, as Ultralytics strips its own checkpoints.

    Tensors with values beyond half precision stay as they are; whoever loads the file turns it into float32 anyway.
    Hooks stay where they are methods of the model's own modules, and so part of its code.

    Raises:
        InputError: Another hook changes what the model computes; names its layer.
    """
    net = copy.deepcopy(model).cpu().eval().requires_grad_(False)._apply(_halved)
    if hasattr(net, "criterion"):
        del net.criterion  # made anew by the next training; None in its place would be called by some releases
    if hasattr(net, "args"):
        net.args = {k: v for k, v in dict(as_dict(net.args)).items() if k in DEFAULT_CFG_KEYS}
    if foreign := _clear_foreign_hooks(net):
        _check_without(foreign, model, net)
    return net


def _clear_foreign_hooks(net: nn.Module) -> list[str]:
    """Take off the forward hooks that are no methods of modules of `net`; return the names of their layers."""
    own, found = {id(m) for m in net.modules()}, []
    for name, m in net.named_modules():
        for hooks in (m._forward_hooks, m._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if id(getattr(hook, "__self__", None)) not in own:
                    del hooks[key]
                    for marks in HOOK_MARKS:  # which would hold for another hook of this number
                        getattr(m, marks, {}).pop(key, None)
                    found.append(name or "the model itself")
    return found


def _check_without(layers: list[str], model: nn.Module, net: nn.Module) -> None:
    """Raise InputError unless a stripped model computes what the model with hooks on these layers does."""
    try:
        check_equal(copy.deepcopy(model).cpu()._apply(_halved), copy.deepcopy(net))  # which change their precision
    except (Unproved, InputError) as error:
        raise InputError(
            f"forward hooks change what the model computes ({few(layers)}), and a checkpoint cannot hold them, as they "
            "are no methods of the model's own modules: move what they do into the layer's forward, or remove them"
        ) from error


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if half.isfinite().equal(tensor.isfinite()) else tensor


def save_checkpoint(model: nn.Module, path: Path, record: dict, original: dict | None = None) -> None:
    """Write `model` to `path`: to a temporary file first, which is loaded and run before it is renamed.

    The same model and record give the same bytes, whatever the time and the file's name: the date is the original's,
    and stands for when the weights were trained.

    Args:
        model: The model; not modified.
        path: The .pt file to write; parents are created.
        record: Plain builtins, kept under the key `slim`.
        original: Checkpoint of the model before pruning, for its date and its training arguments; those
            that Ultralytics does not know are dropped.

    Raises:
        RuntimeError: If the file does not load back to the same model; nothing is left behind then.
    """
    net = stripped(model)
    wide = [name for name, tensor in net.state_dict().items() if tensor.dtype in (torch.float32, torch.float64)]
    original = original or {}
    args = {**DEFAULT_CFG_DICT, **as_dict(original.get("train_args")), "task": task_of(model)}
    checkpoint = {
        "date": original.get("date"),
        "version": __version__.partition("+")[0],
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "epoch": -1,
        "best_fitness": None,
        "model": net,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "scaler": None,
        "train_args": {k: v for k, v in args.items() if k in DEFAULT_CFG_KEYS},
        RECORD: record,
    }

    def write_and_check(partial: Path) -> None:
        with partial.open("wb") as file:  # given a path, torch writes its name into the file
            torch.save(checkpoint, file)
        loaded = load_checkpoint(partial)[0]
        check_equal(loaded, net)
        _check_values(model, loaded)

    write_whole(path, write_and_check)
    if wide:
        LOGGER.warning(
            f"{path}: values beyond half precision (65,504), so these tensors stay in float32: "
            f"{few(wide)}. Ultralytics saves what it trains in half precision: they are cut off there"
        )


def _check_values(model: nn.Module, loaded: nn.Module) -> None:
    """Raise RuntimeError unless every value of a file is that of the model, but for the rounding to half precision."""
    found = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            gap = (tensor.cpu() - found[name].to(tensor.dtype)).abs()
            if not (gap <= HALF_ROUNDING * tensor.cpu().abs() + HALF_SMALLEST).all():  # NaN, too
                raise RuntimeError(f"{name} has other values in the file than in the model; nothing was saved")


def as_dict(args: Any) -> dict:
    """Return training arguments, a dict or a namespace, as a dict of plain values."""
    items = args if isinstance(args, dict) else vars(args) if args is not None else {}
    return {k: str(v) if isinstance(v, Path) else v for k, v in items.items()}
