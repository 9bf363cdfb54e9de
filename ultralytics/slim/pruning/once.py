"""One pruning, the only one or one of several: blocks and channels chosen, taken out, made up for, and proved."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER

from ..errors import InputError
from ..hints import few
from ..inputs.devices import find_device
from ..inputs.unlabelled import load_images
from ..measuring.flops import count_gflops
from ..measuring.layer_times import LayerTimes
from .gamma_check import check_gammas
from .graph.attention import is_area_attention
from .graph.blocks import Block
from .graph.channels import ChannelGraph, trace_channels
from .graph.distrust import distrust
from .graph.rewrite import sliced
from .graph.trace import OUTPUT
from .graph.verify import Unproved, advice, check_equal, in_float64, masking
from .options import PruneOptions
from .repair.repairs import Example, repair_model
from .result import PruneResult, gather
from .score.blocks import FEWEST, BlockScore, Judge, score_blocks
from .score.labelled import LabelledImages
from .score.memory import fit_in_memory
from .score.ranking import SURGEON, TAYLOR, Ranking, choose, rank
from .select.depth import Selection, choose_blocks
from .select.goals import TIME
from .select.narrowing import Saved, kept, take_share
from .select.pools import Widths, counted_from
from .select.stopwatch import Reading
from .select.targets import Target, take_target
from .select.times import TimeCosts
from .shorter import Shorter, counted_with_blocks, named_as_before, offered_blocks, shortened

LABELLED = 64  # most labelled images for the Taylor score
PLANS = 8  # prunings that are tried, each with one more block whole, before one that cannot be proved is an error


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
        chosen: Which went.
        kept: Indices of the output channels that each layer kept, by the original's names.
    """

    graph: ChannelGraph
    chosen: Selection
    kept: dict[str, np.ndarray]


class Scores:
    """What the channels of a model are worth, and its blocks: measured once, whatever it is then pruned to.

    Args:
        model: Float32, evaluation mode; not modified.
        options: Without any 'auto' but those of `depth` and `floor`.
        last: The pruning before this one; None for the first.
        shorter: What was taken out before any channel, if anything.
        images: (N, C, H, W) in 0..1, where they are read already.

    Attributes:
        images: Those that scores and repairs are measured on, or None.
        graph: The model's channels; excluded layers are frozen in it.
        ranking: How they were scored.
        first: Units of every pool before the first of several prunings.
    """

    def __init__(
        self,
        model: nn.Module,
        options: PruneOptions,
        last: Round | None = None,
        shorter: Shorter | None = None,
        images: torch.Tensor | None = None,
    ):
        self.model, self.options, self.last = model, options, last
        self.shorter = shorter or (last.shorter if last else None)
        self.graph = trace_channels(model)
        if images is None and options.images is not None:
            images = load_images(options.images, options.imgsz, *fit_in_memory(self.graph, model, options.imgsz))
        self.images = images
        score, scope = choose(model, options.score, options.scope, options.images)
        labelled = LabelledImages(model, options.images, "train", options.imgsz, LABELLED) if score == TAYLOR else None
        exclude = self.shorter.exclude_of(options.exclude) if self.shorter else options.exclude
        refits = "refit" in options.repair
        ranking = rank(model, self.graph, score, scope, exclude, options.seed, images, labelled, refits)
        pools, self.first = counted_from(last.first if last else {}, ranking.pools)
        self.ranking = replace(ranking, pools=pools)
        self._blocks: dict[str, list[BlockScore]] = {}

    @cached_property
    def judge(self) -> Judge:
        """What blocks are judged by."""
        return Judge.of(self.images, self.ranking.where, self.graph.norms)

    @cached_property
    def offered(self) -> list[Block]:
        """The blocks that may go."""
        return offered_blocks(self.model, self.graph, self.options.exclude)

    def saved(self, goal: Target | float) -> Saved:
        """Return what tells how many milliseconds a narrowing saves, in the runtime that is asked for.

        Args:
            goal: As for `prune_once`.
        """
        o, roots = self.options, self.ranking.book.roots()
        times = LayerTimes(o.runtime, find_device(o.device if o.runtime == "torch" else "cpu"))
        if isinstance(goal, Target):
            now = self.last.reached.value if self.last else goal.whole
            even = min(goal.goal / now, 1) ** 0.5
        else:
            even = 1 - goal
        about = self.model, self.graph, self.ranking.pools, roots, times, o.imgsz, o.batch, o.round_to, even
        return TimeCosts(*about).saved

    def blocks(self, what: str, cost: Callable[[nn.Module], float]) -> list[BlockScore]:
        """Return what the blocks are worth.

        Args:
            what: What `cost` counts.
            cost: Returns what a model costs as a share of the whole one's cost.
        """
        if what not in self._blocks:
            self._blocks[what] = score_blocks(self.model, self.offered, self.judge, cost)
        return self._blocks[what]


