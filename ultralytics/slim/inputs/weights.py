"""Find and check the checkpoints that are given, and the path of one that is to be written."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ultralytics import YOLO
from ultralytics.engine.exporter import export_formats
from ultralytics.engine.model import Model
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from ..compat import own_class
from ..errors import InputError, KindError, MissingFileError, translated
from ..loading import NEEDED, as_checkpoint, opening
from ..stored import check_finite, store_computed
from .places import PROJECT, find_file, looked_in, read_yaml


def find_weights(weights: str | Path, beside: Path = PROJECT, key: str = "weights") -> str:
    """Return the path of a checkpoint, model YAML or exported model; published names are for Ultralytics to download.

    Args:
        weights: As given: from the working directory, or else from the folder `beside`.
        beside: Another place to look in.
        key: What it was given as, for the message.

    Raises:
        MissingFileError: There is no such file.
        InputError: It is a YAML of something else.
    """
    if found := find_file(weights, beside):
        if found.is_dir() and not _is_exported(found):
            raise MissingFileError(f"{key}={weights} is a folder; give the checkpoint in it, such as weights/best.pt")
        if found.suffix in (".yaml", ".yml") and "backbone" not in read_yaml(found):
            raise InputError(f"{key}={weights} describes no model (it has no backbone:); give a trained checkpoint")
        return str(found)
    if Path(weights).name in GITHUB_ASSETS_NAMES or str(weights).startswith(("http://", "https://", "ul://")):
        return str(weights)
    raise MissingFileError(
        f"{key}={weights}: no such file in {looked_in(beside)}; give the path of a trained Ultralytics "
        f"checkpoint, such as runs/detect/train/weights/best.pt"
    )


def _is_exported(folder: Path) -> bool:
    """Return whether Ultralytics would load this folder as an exported model."""
    return any(folder.name.endswith(end) for end in export_formats()["Suffix"])


def open_model(weights: str | Path) -> YOLO:
    """Return the Ultralytics model of a file.

    Raises:
        SlimError: It cannot be opened; a damaged file raises errors of any kind.
    """
    path = as_checkpoint(weights)
    with translated(Exception), opening(path):
        yolo = YOLO(path)
        if type(yolo) is YOLO and (own := own_class(yolo.model)):
            yolo = own[0](path)
    if isinstance(yolo.model, nn.Module):
        store_computed(yolo.model)
    return yolo


def open_export(path: str | Path, original: Model) -> Model:
    """Return the Ultralytics model of a file exported from a checkpoint, by the class that knows the checkpoint's."""
    own = own_class(original.model)
    return (own[0] if own else YOLO)(str(path), task=original.task)


def torch_model(yolo: YOLO | nn.Module, doing: str) -> nn.Module:
    """Return the network of a YOLO, or a network itself.

    Raises:
        KindError: It is an exported model, which has no layers to work on.
        InputError: It is the bare list of a network's layers, or its weights are NaN or infinite.
    """
    is_network = isinstance(yolo, nn.Module) and not isinstance(yolo, Model)  # which has its layers in `model`
    model = yolo if is_network else getattr(yolo, "model", yolo)
    if type(model) is nn.Sequential and not hasattr(model, "yaml"):
        raise InputError(f"{doing} got the layers alone, a Sequential, and not the network that joins them; {NEEDED}")
    if isinstance(model, nn.Module):
        check_finite(model, "the model")
        return model
    raise KindError(
        f"{doing} needs a PyTorch model (.pt or .yaml), got {model!r}; with an exported one you can predict and "
        f"evaluate"
    )


def check_checkpoint_path(path: str | Path, key: str = "save_dir") -> Path:
    """Return the path of a checkpoint to be written; raise where it is none, before hours of training."""
    path = Path(path)
    if path.suffix != ".pt" or path.is_dir():
        raise InputError(f"{key}={path}: expected the path of the .pt file to write, such as weights/mine.pt")
    return path
