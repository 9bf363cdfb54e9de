"""Structured pruning of Ultralytics models: score, select, rewrite, verify, save."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz

from ..errors import InputError
from ..inputs.images import check_sides
from ..inputs.unlabelled import load_images
from ..inputs.weights import torch_model
from ..measuring.seen import tell_seen
from ..stored import plain_copy
from .checkpoint import as_dict, save_checkpoint
from .gamma_check import check_gammas
from .graph.channels import ChannelGraph, input_size, trace_channels
from .graph.rewrite import sliced
from .graph.verify import check_equal, masking
from .options import PruneOptions, with_keywords
from .repair.repairs import read_repairs, repair_model
from .result import PruneResult, gather, join
from .rounds import check_steps, factor_due, retrained
from .score.labelled import LabelledImages
from .score.memory import fit_in_memory
from .score.ranking import TAYLOR, choose, rank
from .select.goals import check_floor, read_goal
from .select.narrowing import kept, take_share
from .select.pools import Widths, counted_from, exclude_layers
from .select.stopwatch import Reading, check_runtime
from .select.targets import Target, make_target, read_floor, take_target

LABELLED = 64  # most labelled images for the Taylor score


def prune_model(
    yolo: YOLO | nn.Module,
    save_dir: str | Path,
    factor: float | None = None,
    options: PruneOptions | None = None,
    **keywords: Any,
) -> PruneResult:
    """Remove channels of a model and save the result as a stock Ultralytics checkpoint.

    Args:
        yolo: The model; not modified.
        save_dir: The .pt file to write; parents are created.
        factor: Share of the prunable channels to remove, 0 <= factor < 1; 0.7 if no target is given.
        options: Everything else, see `PruneOptions`.
        keywords: Options one by one, in place of those in `options`: `prune_model(yolo, "small.pt", flops=0.5)`.

    Returns:
        What was cut; `str()` of it is a summary.

    Raises:
        InputError: An argument is out of range, a target is out of reach, or nothing could be pruned.
        KindError: There is no such option, or `yolo` holds no PyTorch model.
        Refusal: The model has a block that is not pruned.
        RuntimeError: The result is not equal to the masked original; nothing is written then.
    """
    options = with_keywords(options or PruneOptions(), keywords, "prune_model")
    factor, asked = read_goal(factor, **options.targets)
    check_runtime(options.runtime, options.batch)
    check_steps(options.steps, options.retrain)
    path, model = _checked(yolo, save_dir, options.round_to)
    ckpt = getattr(yolo, "ckpt", None)
    options = _chosen(model, options)
    if options.images is not None:
        tell_seen(model, options.images, options.imgsz, input_size(model)[1], "prune: the original")
    target = asked and make_target(*asked, model, options.imgsz, options.runtime, options.batch, options.device)
    options = replace(options, floor=read_floor(options.floor, options.scope, target or factor))
    rounds: list[_Round] = []
    for number in range(1, options.steps + 1):
        if options.steps > 1:
            LOGGER.info(f"prune: step {number} of {options.steps}")
        done = number / options.steps
        goal = target.on_the_way(done) if target else factor_due(factor, done)
        rounds.append(_prune_once(model, options, goal, rounds[-1] if rounds else None))
        result = rounds[-1].result
        model = result.model
        if options.retrain and number < options.steps:
            model = retrained(model, options.retrain, result.record(options.round_to, asked), ckpt)
    result = replace(join([r.result for r in rounds]), path=path, factor=factor)
    if not (result.ratio or target or factor == 0):
        raise InputError(_nothing(factor, options.round_to))
    if target and target.stopwatch:
        result.latency = target.stopwatch.record(rounds[-1].reached)
    save_checkpoint(result.model, path, result.record(options.round_to, asked), ckpt)
    LOGGER.info(f"{result}")
    return result


def check_for(model: nn.Module, factor: float | None, options: PruneOptions) -> None:
    """Raise a SlimError where these options would be refused for this model, without measuring anything."""
    net = plain_copy(model).float().cpu().eval()
    read_goal(factor, **options.targets)
    check_runtime(options.runtime, options.batch)
    _check_round_to(options.round_to)
    options = _chosen(net, options)
    exclude_layers(trace_channels(net), options.exclude)


def _chosen(model: nn.Module, options: PruneOptions) -> PruneOptions:
    """Return the options with what 'auto' stands for in score, scope, repairs and image size; the floor is left."""
    score, scope = choose(model, options.score, options.scope, options.images)
    check_floor(options.floor, scope)
    repairs = read_repairs(options.repair, options.images is not None)
    return replace(options, score=score, scope=scope, repair=repairs, imgsz=image_size(model, options.imgsz))


@dataclass(frozen=True)
class _Round:
    """One of several prunings.

    Attributes:
        result: What it did, without a path.
        first: Units of every pool before the first of the prunings.
        reached: What the model has of the target after it; None without one.
    """

    result: PruneResult
    first: Widths
    reached: Reading | None


def _prune_once(model: nn.Module, options: PruneOptions, goal: Target | float, last: _Round | None) -> _Round:
    """Return a pruned, repaired and verified copy of a model.

    Args:
        model: Float32, evaluation mode; not modified.
        options: Without any 'auto'.
        goal: The target of this pruning; or the share of the first model's channels to be gone after it.
        last: The pruning before it; None for the first.
    """
    graph = trace_channels(model)
    images = None
    if options.images is not None:
        images = load_images(options.images, options.imgsz, *fit_in_memory(graph, model, options.imgsz))
    score, scope = choose(model, options.score, options.scope, options.images)
    labelled = LabelledImages(model, options.images, "train", options.imgsz, LABELLED) if score == TAYLOR else None
    ranking = rank(
        model, graph, score, scope, options.exclude, options.seed, images, labelled, "refit" in options.repair
    )
    pools, first = counted_from(last.first if last else {}, ranking.pools)
    ranking = replace(ranking, pools=pools)
    target = goal if isinstance(goal, Target) else None
    narrowings = ranking.narrowings(model, graph, options.round_to, options.floor, _currency(target))
    if last is None and not narrowings and goal:
        raise InputError(f"nothing to prune: every layer is fixed or at its floor ({len(pools)} groups of channels)")
    if target:
        start = last.reached if last else Reading(target.whole)
        taken, reached = take_target(model, graph, pools, ranking.book, narrowings, target, start)
    else:
        taken, reached = take_share(pools, narrowings, scope, goal), None
    keep = kept(ranking.book.roots(), pools, taken)
    if score == "gamma":
        gammas = check_gammas(model, float((~keep[1:]).mean()))
        (LOGGER.info if gammas.enough else LOGGER.warning)(f"prune: {gammas}")
    pruned, error = _cut(model, graph, keep)
    repair_model(options.repair, model, pruned, graph, keep, ranking.where, images)
    result = gather(model, pruned, graph, pools, keep, options.imgsz)
    seen = 0 if images is None else len(images)
    about = {"score": score, "scope": scope, "floor": options.floor, "images": seen, "repairs": options.repair}
    return _Round(replace(result, error=error, **about), first, reached)


def image_size(model: nn.Module, imgsz: int | None = None) -> int:
    """Return the side of the images, by default that which a model was trained at, 640 if it does not say.

    As in Ultralytics it is rounded up to a multiple of the model's largest stride, and of two sides the larger counts.
    """
    check_sides(imgsz)
    trained = as_dict(getattr(model, "args", None)).get("imgsz")
    stride = int(max(getattr(model, "stride", [32])))
    return check_imgsz(imgsz or (trained if isinstance(trained, int) else 640), stride, max_dim=1)


def _checked(yolo: YOLO | nn.Module, save_dir: str | Path, round_to: int) -> tuple[Path, nn.Module]:
    """Return the path and a float32 CPU copy of the model in evaluation mode, or raise for a bad argument."""
    _check_round_to(round_to)
    path = Path(save_dir)
    if path.suffix != ".pt":
        raise InputError(f"save_dir should be the .pt file to write, got '{path}'")
    model = torch_model(yolo, "prune")
    return path, plain_copy(model).float().cpu().eval()


def _check_round_to(round_to: object) -> None:
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise InputError(f"round_to should be a positive integer, got {round_to!r}")


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
