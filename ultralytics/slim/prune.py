"""Structured pruning of Ultralytics models: score, select, rewrite, verify, save."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from ultralytics import __version__
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

from .channels import ChannelGraph, trace_channels
from .checkpoint import RECORD, save_checkpoint
from .rewrite import slice_model
from .scores import pick_score, score_labels, tell_flat_gammas
from .selection import Pool, choose, make_pools
from .verify import check_equal, masked


@dataclass
class PruneResult:
    """What a pruning did.

    Attributes:
        path (Path): The checkpoint written.
        model (nn.Module): The pruned model.
        factor (float): Share of the prunable channels that was asked for.
        ratio (float): Share of the prunable channels that was removed.
        params (tuple[int, int]): Parameters before and after.
        gflops (tuple[float, float]): GFLOPs before and after, at `imgsz`.
        widths (list): (layer name, channels before, after) of every layer that makes channels.
        frozen (list[str]): Layers that could not be cut, each with the reason.
        score (str): The score used.
        error (float): Largest difference to the masked original, relative to the largest output.
        imgsz (int): Image size of the GFLOPs, pixels.
    """

    path: Path
    model: nn.Module
    factor: float
    ratio: float
    params: tuple[int, int]
    gflops: tuple[float, float]
    widths: list[tuple[str, int, int]]
    frozen: list[str]
    score: str = ""
    error: float = 0.0
    imgsz: int = 640
    frozen_share: float = field(default=0.0)

    def __str__(self) -> str:
        """Return the outcome in a few lines."""
        (p0, p1), (f0, f1) = self.params, self.gflops
        cut = sum(a != b for _, a, b in self.widths)
        return (
            f"pruned by {self.score}: asked to remove {self.factor:.1%} of the prunable channels, removed {self.ratio:.1%} "
            f"({cut} of {len(self.widths)} layers narrower)\n"
            f"  parameters {p0:,} -> {p1:,} ({p1 / max(p0, 1):.1%}), GFLOPs {f0:.2f} -> {f1:.2f} "
            f"({f1 / max(f0, 1e-9):.1%}) at {self.imgsz} px\n"
            f"  {self.frozen_share:.1%} of the channels are fixed; equal to the masked original within {self.error:.1e}\n"
            f"  saved as {self.path}"
        )


def prune_model(yolo, save_dir, factor=0.7, *, score="auto", scope="layer", round_to=8, exclude=(), seed=0) -> PruneResult:
    """Remove a share of the channels of a model and save the result as a stock Ultralytics checkpoint.

    Args:
        yolo (YOLO): The model; not modified.
        save_dir (str | Path): The .pt file to write; parents are created.
        factor (float): Share of the prunable channels to remove, 0 <= factor < 1.
        score (str): How important a channel is: 'auto' or one of `scores.SCORES`.
        scope (str): 'layer' removes the same share of every layer, 'global' the weakest of all.
        round_to (int): Widths become multiples of this.
        exclude (str | tuple[str, ...]): Names or patterns of layers whose outputs are kept whole.
        seed (int): Seed of the random score.

    Returns:
        (PruneResult): What was cut; `str()` of it is a summary.

    Raises:
        ValueError: If an argument is out of range, or nothing could be pruned although `factor` > 0.
        TypeError: If `yolo` holds no PyTorch model.
        RuntimeError: If the result is not equal to the masked original; nothing is written then.
    """
    path, model = _checked(yolo, save_dir, factor, round_to)
    graph = trace_channels(model)
    method = pick_score(model) if score == "auto" else score
    if method == "gamma" and tell_flat_gammas(model):
        LOGGER.warning(f"prune: {tell_flat_gammas(model)}")
    values = score_labels(model, graph, method, seed)
    pools, book = make_pools(graph, values, exclude)
    gone = choose(pools, factor, scope, round_to)
    keep = ~np.isin(book.roots(), gone)
    if factor > 0 and keep.all():
        raise ValueError(_nothing(pools, factor, round_to))
    pruned, error = _cut(model, graph, keep)
    result = _result(path, model, pruned, graph, pools, keep, factor)
    result.score, result.error = method, error
    save_checkpoint(pruned, path, _record(result, scope, round_to), getattr(yolo, "ckpt", None) and yolo.ckpt.get("train_args"))
    LOGGER.info(f"{result}")
    return result


def _checked(yolo, save_dir, factor: float, round_to: int) -> tuple[Path, nn.Module]:
    """Return the path and a float32 CPU copy of the model in evaluation mode, or raise for a bad argument."""
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < 1:
        raise ValueError(f"factor should be the share of channels to remove, 0 <= factor < 1, got {factor!r}")
    if not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f"round_to should be a positive integer, got {round_to!r}")
    path = Path(save_dir)
    if path.suffix != ".pt":
        raise ValueError(f"save_dir should be the .pt file to write, got '{path}'")
    model = getattr(yolo, "model", yolo)
    if not isinstance(model, nn.Module):
        raise TypeError(f"prune needs a PyTorch model (.pt or .yaml), got {model!r}; exported formats cannot be pruned")
    return path, copy.deepcopy(model).float().cpu().eval()


def _cut(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> tuple[nn.Module, float]:
    """Return the pruned copy of `model` and its largest relative difference to the masked original."""
    pruned = copy.deepcopy(model)
    slice_model(pruned, graph, keep)
    return pruned, check_equal(masked(model, graph, keep), pruned)


def _result(path, model, pruned, graph: ChannelGraph, pools: list[Pool], keep, factor: float) -> PruneResult:
    """Gather the figures of a pruning."""
    imgsz = getattr(model, "args", {}).get("imgsz", 640) if isinstance(getattr(model, "args", None), dict) else 640
    total = sum(len(p.units) * p.size for p in pools)
    gone = sum(int((~keep[labels]).sum()) for labels in graph.layers.values())
    widths = [(name, len(labels), int(keep[labels].sum())) for name, labels in graph.layers.items()]
    reasons, roots = graph.book.frozen(), graph.book.roots()
    frozen, fixed = [], 0
    for name, labels in graph.layers.items():
        why = Counter(reasons[r] for r in roots[labels].tolist() if r in reasons)
        fixed += sum(why.values())
        if why:
            frozen.append(f"{name}: {sum(why.values())} of {len(labels)} channels ({why.most_common(1)[0][0]})")
    return PruneResult(
        path,
        pruned,
        factor,
        gone / max(total, 1),
        tuple(sum(p.numel() for p in m.parameters()) for m in (model, pruned)),
        tuple(get_flops(m, imgsz) for m in (model, pruned)),
        widths,
        frozen,
        imgsz=imgsz,
        frozen_share=fixed / max(graph.total(), 1),
    )


def _record(result: PruneResult, scope: str, round_to: int) -> dict:
    """Return the checkpoint's record of what was cut, in plain builtins."""
    return {
        "tool": f"{RECORD} of ultralytics {__version__}",
        "score": result.score,
        "scope": scope,
        "round_to": round_to,
        "factor": float(result.factor),
        "ratio": float(result.ratio),
        "params": list(result.params),
        "gflops": [float(g) for g in result.gflops],
        "imgsz": result.imgsz,
        "widths": {name: [before, after] for name, before, after in result.widths},
    }


def _nothing(pools: list[Pool], factor: float, round_to: int) -> str:
    """Return the message for a pruning that would remove nothing."""
    if not any(len(p.units) > p.floor() for p in pools):
        return f"nothing to prune: every layer is fixed or at its floor ({len(pools)} pools of channels)"
    least = min(1 - (len(p.units) + p.rounded(len(p.units) - round_to, round_to)) / 2 / len(p.units) for p in pools)
    return (
        f"factor {factor} removes nothing at widths rounded to multiples of {round_to}: "
        f"use a factor above {max(least, 0):.3f}, or a smaller round_to"
    )
