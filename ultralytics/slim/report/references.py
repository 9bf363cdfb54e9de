"""What a compressed model is compared with in the report besides its own stages: smaller models of the same task."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import fingerprint
from . import measures


def smaller_scale(original: nn.Module, imgsz: int) -> dict:
    """Build the next smaller scale of a model's family, for the same classes, and count what it costs.

    Returns:
        `{"name", "params", "gflops"}`, BatchNorm fused; or `{"fault"}`, why there is none.
    """
    spec = getattr(original, "yaml", None) or {}
    scales, own = spec.get("scales") or {}, spec.get("scale")
    family = Path(spec.get("yaml_file") or type(original).__name__).stem
    if own not in scales:
        return {"fault": f"The YAML of {family} names no scales, so there is no next smaller one to compare with."}
    size = lambda scale: (scales[scale][1], scales[scale][0])  # width, then depth
    smaller = [scale for scale in scales if size(scale) < size(own)]
    if not smaller:
        return {"fault": f"{family} is the smallest scale of its family, so there is no smaller one to compare with."}
    scale = max(smaller, key=size)
    try:
        model = _build(original, {**spec, "scale": scale})
    except Exception as error:  # of a class or a YAML of the user's own: any kind
        return {"fault": f"Scale {scale} of {family} could not be built to compare with: {error}."}
    return {"name": name_at_scale(family, own, scale), **measures.cost(model.eval().fuse(verbose=False), imgsz)}


def _build(like: nn.Module, spec: dict) -> nn.Module:
    """Return the model that a YAML builds for the classes of another, without shifting the caller's random numbers."""
    with torch.random.fork_rng(devices=[]):
        classes = getattr(like.model[-1], "nc", spec.get("nc"))
        return type(like)(copy.deepcopy(spec), ch=spec.get("channels", 3), nc=classes, verbose=False)


def name_at_scale(family: str, own: str, scale: str) -> str:
    """Return the name of another scale: yolov8s-seg becomes yolov8n-seg."""
    name, count = re.subn(rf"(?<=\d){re.escape(own)}(?![a-z0-9])", scale, family, count=1)
    return name if count else f"{family}, scale {scale}"


def measured_beside(
    paths: Sequence[str], data: str | None, imgsz: int, device: Any, known: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return name, cost and accuracy of each checkpoint; what `known` holds of the same file is not measured again."""
    found = []
    for path in paths:
        sha256 = fingerprint(path)
        row = next((dict(row) for row in known if row["path"] == path and row["sha256"] == sha256), {})
        if not row:
            row = {"name": Path(path).stem, "path": path, "sha256": sha256, **measures.describe(Path(path), imgsz)}
        if data and row.get("map50_95") is None:
            row |= measures.accuracy_by_class(Path(path), data, imgsz, device)
        found.append({"latency": {}, "map50": None, "map50_95": None, **row})
    return found
