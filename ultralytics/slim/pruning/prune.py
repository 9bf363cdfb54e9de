"""Structured pruning of Ultralytics models: score, select, rewrite, verify, save."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz

from ..inputs.weights import torch_model
from .checkpoint import as_dict, save_checkpoint
from .gamma_check import check_gammas
from .graph.channels import ChannelGraph, trace_channels
from .graph.rewrite import sliced
from .graph.verify import check_equal, masking
from .repair.repairs import read_repairs, repair_model
from .result import PruneResult, gather, join
from .rounds import check_steps, factor_due, retrained
from .score.images import fit_in_memory, load_images
from .score.labelled import LabelledImages
from .score.ranking import TAYLOR, choose, rank
from .select.goals import check_floor, read_goal
from .select.narrowing import kept, take_share
from .select.pools import remember_whole
from .select.stopwatch import check_runtime
from .select.targets import Target, make_target, read_floor, take_target

LABELLED = 64  # most labelled images for the Taylor score


def prune_model(
    yolo,
    save_dir,
    factor=None,
    *,
    score="auto",
    scope="auto",
    round_to=8,
    floor="auto",
    exclude=(),
    images=None,
    repair="auto",
    imgsz=None,
    flops=None,
    params=None,
    size_mb=None,
    latency_ms=None,
    runtime="torch",
    batch=1,
    device=None,
    steps=1,
    retrain=None,
    seed=0,
) -> PruneResult:
    """Remove channels of a model and save the result as a stock Ultralytics checkpoint.

    Args:
        yolo (YOLO): The model; not modified.
        save_dir (str | Path): The .pt file to write; parents are created.
        factor (float, optional): Share of the prunable channels to remove, 0 <= factor < 1; 0.7 if no target is given.
        score (str): How important a channel is: one of `scores.SCORES`; 'surgeon', what its removal costs the
            predictions on `images`; 'taylor', what it does to the loss (then `images` is the YAML of a data set with
            labels); or 'auto': 'surgeon' with images, 'gamma' where those are sparse, else 'l1'.
        scope (str): 'layer' removes the same share of every layer, 'global' what costs least for the multiplications it
            saves; 'auto' is 'global' for 'surgeon' and 'taylor', which compare between layers, and 'layer' for the others.
        round_to (int): Widths become multiples of this.
        floor (float | str): Share of each layer's channels that 'global' goes below only where the goal cannot be met
            otherwise; 'auto' is 0.57 of what an even pruning to the same goal would keep (`targets.read_floor`).
        exclude (str | tuple[str, ...]): Names or patterns of layers whose outputs are kept whole.
        images: A few unlabelled images for scores and repairs (see `images.load_images`).
        repair (str | tuple[str, ...]): What is done to the pruned model: some of 'fold' (the removed channels' means go
            to their readers), 'refit' (the layers left are re-fitted to put out what the original's do), 'bn' (BatchNorm
            statistics are taken anew); 'none'; or 'auto': 'refit' with images, 'fold' without.
        imgsz (int, optional): Side of the images and of the GFLOPs reported; the model's training size if not given.
        flops (float, optional): Target instead of `factor`: share of the GFLOPs to keep.
        params (float, optional): Target: share of the parameters to keep.
        size_mb (float, optional): Target: size of the checkpoint in MB (10⁶ bytes).
        latency_ms (float, optional): Target: time of one inference on this machine, measured in turns with the original.
        runtime (str): What the latency is measured in: 'torch', or 'onnx' for ONNX Runtime on the CPU.
        batch (int): Images of one inference, for the latency; their side is `imgsz`.
        device: Where 'torch' runs for the latency, as in Ultralytics; by default the first GPU, else the CPU.
        steps (int): Prunings in which the goal is approached, each scored, repaired and verified anew.
        retrain (Callable[[Path], object], optional): Trains a checkpoint in its place; called between the steps.
        seed (int): Seed of the random score.

    Returns:
        (PruneResult): What was cut; `str()` of it is a summary.

    Raises:
        ValueError: If an argument is out of range, a target is out of reach, or nothing could be pruned.
        TypeError: If `yolo` holds no PyTorch model.
        RuntimeError: If the result is not equal to the masked original; nothing is written then.
    """
    factor, asked = read_goal(factor, flops=flops, params=params, size_mb=size_mb, latency_ms=latency_ms)
    check_runtime(runtime, batch)
    check_steps(steps, retrain)
    path, model = _checked(yolo, save_dir, round_to)
    imgsz = image_size(model, imgsz)
    _, scope = choose(model, score, scope, images)
    check_floor(floor, scope)
    repairs = read_repairs(repair, images is not None)
    target = asked and make_target(*asked, model, imgsz, runtime, batch, device)
    floor = read_floor(floor, scope, target or factor)
    how = How(score, scope, round_to, floor, exclude, images, repairs, imgsz, seed)
    ckpt, results, wholes = getattr(yolo, "ckpt", None), [], {}
    for number in range(1, steps + 1):
        if steps > 1:
            LOGGER.info(f"prune: step {number} of {steps}")
        goal = target.on_the_way(number / steps) if target else factor_due(factor, number / steps)
        results.append(_prune_once(model, how, goal, wholes))
        model = results[-1].model
        if target:
            target.start = goal.start
        if retrain and number < steps:
            model = retrained(model, retrain, results[-1].record(round_to, asked), ckpt)
    result = replace(join(results), path=path, factor=factor)
    if not (result.ratio or target or factor == 0):
        raise ValueError(_nothing(factor, round_to))
    result.latency = target.stopwatch.told(target.start) if target and target.stopwatch else None
    save_checkpoint(result.model, path, result.record(round_to, asked), ckpt)
    LOGGER.info(f"{result}")
    return result


@dataclass(frozen=True)
class How:
    """What the steps of a pruning have in common; as given to `prune_model`, but for what 'auto' stands for."""

    score: str
    scope: str
    round_to: int
    floor: float
    exclude: str | tuple[str, ...]
    images: object
    repairs: tuple[str, ...]
    imgsz: int
    seed: int


def _prune_once(model: nn.Module, how: How, goal: Target | float, wholes: dict) -> PruneResult:
    """Return a pruned, repaired and verified copy of a model, as a result without a path.

    Args:
        model (nn.Module): float32, evaluation mode; not modified.
        how (How): What all steps have in common.
        goal (Target | float): The target, which is told what is reached; or the share of the first model's channels
            to be gone.
        wholes (dict): What the first of several prunings found (`selection.remember_whole`); empty before it.
    """
    target, is_first = goal if isinstance(goal, Target) else None, not wholes
    graph = trace_channels(model)
    images = None if how.images is None else load_images(how.images, how.imgsz, *fit_in_memory(graph, model, how.imgsz))
    score, scope = choose(model, how.score, how.scope, how.images)
    labelled = LabelledImages(model, how.images, "train", how.imgsz, LABELLED) if score == TAYLOR else None
    ranking = rank(model, graph, score, scope, how.exclude, how.seed, images, labelled, "refit" in how.repairs)
    pools, book = ranking.pools, ranking.book
    remember_whole(pools, wholes)
    narrowings = ranking.steps(model, graph, how.round_to, how.floor, _currency(target))
    if is_first and not narrowings and goal:
        raise ValueError(f"nothing to prune: every layer is fixed or at its floor ({len(pools)} groups of channels)")
    if target:
        taken = take_target(model, graph, pools, book, narrowings, target)
    else:
        taken = take_share(pools, narrowings, scope, goal)
    keep = kept(book.roots(), pools, taken)
    if score == "gamma":
        gammas = check_gammas(model, float((~keep[1:]).mean()))
        (LOGGER.info if gammas.enough else LOGGER.warning)(f"prune: {gammas}")
    pruned, error = _cut(model, graph, keep)
    repair_model(how.repairs, model, pruned, graph, keep, ranking.where, images)
    result = gather(model, pruned, graph, pools, keep, how.imgsz)
    seen = 0 if images is None else len(images)
    return replace(result, score=score, scope=scope, floor=how.floor, error=error, images=seen, repairs=how.repairs)


def image_size(model: nn.Module, imgsz: int | None = None) -> int:
    """Return the side of the images, by default that which a model was trained at, 640 if it does not say.

    As in Ultralytics it is rounded up to a multiple of the model's largest stride, and of two sides the larger counts.
    """
    trained = as_dict(getattr(model, "args", None)).get("imgsz")
    stride = int(max(getattr(model, "stride", [32])))
    return check_imgsz(imgsz or (trained if isinstance(trained, int) else 640), stride, max_dim=1)


def _checked(yolo, save_dir, round_to: int) -> tuple[Path, nn.Module]:
    """Return the path and a float32 CPU copy of the model in evaluation mode, or raise for a bad argument."""
    if not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f"round_to should be a positive integer, got {round_to!r}")
    path = Path(save_dir)
    if path.suffix != ".pt":
        raise ValueError(f"save_dir should be the .pt file to write, got '{path}'")
    model = torch_model(yolo, "prune")
    return path, copy.deepcopy(model).float().cpu().eval()


def _currency(target: Target | None) -> str:
    """Return what a step should save most of: parameters where those or the size are the target, else FLOPs."""
    return "params" if target and target.what in {"params", "size_mb"} else "flops"


def _cut(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> tuple[nn.Module, float]:
    """Return the pruned copy of `model` and its largest relative difference to the masked original.

    The model itself is masked for the comparison, as a copy in float64 would take twice its memory.
    """
    pruned = sliced(model, graph, keep)
    with masking(model, graph, keep):
        return pruned, check_equal(model, pruned)


def _nothing(factor: float, round_to: int) -> str:
    """Return the message for a pruning that would remove nothing."""
    return (
        f"factor {factor} removes nothing at widths rounded to multiples of {round_to}: "
        f"use a larger factor, or a smaller round_to"
    )
