"""One pruning, the only one or one of several: blocks and channels chosen, taken out, made up for, and proved."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops

from ..errors import InputError
from ..hints import few
from ..inputs.unlabelled import load_images
from .gamma_check import check_gammas
from .graph.channels import ChannelGraph, trace_channels
from .graph.rewrite import sliced
from .graph.verify import check_equal, masking
from .options import PruneOptions
from .repair.repairs import Example, repair_model
from .result import PruneResult, gather
from .score.blocks import FEWEST, Judge, score_blocks
from .score.labelled import LabelledImages
from .score.memory import fit_in_memory
from .score.ranking import SURGEON, TAYLOR, Ranking, choose, rank
from .select.depth import Selection, choose_blocks
from .select.narrowing import kept, take_share, unit_costs
from .select.pools import Widths, counted_from
from .select.stopwatch import Reading
from .select.targets import Target, take_target
from .shorter import Shorter, counted_with_blocks, named_as_before, offered_blocks, shortened

LABELLED = 64  # most labelled images for the Taylor score


@dataclass(frozen=True)
class Round:
    """One of several prunings.

    Attributes:
        result: What it did, without a path.
        first: Units of every pool before the first of the prunings.
        reached: What the model has of the target after it; None without one.
        shorter: What the first of them took out besides channels, if anything.
    """

    result: PruneResult
    first: Widths
    reached: Reading | None
    shorter: Shorter | None


@dataclass(frozen=True)
class _Narrowed(Round):
    """A pruning of channels alone.

    Attributes:
        graph: The channels that the model had.
        ranking: How they were scored.
        chosen: Which went.
        kept: Indices of the output channels that each layer kept, by the original's names.
    """

    graph: ChannelGraph
    ranking: Ranking
    chosen: Selection
    kept: dict[str, np.ndarray]


def prune_once(model: nn.Module, options: PruneOptions, goal: Target | float, last: Round | None) -> Round:
    """Return a pruned, repaired and verified copy of a model.

    Args:
        model: Float32, evaluation mode; not modified.
        options: Without any 'auto' but that of `depth`.
        goal: The target of this pruning; or the share of the first model's channels to be gone after it.
        last: The pruning before it; None for the first.
    """
    graph, images = trace_channels(model), None
    if options.images is not None:
        images = load_images(options.images, options.imgsz, *fit_in_memory(graph, model, options.imgsz))
    narrow = _narrowed(model, graph, options, goal, images, last, last.shorter if last else None)
    if last or not options.depth or not goal:
        return narrow
    if len(images) < FEWEST:
        LOGGER.warning(
            f"prune: all blocks stay: {len(images)} images are too few to judge them by, {FEWEST} are needed"
        )
        return narrow
    return _with_blocks_out(model, options, goal, images, narrow)


def _with_blocks_out(
    model: nn.Module, options: PruneOptions, goal: Target | float, images: torch.Tensor, narrow: _Narrowed
) -> Round:
    """Return a pruning to the same goal that takes blocks out first; the one given where none should go.

    Args:
        model, options, goal: As for `prune_once`.
        images: (N, C, H, W) in 0..1.
        narrow: The model pruned to its goal by channels alone.
    """
    judge, ranking = Judge.of(images, narrow.ranking.where), narrow.ranking

    def change(pruned: _Narrowed, names: Mapping[str, str]) -> float:
        return judge.loss(model, copy.deepcopy(pruned.result.model), pruned.kept, names)

    def flops(net: nn.Module) -> float:
        return get_flops(net, options.imgsz) / narrow.result.gflops[0]

    offered = offered_blocks(model, narrow.graph, options.exclude)
    cost = goal.share if isinstance(goal, Target) else flops
    scores = score_blocks(model, offered, judge, cost)
    alone = change(narrow, Example.of(model, ranking.where).names)
    chosen = choose_blocks(scores, narrow.chosen, alone, 1 - cost(narrow.result.model))
    if not chosen:
        LOGGER.info(f"prune: all of the {len(offered)} blocks stay, channels lose less for what they save")
    while chosen:
        shorter = shortened(model, narrow.graph, ranking.pools, chosen, offered, ranking.where, images)
        short = _narrowed(shorter.model, trace_channels(shorter.model), options, goal, images, None, shorter)
        now = change(short, shorter.example.names)
        told = f"the predictions differ by {now:.3g} from the original's, by {alone:.3g} where only channels go"
        if options.depth is True or now < alone:
            LOGGER.info(f"prune: blocks taken out: {few(shorter.blocks)}; {told}")
            return short
        LOGGER.info(f"prune: without {few(shorter.blocks)} {told}, so they stay")
        chosen = chosen[: len(chosen) // 2]  # together they cost more than each alone: the best of them may pay
    return narrow


def _narrowed(
    model: nn.Module,
    graph: ChannelGraph,
    options: PruneOptions,
    goal: Target | float,
    images: torch.Tensor | None,
    last: Round | None,
    shorter: Shorter | None = None,
) -> _Narrowed:
    """Return a copy of a model with fewer channels, repaired and verified.

    Args:
        model: Float32, evaluation mode; not modified.
        graph: Its channels; excluded layers are frozen in it.
        options: As for `prune_once`.
        goal: As for `prune_once`.
        images: (N, C, H, W) in 0..1, or None.
        last: The pruning before it; None for the first.
        shorter: What was taken out before any channel, if anything.
    """
    score, scope = choose(model, options.score, options.scope, options.images)
    labelled = LabelledImages(model, options.images, "train", options.imgsz, LABELLED) if score == TAYLOR else None
    exclude = shorter.exclude_of(options.exclude) if shorter else options.exclude
    ranking = rank(model, graph, score, scope, exclude, options.seed, images, labelled, "refit" in options.repair)
    pools, first = counted_from(last.first if last else {}, ranking.pools)
    ranking = replace(ranking, pools=pools)
    target = goal if isinstance(goal, Target) else None
    currency = _currency(target)
    narrowings = ranking.narrowings(model, graph, options.round_to, options.floor, currency)
    if last is None and not narrowings and goal:
        raise InputError(f"nothing to prune: every layer is fixed or at its floor ({len(pools)} groups of channels)")
    if target:
        is_whole = shorter is None and options.classes is None
        start = last.reached if last else Reading(target.whole) if is_whole else target.measure(model)
        taken, reached = take_target(model, graph, pools, ranking.book, narrowings, target, start)
    else:
        taken, reached = take_share(pools, narrowings, scope, shorter.left_of(goal) if shorter else goal), None
    keep = kept(ranking.book.roots(), pools, taken)
    if score == "gamma":
        gammas = check_gammas(model, float((~keep[1:]).mean()))
        (LOGGER.info if gammas.enough else LOGGER.warning)(f"prune: {gammas}")
    pruned, error = _cut(model, graph, keep)
    example = shorter.example if shorter and not last else Example.of(model, ranking.where)
    stays = {example.names[name]: np.flatnonzero(keep[labels]) for name, labels in graph.layers.items()}
    repair_model(options.repair, model, pruned, graph, keep, example, images)
    result = gather(model, pruned, graph, pools, keep, options.imgsz)
    seen = 0 if images is None else len(images)
    about = {"score": score, "scope": scope, "floor": options.floor, "images": seen, "repairs": options.repair}
    result = replace(result, error=error, **about)
    if shorter:
        result = named_as_before(result, shorter) if last else counted_with_blocks(result, shorter, options.imgsz)
    sizes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    costs = unit_costs(graph, pools, ranking.book.roots(), sizes, currency)
    chosen = Selection(pools, costs, narrowings, taken)
    return _Narrowed(result, first, reached, shorter, graph, ranking, chosen, stays)


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


def can_shorten(options: PruneOptions) -> bool:
    """Return whether there is what blocks are judged by: images, and what is left re-fitted to them."""
    return options.score == SURGEON and "refit" in options.repair
