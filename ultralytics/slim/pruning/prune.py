"""Structured pruning of Ultralytics models: score, select, rewrite, verify, save."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import get_num_params

from ..classes import listed, names_of
from ..errors import InputError
from ..fewer_classes import only_classes, read_classes
from ..inputs.images import check_sides
from ..inputs.weights import check_checkpoint_path, torch_model
from ..measuring.flops import count_gflops
from ..measuring.seen import tell_seen
from ..stored import plain_copy
from .checkpoint import as_dict, save_checkpoint
from .graph.channels import input_size, trace_channels
from .once import Round, Scores, can_shorten, prune_once
from .options import PruneOptions, with_keywords
from .repair.repairs import read_repairs
from .result import PruneResult, join
from .rounds import check_steps, factor_due, retrained
from .score.ranking import IN_LOSS_UNITS, choose
from .select.depth import read_depth
from .select.goals import check_floor, read_cost, read_goal
from .select.pools import exclude_layers
from .select.stopwatch import check_runtime
from .select.targets import Target, make_target, read_floor


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
        InputError: An argument is out of range, a class unknown, a target out of reach, or nothing could be pruned.
        KindError: There is no such option, or `yolo` holds no PyTorch model.
        RuntimeError: The result is not equal to the masked original; nothing is written then.
    """
    options = with_keywords(options or PruneOptions(), keywords, "prune_model")
    factor, asked = read_goal(factor, **options.targets)
    path = check_checkpoint_path(save_dir)
    return Pruner(yolo, options).prune(path, factor, asked)


class Pruner:
    """A model that is to be pruned: checked, and scored once, to however many goals it is then pruned.

    Args:
        yolo: The model; not modified.
        options: How; goals in them are left to `prune`.

    Attributes:
        original: A copy of the model, float32, on the CPU, in evaluation mode.
        model: The original without the classes that are not kept.
        options: Those given, with what 'auto' stands for in all but the floor, and in the depth where that is measured.

    Raises:
        SlimError: As `prune_model`.
    """

    def __init__(self, yolo: YOLO | nn.Module, options: PruneOptions):
        check_runtime(options.runtime, options.batch)
        check_steps(options.steps, options.retrain)
        _check_round_to(options.round_to)
        self.original = plain_copy(torch_model(yolo, "prune")).float().cpu().eval()
        self.model = _of_classes(self.original, options.classes)
        self.options = _chosen(self.model, options)
        self._ckpt = getattr(yolo, "ckpt", None)
        if self.options.images is not None:
            channels = input_size(self.model)[1]
            tell_seen(self.model, self.options.images, self.options.imgsz, channels, "prune: the original")

    @cached_property
    def _scores(self) -> Scores:
        return Scores(self.model, self.options)

    def target(self, what: str, value: float, loose: bool = False) -> Target:
        """Return a target for this model, see `select.targets.make_target`."""
        o = self.options
        return make_target(what, value, self.original, o.imgsz, o.runtime, o.batch, o.device, loose)

    def prune(
        self, path: Path, factor: float | None, asked: tuple[str, float] | None, target: Target | None = None
    ) -> PruneResult:
        """Remove channels and save the result.

        Args:
            path: The .pt file to write; parents are created.
            factor, asked: The goal as `read_goal` returns it.
            target: What is asked for, where it is made already.
        """
        options, original, ckpt = self.options, self.original, self._ckpt
        target = target or (asked and self.target(*asked))
        floor = read_floor(options.floor, options.scope, target or factor)
        rounds: list[Round] = []
        scores = self._scores
        for number in range(1, options.steps + 1):
            if options.steps > 1:
                LOGGER.info(f"prune: step {number} of {options.steps}")
            done = number / options.steps
            goal = target.on_the_way(done) if target else factor_due(factor, done)
            rounds.append(prune_once(scores, goal, floor))
            if number == options.steps:
                break
            result = rounds[-1].result
            model = result.model
            if options.retrain:
                model = retrained(model, options.retrain, result.record(options.round_to, asked), ckpt)
            scores = Scores(model, options, rounds[-1])
        result = replace(join([r.result for r in rounds]), path=path, factor=factor)
        if options.classes is not None:
            result = replace(
                result,
                classes=(tuple(map(str, names_of(self.model).values())), len(names_of(original))),
                params=(get_num_params(original), result.params[1]),
                gflops=(count_gflops(original, options.imgsz), result.gflops[1]),
            )
        if not (result.ratio or target or factor == 0):
            raise InputError(_nothing(factor, options.round_to))
        if target and target.stopwatch:
            result.latency = target.stopwatch.record(rounds[-1].reached)
        save_checkpoint(result.model, path, result.record(options.round_to, asked), ckpt)
        LOGGER.info(f"{result}")
        return result


def check_for(model: nn.Module, factor: float | None, options: PruneOptions) -> None:
    """Raise a SlimError where these options would be refused for this model, without measuring anything."""
    net = plain_copy(torch_model(model, "prune")).float().cpu().eval()
    read_goal(factor, **options.targets)
    check_runtime(options.runtime, options.batch)
    _check_round_to(options.round_to)
    net = _of_classes(net, options.classes)
    options = _chosen(net, options)
    exclude_layers(trace_channels(net), options.exclude)


def _of_classes(model: nn.Module, classes: Any) -> nn.Module:
    """Return a model with these classes alone; with all that it has where none are named."""
    if classes is None:
        return model
    names = names_of(model)
    numbers = read_classes(classes, names)
    LOGGER.info(f"prune: {len(numbers)} of {len(names)} classes stay: {listed(names, numbers)}")
    return only_classes(model, numbers)


def _chosen(model: nn.Module, options: PruneOptions) -> PruneOptions:
    """Return the options with what 'auto' stands for in all but the floor, and the depth where that is measured."""
    score, scope = choose(model, options.score, options.scope, options.images)
    check_floor(options.floor, scope)
    repairs = read_repairs(options.repair, options.images is not None)
    cost = read_cost(options.cost, scope, score in IN_LOSS_UNITS, options.latency_ms is not None)
    options = replace(options, score=score, scope=scope, cost=cost, repair=repairs)
    options = replace(options, imgsz=image_size(model, options.imgsz))
    return replace(options, depth=_depth(options))


def _depth(options: PruneOptions) -> bool | str:
    """Return whether blocks may go; False where there is nothing to judge them by."""
    depth = read_depth(options.depth)
    if depth is True and not can_shorten(options):
        raise InputError(
            "depth=True measures blocks on images: give images= (a folder, a data set's YAML, a list or a tensor), "
            "with score='surgeon', scope='global' and repair='refit'"
        )
    return depth if can_shorten(options) else False


def image_size(model: nn.Module, imgsz: int | None = None) -> int:
    """Return the side of the images, by default that which a model was trained at, 640 if it does not say.

    As in Ultralytics it is rounded up to a multiple of the model's largest stride, and of two sides the larger counts.
    """
    check_sides(imgsz)
    trained = as_dict(getattr(model, "args", None)).get("imgsz")
    stride = int(max(getattr(model, "stride", [32])))
    return check_imgsz(imgsz or (trained if isinstance(trained, int) else 640), stride, max_dim=1)


def _check_round_to(round_to: object) -> None:
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise InputError(f"round_to should be a positive integer, got {round_to!r}")


def _nothing(factor: float, round_to: int) -> str:
    """Return the message for a pruning that would remove nothing."""
    return (
        f"factor {factor} removes nothing at widths rounded to multiples of {round_to}: "
        f"use a larger factor, or a smaller round_to"
    )
