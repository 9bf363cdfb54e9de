"""What differs between the releases of Ultralytics that the patches cover (patches/series.json), in one place.

Names are imported from here where an older release calls them otherwise or has no such thing; functions hide what works
otherwise there. On the release that this fork is pinned to, everything is upstream's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics import utils
from ultralytics.nn import modules
from ultralytics.nn.modules import block
from ultralytics.utils import metrics, torch_utils

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.engine.validator import BaseValidator


class _Absent(nn.Module):
    """Stands for a block that the release does not have: no module is an instance of it."""


A2C2f = getattr(modules, "A2C2f", _Absent)
AAttn = getattr(block, "AAttn", _Absent)
Attention = getattr(block, "Attention", _Absent)
RealNVP = getattr(block, "RealNVP", _Absent)
RepVGGDW = getattr(modules, "RepVGGDW", _Absent)

unwrap_model = getattr(torch_utils, "unwrap_model", None) or torch_utils.de_parallel  # renamed in 8.3.2xx

try:
    from ultralytics.utils.nms import non_max_suppression as suppress
except ImportError:  # before 8.3.2xx
    from ultralytics.utils.ops import non_max_suppression as suppress
NMS_OPTIONS = inspect.signature(suppress).parameters
UPSTREAM_CLASSES = frozenset(("YOLO", "YOLOWorld", "YOLOE", "RTDETR", "NAS", "SAM", "FastSAM", "LLM"))
TAKES_DEVICE = bool(inspect.signature(torch_utils.time_sync).parameters)
batch_probiou = getattr(metrics, "batch_probiou", None)  # before 8.1 there are no rotated boxes
OLDER_INT8_FORMATS = frozenset(("openvino", "engine", "coreml", "saved_model", "tflite", "edgetpu"))

if hasattr(utils, "YAML"):
    YAML = utils.YAML
else:

    class YAML:
        """Read and write YAML files under the newer name."""

        load = staticmethod(utils.yaml_load)
        save = staticmethod(utils.yaml_save)


def load_checkpoint(
    weight: str | Path, device: Any = None, inplace: bool = True, fuse: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """Return (model, checkpoint) of one file."""
    from ultralytics.nn import tasks  # imports slim

    load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
    return load(weight, device, inplace, fuse)


def converted_data(data: str) -> str:
    """Return the YAML, or the folder, that a data set in NDJSON or on Ultralytics' platform is converted to.

    Others are returned as they are, and so are these where the release takes neither.
    """
    from ultralytics.data import utils as data_utils  # imports slim

    convert = getattr(data_utils, "convert_ndjson_to_yolo_if_needed", None)
    return str(convert(data)) if convert else data


def validated_names(validator: BaseValidator) -> dict[int, str]:
    """Return the classes of the data that a validator starts on; 8.0.x says so before it has read the data."""
    if validator.data is None:
        from ultralytics.data.utils import check_det_dataset  # imports slim

        return check_det_dataset(validator.args.data)["names"]
    return validator.data["names"]


def keep_counts(validator: BaseValidator) -> None:
    """Leave the number of objects by class with the metrics, where the release leaves it with the validator."""
    if not hasattr(validator.metrics, "nt_per_class"):
        validator.metrics.nt_per_class = validator.nt_per_class


@contextmanager
def onnx_by_torchscript() -> Iterator[None]:
    """Let ONNX be written by TorchScript; a release older than torch's other exporter does not ask for that itself."""
    plain = torch.onnx.export
    if "dynamo" in inspect.signature(plain).parameters:
        torch.onnx.export = partial(plain, dynamo=False)  # unless it is given
    try:
        yield
    finally:
        torch.onnx.export = plain


def own_class(network: nn.Module) -> tuple[type, dict[str, type]] | None:
    """Return a fork's class beside upstream's that has a network among its own, such as YOLOv10, and its parts.

    The parts are by name: `trainer`, `validator`, `predictor`. None of a network that no such class has.
    """
    from ultralytics import models  # imports slim
    from ultralytics.engine.model import Model

    for name, kind in vars(models).items():
        if not isinstance(kind, type) or not issubclass(kind, Model) or name in UPSTREAM_CLASSES:
            continue
        table = vars(kind).get("task_map")
        for parts in table.fget(None).values() if isinstance(table, property) else ():
            if parts.get("model") is type(network):
                return kind, parts
    return None


