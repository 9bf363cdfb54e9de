"""Load checkpoints, and files that hold a whole model in the place of one.

A checkpoint is a dictionary with the model in it. `torch.save(model)` leaves the model alone in the file, which
Ultralytics opens as the list of its layers.
"""

from __future__ import annotations

import errno
import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.utils import LOGGER

from . import compat  # as a module: it may be half imported itself
from .errors import InputError, translated
from .files import write_stand_in
from .logs import PREFIX
from .stored import store_computed

WEIGHTS_ALONE = "weights alone, a state_dict without the network"
NEEDED = (
    "needed is a checkpoint such as runs/detect/train/weights/best.pt, or one made by YOLO(...).save('mine.pt') or "
    "torch.save({'model': model}, 'mine.pt') of an Ultralytics model"
)


def load_checkpoint(weight: str | Path, device: Any = None, fuse: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """Return (model, checkpoint) of a file, the model in float32 and evaluation mode, its weights stored.

    Raises:
        InputError: The file holds something else.
    """
    path = as_checkpoint(weight)
    with translated(Exception), opening(path):
        model, checkpoint = compat.load_checkpoint(path)
    store_computed(model)
    model = model.fuse(verbose=False) if fuse and hasattr(model, "fuse") else model
    return model.to(device), checkpoint


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Return the dictionary of a checkpoint as it was saved; ULTRALYTICS_SAFE_LOAD holds here as for Ultralytics.

    Raises:
        FileNotFoundError: It is not there; Ultralytics would look for one of that name online.
        Exception: Of any kind; the file may be anything.
    """
    from ultralytics.nn.tasks import torch_safe_load  # imports slim

    if not Path(file).is_file():
        raise FileNotFoundError(str(file))
    return torch_safe_load(str(file))[0]


def load_safely(safe: bool = True) -> None:
    """Open files of known classes alone from now on, here and in processes started from here.

    It is what ULTRALYTICS_SAFE_LOAD=1 in the environment does from the start. False leaves things as they are.

    Raises:
        InputError: It is neither True nor False.
    """
    from ultralytics.nn import tasks  # imports slim

    if not isinstance(safe, bool):
        raise InputError(f"safe={safe}: expected True or False")
    if safe:
        os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
        tasks.SAFE_LOAD = True


def as_checkpoint(weight: str | Path) -> str:
    """Return the path of a checkpoint: the file itself, or a stand-in for one that holds a whole model.

    Raises:
        InputError: The file holds something else.
    """
    path, content = str(weight), _outermost(Path(weight))
    if "'" in path and path.lower().endswith(".pt") and Path(path).is_file():
        raise InputError(f"{path}: Ultralytics opens no .pt with an apostrophe in its path; rename it, or its folder")
    if content == "dict":
        return path
    if os.environ.get("ULTRALYTICS_SAFE_LOAD", "").lower() in ("1", "true"):
        raise InputError(
            f"{path} holds no checkpoint but {content}, which safe loading (safe=True, ULTRALYTICS_SAFE_LOAD) forbids "
            "to open"
        )
    with translated(Exception):
        whole = torch.load(path, map_location="cpu", weights_only=False)
    network = whole if _is_network(whole) else getattr(whole, "model", None)  # a YOLO's
    if not _is_network(network):
        held = WEIGHTS_ALONE if _is_state_dict(whole) else f"a {type(whole).__name__}"
        raise InputError(f"{path} holds {held}; {NEEDED}")
    LOGGER.info(f"{PREFIX}{path} holds a whole {type(network).__name__}, taken as a checkpoint")
    trained = getattr(network, "args", None) or {}
    checkpoint = {"model": network, "train_args": dict(trained if isinstance(trained, dict) else vars(trained))}
    return write_stand_in(Path(path), "weights", lambda partial: torch.save(checkpoint, partial))


@contextmanager
def opening(path: str) -> Iterator[None]:
    """Say what is wrong with a file that Ultralytics cannot open: it holds something else, or it is damaged."""
    try:
        yield
    except Exception as error:
        if held := _instead_of_a_model(path):
            raise InputError(f"{path} holds {held}; {NEEDED}") from error
        if path.endswith(".pt") and path not in str(error) and _is_of_damage(error):
            told = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path} cannot be read, it seems damaged or cut off: {told}") from error
        raise


def _is_of_damage(error: Exception) -> bool:
    """Return whether an error is one that reading a damaged file ends in, and not one of the code that it calls."""
    if isinstance(error, OSError):
        return error.errno in (None, errno.EINVAL)  # others are the system's
    of_archive = isinstance(error, RuntimeError) and (
        "PytorchStreamReader" in str(error) or "zip archive" in str(error)
    )
    return of_archive or isinstance(error, (EOFError, pickle.UnpicklingError))


def _instead_of_a_model(path: str) -> str:
    """Return what a file holds that has tensors, numbers and names only; empty for any other file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds: the file may be anything
        return ""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if _is_state_dict(content):
        return WEIGHTS_ALONE
    for key in ("ema", "model"):
        if _is_state_dict(content.get(key)):
            return f"{WEIGHTS_ALONE}, under '{key}'"
    return f"no model under 'model' or 'ema', only {', '.join(map(str, content)) or 'nothing'}"


def _is_state_dict(value: object) -> bool:
    values = list(value.values()) if isinstance(value, dict) else []
    return bool(values) and all(isinstance(item, torch.Tensor) for item in values)


def _is_network(value: object) -> bool:
    from ultralytics.nn.tasks import BaseModel  # imports slim

    return isinstance(value, BaseModel)


def _outermost(path: Path) -> str:
    """Return the class of what a file of torch.save holds, 'dict' too where that is left to Ultralytics to find out."""
    if path.suffix != ".pt" or not zipfile.is_zipfile(path):
        return "dict"
    try:
        return _outermost_of_archive(path)
    except Exception:  # of many kinds: it is damaged
        return "dict"


def _outermost_of_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        pickled = next((name for name in names if name.endswith("/data.pkl")), None)
        if pickled is None or any(name.endswith("/constants.pkl") for name in names):  # TorchScript
            return "dict"
        with file.open(pickled) as stream:
            for code, argument, _ in pickletools.genops(stream):
                if code.name in ("GLOBAL", "STACK_GLOBAL"):
                    return str(argument or "an object").replace(" ", ".")
                if code.name == "EMPTY_DICT":
                    return "dict"
                if code.name not in ("PROTO", "FRAME", "BINPUT", "MEMOIZE", "SHORT_BINUNICODE"):
                    return f"an object that begins with {code.name}"
    return "dict"