def prune_once(scores: Scores, goal: Target | float, floor: float) -> Round:
    """Return a pruned, repaired and verified copy of a model.

    Args:
        scores: The model, and what its channels are worth.
        goal: The target of this pruning; or the share of the first model's channels to be gone after it.
        floor: Share of each layer's channels to go below only without need, see `select.targets.read_floor`.
    """
    narrow, images = _narrowed(scores, goal, floor), scores.images
    if scores.last or not scores.options.depth or not goal:
        return narrow
    if len(images) < FEWEST:
        _, most = fit_in_memory(scores.graph, scores.model, scores.options.imgsz)
        why = f"; no more fit into memory at imgsz={scores.options.imgsz}, a smaller one helps" if most < FEWEST else ""
        LOGGER.warning(
            f"prune: all blocks stay: {len(images)} images are too few to judge them by, {FEWEST} are needed{why}"
        )
        return narrow
    return _with_blocks_out(scores, goal, floor, narrow)


def _with_blocks_out(scores: Scores, goal: Target | float, floor: float, narrow: _Narrowed) -> Round:
    """Return a pruning to the same goal that takes blocks out first; the one given where none should go.

    Args:
        scores, goal, floor: As for `prune_once`.
        narrow: The model pruned to its goal by channels alone.
    """
    model, options, images, ranking = scores.model, scores.options, scores.images, scores.ranking

    def change(pruned: _Narrowed, names: Mapping[str, str]) -> float:
        return scores.judge.loss(model, copy.deepcopy(pruned.result.model), pruned.kept, names)

    def flops(net: nn.Module) -> float:
        return count_gflops(net, options.imgsz) / narrow.result.gflops[0]

    what, cost = (goal.what, goal.share) if isinstance(goal, Target) else ("flops", flops)
    alone = change(narrow, {name: name for name, _ in model.named_modules()})
    chosen = choose_blocks(scores.blocks(what, cost), narrow.chosen, alone, 1 - cost(narrow.result.model))
    if not chosen:
        LOGGER.info(f"prune: all of the {len(scores.offered)} blocks stay, channels lose less for what they save")
    while chosen:
        try:
            shorter = shortened(model, narrow.graph, ranking.pools, chosen, scores.offered, ranking.where, images)
            short = _narrowed(Scores(shorter.model, options, None, shorter, images), goal, floor)
        except (InputError, Unproved) as error:  # widths may not meet the goal from there
            listed = few([block.name for block in chosen])
            LOGGER.warning(f"prune: without {listed} the goal is not reached, so they stay: {error}")
            chosen = chosen[: len(chosen) // 2]
            continue
        now = change(short, shorter.example.names)
        told = f"the predictions differ by {now:.3g} from the original's, by {alone:.3g} where only channels go"
        if options.depth is True or now < alone:
            LOGGER.info(f"prune: blocks taken out: {few(shorter.blocks)}; {told}")
            return short
        LOGGER.info(f"prune: without {few(shorter.blocks)} {told}, so they stay")
        chosen = chosen[: len(chosen) // 2]  # together they cost more than each alone: the best of them may pay
    return narrow


def _narrowed(scores: Scores, goal: Target | float, floor: float) -> _Narrowed:
    """Return a copy of a model with fewer channels, repaired and verified; see `prune_once`.

    Where it cannot be verified the block that is at fault stays whole, and all is planned again, a few times at most.
    """
    for plan in count(1):
        try:
            return _planned(scores, goal, floor)
        except Unproved as failure:
            scores.ranking = _replanned(scores.model, scores.graph, scores.ranking, failure, plan)


def proved(model: nn.Module, graph: ChannelGraph, ranking: Ranking, round_to: int) -> Ranking:
    """Return a ranking without the blocks at which a pruning by half fails, which are frozen in graph and book.

    Raises:
        Unproved: It still fails after a few such blocks.
    """
    for plan in count(1):
        taken = take_share(ranking.pools, ranking.narrowings(model, graph, round_to, 0.0), ranking.scope, 0.5)
        try:
            _cut(model, graph, kept(ranking.book.roots(), ranking.pools, taken))
            return ranking
        except Unproved as failure:
            ranking = _replanned(model, graph, ranking, failure, plan)


def _replanned(model: nn.Module, graph: ChannelGraph, ranking: Ranking, failure: Unproved, plan: int) -> Ranking:
    """Return what is left to prune once the block at which a pruning failed stays whole.

    Raises:
        Unproved: `failure` with advice, where this was the last plan, or nothing would be left.
    """
    kept_whole = distrust(model, graph, ranking.book, failure) if plan < PLANS else ""
    ranking = ranking.without_frozen()
    if not kept_whole or not ranking.pools:
        told = f"{failure}; {advice(graph.layers, failure.where)}"
        raise Unproved(told, failure.where, failure.why) from failure
    LOGGER.warning(
        f"prune: {kept_whole} stays whole, and the pruning is planned again: narrower it fails "
        f"({failure.why.splitlines()[0]})"
    )
    return ranking


def _planned(scores: Scores, goal: Target | float, floor: float) -> _Narrowed:
    """Return a copy of a model with fewer channels, repaired; raise Unproved where it cannot be verified."""
    model, graph, options, images = scores.model, scores.graph, scores.options, scores.images
    last, shorter, ranking = scores.last, scores.shorter, scores.ranking
    pools, scope = ranking.pools, ranking.scope
    target = goal if isinstance(goal, Target) else None
    saved = scores.saved(goal) if goal and options.cost == TIME else None
    narrowings = ranking.narrowings(model, graph, options.round_to, floor, _currency(target), saved)
    if last is None and not narrowings and goal:
        raise InputError(
            f"nothing to prune: every layer is fixed or at its floor ({len(pools)} groups of channels){_reasons(graph)}"
        )
    if target:
        is_whole = shorter is None and options.classes is None
        start = last.reached if last else Reading(target.whole) if is_whole else target.measure(model)
        taken, reached = take_target(model, graph, pools, ranking.book, narrowings, target, start)
    else:
        taken, reached = take_share(pools, narrowings, scope, shorter.left_of(goal) if shorter else goal), None
    keep = kept(ranking.book.roots(), pools, taken)
    if ranking.score == "gamma":
        gammas = check_gammas(model, float((~keep[1:]).mean()))
        (LOGGER.info if gammas.enough else LOGGER.warning)(f"prune: {gammas}")
    pruned, error = _cut(model, graph, keep)
    example = shorter.example if shorter and not last else Example.of(model, ranking.where, graph.norms)
    stays = {example.names[name]: np.flatnonzero(keep[labels]) for name, labels in graph.layers.items()}
    repair_model(options.repair, model, pruned, graph, keep, example, images)
    result = gather(model, pruned, graph, pools, keep, options.imgsz)
    seen = 0 if images is None else len(images)
    about = {"score": ranking.score, "scope": scope, "floor": floor, "images": seen, "repairs": options.repair}
    result = replace(result, error=error, **about)
    if shorter:
        result = named_as_before(result, shorter) if last else counted_with_blocks(result, shorter, options.imgsz)
    chosen = Selection(pools, narrowings, taken)
    return _Narrowed(result, scores.first, reached, shorter, graph, chosen, stays)


def _reasons(graph: ChannelGraph) -> str:
    """Return the most frequent reasons for which channels are fixed, but for predictions, in words."""
    reasons = Counter(why for why in graph.book.frozen().values() if not why.endswith(OUTPUT))
    return f"; most are fixed by {few([why for why, _ in reasons.most_common()], 3)}" if reasons else ""


def _currency(target: Target | None) -> str:
    """Return what a step should save most of: parameters where those or the size are the target, else FLOPs."""
    return "params" if target and target.what in {"params", "size_mb"} else "flops"


def _cut(model: nn.Module, graph: ChannelGraph, keep: np.ndarray) -> tuple[nn.Module, float]:
    """Return the pruned copy of `model` and its largest relative difference to the masked original.

    The model itself is masked for the comparison, as a copy in float64 would take twice its memory. Where attention
    scales what it keeps, that is done in float64, too, so that the proof is of what is done.
    """
    dtype, scales = next(model.parameters()).dtype, any(map(is_area_attention, model.modules()))
    with in_float64(model, attributes=False) if scales else nullcontext():
        pruned = sliced(model, graph, keep)
        with masking(model, graph, keep):
            error = check_equal(model, pruned)
    return pruned.to(dtype), error


def can_shorten(options: PruneOptions) -> bool:
    """Return whether there is what blocks are judged by: images, what is left re-fitted to them, losses of channels."""
    return options.score == SURGEON and options.scope == "global" and "refit" in options.repair
