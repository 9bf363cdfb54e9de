"""A narrower YOLOv8: its YAML with a smaller width, started from the original's weights as far as those fit."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.modules import SPPF, C2f, Concat, Conv, Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.pruning.checkpoint import save_checkpoint
from ultralytics.slim.pruning.repair.refit import inputs_of
from ultralytics.utils.torch_utils import get_flops

from .bisect import nearest


def narrower(original: nn.Module, width: float) -> DetectionModel:
    """Return the model that the original's YAML builds at another width multiple, with fresh weights."""
    cfg = copy.deepcopy(original.yaml)
    if "scales" in cfg:
        depth, _, most = cfg["scales"][cfg["scale"]]
        cfg["scales"] = {cfg["scale"]: [depth, width, most]}
    else:  # as older releases of Ultralytics wrote it
        cfg["width_multiple"] = width
    model = DetectionModel(cfg, ch=cfg.get("channels", 3), nc=len(original.names), verbose=False)
    model.names, model.args = original.names, copy.deepcopy(original.args)
    return model


def width_of(cfg: dict) -> float:
    """Return the width multiple of a model's YAML."""
    return cfg["scales"][cfg["scale"]][1] if "scales" in cfg else cfg["width_multiple"]


def narrow(start: Path, out: Path, share: float, imgsz: int) -> Path:
    """Write to `out` a narrower model of about this share of the checkpoint's GFLOPs, with slices of its weights."""
    yolo = YOLO(start)
    original = yolo.model.float().eval()
    goal, widest = share * get_flops(original, imgsz), width_of(original.yaml)
    model = nearest(lambda w: narrower(original, w), lambda m: get_flops(m, imgsz), goal, (widest / 16, widest))
    take_slices(model, original)
    save_checkpoint(model.eval(), out, {"narrower": share}, yolo.ckpt)
    return out


@torch.no_grad()
def take_slices(model: nn.Module, original: nn.Module) -> None:
    """Give a narrower YOLOv8 the weights of the original's first channels.

    The channels are followed through the model, so that behind a concatenation each part is read by the weights that
    read it in the original. Where the original has fewer channels, the fresh weights stay.

    Raises:
        TypeError: If there is a layer that YOLOv8 does not have.
    """
    came: list[list[int]] = []  # for each layer, which of the original's channels its outputs are
    channels = list(range(3))
    for new, old in zip(model.model, original.model):
        inputs = inputs_of(new, channels, came)
        if isinstance(new, Conv):
            channels = _conv(new, old, inputs)
        elif isinstance(new, C2f):
            channels = _c2f(new, old, inputs)
        elif isinstance(new, SPPF):
            channels = _sppf(new, old, inputs)
        elif isinstance(new, Concat):
            widths = [_channels(original, i, old.i) for i in old.f]
            channels = _joined(inputs, widths)
        elif isinstance(new, Detect):
            _detect(new, old, inputs)
        elif isinstance(new, nn.Upsample):
            channels = inputs
        else:
            raise TypeError(f"layer {new.i} is a {type(new).__name__}, which YOLOv8 does not have")
        came.append(channels)


def _channels(model: nn.Module, index: int, at: int) -> int:
    """Return how many channels a layer puts out; `index` is as layer `at` names it."""
    layer = model.model[index if index >= 0 else at + index]
    if isinstance(layer, (C2f, SPPF)):
        return layer.cv2.conv.out_channels
    if isinstance(layer, nn.Upsample):
        return _channels(model, layer.f, layer.i)
    return layer.conv.out_channels


def _joined(parts: list[list[int]], widths: list[int]) -> list[int]:
    """Return the channels of parts joined behind each other; `widths` are the parts' in the original."""
    return [sum(widths[:k]) + channel for k, part in enumerate(parts) for channel in part]


def _conv(new: Conv, old: Conv, inputs: list[int], outputs: list[int] | None = None) -> list[int]:
    """Fill a convolution and its BatchNorm; return which of the original's channels it puts out."""
    rows = list(range(new.conv.out_channels)) if outputs is None else outputs
    _weight(new.conv.weight, old.conv.weight, rows, inputs)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _vector(getattr(new.bn, name), getattr(old.bn, name), rows)
    return rows


def _weight(new: torch.Tensor, old: torch.Tensor, rows: list[int], columns: list[int]) -> None:
    """Copy the rows and columns that the original has."""
    to, of = zip(*((i, r) for i, r in enumerate(rows) if r < len(old)))
    into, out = zip(*((i, c) for i, c in enumerate(columns) if c < old.shape[1]))
    new[torch.tensor(to)[:, None], torch.tensor(into)] = old[torch.tensor(of)[:, None], torch.tensor(out)]


def _vector(new: torch.Tensor, old: torch.Tensor, rows: list[int]) -> None:
    to, of = zip(*((i, r) for i, r in enumerate(rows) if r < len(old)))
    new[list(to)] = old[list(of)]


def _c2f(new: C2f, old: C2f, inputs: list[int]) -> list[int]:
    first = list(range(new.c))
    _conv(new.cv1, old.cv1, inputs, first + [old.c + i for i in first])
    for block, other in zip(new.m, old.m):
        _conv(block.cv1, other.cv1, first)
        _conv(block.cv2, other.cv2, first)
    parts = 2 + len(new.m)
    return _conv(new.cv2, old.cv2, _joined([first] * parts, [old.c] * parts))


def _sppf(new: SPPF, old: SPPF, inputs: list[int]) -> list[int]:
    first = _conv(new.cv1, old.cv1, inputs)
    parts = new.n + 1
    return _conv(new.cv2, old.cv2, _joined([first] * parts, [old.cv1.conv.out_channels] * parts))


def _detect(new: Detect, old: Detect, inputs: list[list[int]]) -> None:
    for branches, others in ((new.cv2, old.cv2), (new.cv3, old.cv3)):
        for branch, other, channels in zip(branches, others, inputs):
            for layer, source in zip(branch[:-1], other[:-1]):
                channels = _conv(layer, source, channels)
            last, whole = branch[-1], other[-1]
            _weight(last.weight, whole.weight, list(range(last.out_channels)), channels)
            last.bias.copy_(whole.bias)