def complete(model: nn.Module) -> nn.Module:
    """Return the model with what the release's loss asks of it, and an older checkpoint lacks."""
    if not hasattr(model, "end2end"):
        model.end2end = getattr(model.model[-1], "end2end", False)
    return model


def own_bars() -> ModuleType | SimpleNamespace:
    """Return Ultralytics' module of progress bars, or something like it where the release takes those of tqdm."""
    bars = getattr(utils, "tqdm", None)
    return bars if hasattr(bars, "is_noninteractive_console") else SimpleNamespace(is_noninteractive_console=None)


def int8_formats() -> frozenset[str]:
    """Return the formats of an export that are made with whole numbers of eight bits."""
    from ultralytics.engine import exporter  # imports slim

    return getattr(exporter, "INT8_FORMATS", OLDER_INT8_FORMATS)


def int8_options() -> dict[str, Any]:
    """Return the options of an export that ask for whole numbers of eight bits."""
    return {"quantize": 8} if "quantize" in utils.DEFAULT_CFG_DICT else {"int8": True}


def half_options() -> dict[str, Any]:
    """Return the options of an export that ask for half precision."""
    return {"quantize": 16} if "quantize" in utils.DEFAULT_CFG_DICT else {"half": True}


def non_max_suppression(prediction: torch.Tensor, *args, end2end: bool = False, **options) -> list[torch.Tensor]:
    """Return each image's detections (M, 6 or more); releases before 8.1 have no boxes that are `rotated`."""
    import torchvision  # noqa: F401 (whose NMS is taken where it is imported, which takes seconds, else a loop in Python)

    if "end2end" in NMS_OPTIONS:
        options["end2end"] = end2end
    return suppress(prediction, *args, **{key: value for key, value in options.items() if key in NMS_OPTIONS})


def verify_label(image: Path, label: Path, *rules) -> Any:
    """Return what Ultralytics finds of an image and its label file; None first where it leaves both out.

    Args:
        image, label: The files.
        rules: Whether there are keypoints, the number of classes, how many keypoints and numbers each.
    """
    from ultralytics.data.utils import verify_image_label  # imports slim

    asked = (str(image), str(label), "", *rules, False)  # the last one, whether all are one class, is newer
    try:
        return verify_image_label(asked)
    except ValueError:  # it is taken apart before anything is looked at
        return verify_image_label(asked[:-1])


def time_sync(device: torch.device | None = None) -> float:
    """Return the time in seconds once a device is done; older releases wait for the current GPU."""
    return torch_utils.time_sync(*([device] if TAKES_DEVICE else []))


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16 itself; False where torch is too old to say."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def warmup_iterations(trainer: BaseTrainer, batches: int) -> int:
    """Return how many iterations the learning rate rises for, 0 for none; `batches` are those of an epoch."""
    if hasattr(trainer, "_get_warmup_iterations"):
        return trainer._get_warmup_iterations(batches)
    return max(round(trainer.args.warmup_epochs * batches), 100) if trainer.args.warmup_epochs > 0 else 0


def add_loss_items(trainer: BaseTrainer, items: dict[str, torch.Tensor]) -> int | None:
    """Put figures beside the parts of the loss that the progress bar and results.csv show.

    Returns the number of these parts, where they are a tensor, for `hide_loss_items`.
    """
    if isinstance(trainer.loss_items, dict):
        trainer.loss_items = {**trainer.loss_items, **items}
        return None
    own = len(trainer.loss_items)
    names = [name for name in trainer.loss_names if name not in items][:own]
    names += [f"loss_{number}" for number in range(len(names) + 1, own + 1)]  # a fork's trainer may name fewer
    trainer.loss_items = torch.cat([trainer.loss_items, torch.stack(list(items.values()))])
    trainer.loss_names = (*names, *items)
    return own


def hide_loss_items(trainer: BaseTrainer, own: int | None) -> None:
    """Take the figures out again before validation, which adds the parts of its own loss to a tensor of that length."""
    items = getattr(trainer, "loss_items", None)  # set by the first batch
    if own is not None and isinstance(items, torch.Tensor) and len(items) > own:
        trainer.loss_items = items[:own]
