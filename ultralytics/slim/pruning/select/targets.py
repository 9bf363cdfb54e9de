"""Goals of a pruning: a share of the channels, or a size or latency to come down to."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import torch
from torch import nn

from ultralytics.utils import TQDM
from ultralytics.utils.torch_utils import get_flops

from ..checkpoint import stripped
from ..graph.channels import ChannelGraph
from ..graph.label_book import LabelBook
from ..graph.rewrite import sliced
from .goals import SHARE, WANTED
from .narrowing import Step, kept
from .pools import Pool
from .stopwatch import Reading, Stopwatch

SLACK, SLACK_ON_THE_WAY = 0.02, 0.1  # a result, and one before the last pruning, may be this much under its goal
CLOSE = 0.25  # the part of the slack within which no closer result is looked for, unless it would have to be timed
TRIES = 24  # further choices tried to come closer; a sixth of them where each is timed
UNITS = {"size_mb": "MB", "latency_ms": "ms"}


class Target:
    """An amount that a model should come down to: GFLOPs, parameters, MB of its checkpoint, or milliseconds.

    Attributes:
        what (str): A key of `WANTED`.
        value (float): As it was asked for.
        whole (float): What the first model has.
        goal (float): What the result may have at most.
        end (float): The goal of the last of several prunings; that of the only one.
        slack (float): The share of the goal that the result may lie under it.
        start (Reading): What the model has before the next pruning; the first one's is `whole`.
        stopwatch (Stopwatch | None): What times it, for a latency.
    """

    def __init__(self, what: str, value: float, original: nn.Module, imgsz: int, stopwatch: Stopwatch | None = None):
        self.what, self.value, self.imgsz, self.stopwatch = what, value, imgsz, stopwatch
        self.whole = stopwatch.original_ms if stopwatch else self._amount(original)
        self.goal = self.end = value * self.whole if WANTED[what] is SHARE else value
        self.slack, self.start = SLACK, Reading(self.whole)
        if self.whole < (1 - SLACK) * self.goal:
            raise ValueError(f"{what}={value:g}: the model has no more than {self.words(self.whole)}")

    @property
    def is_last(self) -> bool:
        """Return whether this is the goal of the last pruning."""
        return self.goal == self.end

    def missed(self, closest: str) -> ValueError:
        """Return the error for a goal that cannot be had."""
        return ValueError(f"{self.what}={self.value:g} cannot be met: {closest}")

    def on_the_way(self, done: float) -> Target:
        """Return the target for when this share of the prunings is done.

        Goals fall geometrically, so that every pruning removes the same share of what it finds: with equal amounts the
        last one, which has the least to spare, would cut the deepest.
        """
        target = copy.copy(self)
        target.goal = self.end if done == 1 else min(self.whole * (self.end / self.whole) ** done, self.whole)
        target.slack = SLACK if done == 1 else SLACK_ON_THE_WAY
        return target

    def measure(self, model: nn.Module) -> Reading:
        """Return what a model has, a latency exactly enough to tell whether it is at the goal."""
        if self.stopwatch:
            return self.stopwatch(model, (1 - self.slack) * self.goal, self.goal)
        return Reading(self._amount(model))

    def is_met(self, reading: Reading, part: float = 1.0) -> bool:
        """Return whether this is the goal or within (a part of) the slack under it; more where a timing is less exact."""
        slack = max(part * self.slack, 2 * reading.error)
        return (1 - slack) * self.goal <= reading.value <= self.goal

    def words(self, amount: float) -> str:
        """Return an amount in the target's unit: a share of the original, or an absolute number."""
        unit = UNITS.get(self.what)
        return f"{amount:.4g} {unit}" if unit else f"{amount / self.whole:.4g} of the original"

    def _amount(self, model: nn.Module) -> float:
        if self.what == "flops":
            return get_flops(model, self.imgsz)
        if self.what == "params":
            return float(sum(p.numel() for p in model.parameters()))
        buffer = io.BytesIO()
        torch.save({"model": stripped(model)}, buffer)
        return buffer.tell() / 1e6


def make_target(
    what: str, value: float, original: nn.Module, imgsz: int, runtime: str, batch: int, device=None
) -> Target:
    """Return the target `what=value`; for a latency the original is timed."""
    stopwatch = Stopwatch(original, runtime, imgsz, batch, device) if what == "latency_ms" else None
    return Target(what, value, original, imgsz, stopwatch)


def take_target(
    model: nn.Module, graph: ChannelGraph, pools: list[Pool], book: LabelBook, steps: list[Step], target: Target
) -> list[Step]:
    """Return the first steps that bring the model down to its target, or at most 2 % under it.

    The target is told what the model has then, as its `start`. On the way to a target anything that is closest under
    the goal will do.

    Raises:
        ValueError: If no choice of steps meets the target; the message gives the closest that one does.
    """
    roots = book.roots()

    def after(taken: list[Step]) -> Reading:
        return target.measure(sliced(model, graph, kept(roots, pools, taken)))

    if target.start.value <= target.goal:
        return []
    with TQDM(desc=f"prune: timing towards {target.words(target.goal)}", disable=not target.stopwatch) as bar:

        def told(taken: list[Step]) -> Reading:
            reading = after(taken)
            bar.set_postfix(last=target.words(reading.value))
            bar.update()
            return reading

        taken, best, over = _search(steps, told, target)
    if target.is_last and not target.is_met(best):
        both = f"{target.words(best.value)} and {target.words(over.value)}"
        raise target.missed(f"the closest are {both} (these widths; a smaller round_to comes closer)")
    target.start = best
    return taken


def _search(
    steps: list[Step], after: Callable[[list[Step]], Reading], target: Target
) -> tuple[list[Step], Reading, Reading]:
    """Return the steps that end closest under the goal, what is reached with them, and the closest found over it.

    Amounts fall with every step. The border is looked for by turns in the middle and where a straight line meets the
    goal. A latency is good enough anywhere within the slack: each look costs seconds.
    """
    goal, timed = target.goal, target.stopwatch is not None
    aim = (1 - SLACK / 2) * goal if timed else goal
    low, high, over, best, turn = 0, len(steps), target.start, after(steps), 0  # `low` are too few, `high` are enough
    if best.value > target.end:
        raise target.missed(f"the closest is {target.words(best.value)} (the floor of every layer)")
    while high - low > 1 and not (timed and target.is_met(best)):
        share = 0.5 if turn % 2 else (over.value - aim) / max(over.value - best.value, 1e-12)
        middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        reading = after(steps[:middle])
        low, over, high, best = (low, over, middle, reading) if reading.value <= goal else (middle, reading, high, best)
        turn += 1
    taken = steps[:high]
    others = [[*steps[:low], s] for s in _next_steps(steps, low)[1 : TRIES + 1]]  # a smaller step instead of the last
    for other in [steps[:low], *others[: TRIES // 6]] if timed else others:  # a reading that decided may have been bad
        if target.is_met(best, 1 if timed else CLOSE):
            break
        reading = after(other)
        if best.value < reading.value <= goal:
            taken, best = other, reading
    return taken, best, over


def _next_steps(steps: list[Step], taken: int) -> list[Step]:
    """Return the first step of every pool that comes after the first `taken` ones, in order."""
    seen, out = set(), []
    for step in steps[taken:]:
        if step.pool not in seen:
            seen.add(step.pool)
            out.append(step)
    return out


FLOOR_OF_EVEN = 0.57  # of the width that every layer would keep if all were narrowed evenly


def read_floor(floor: float | str, scope: str, goal: Target | float) -> float:
    """Return the share of each layer's channels under which a pruning should not go without need.

    'auto' follows the goal: a part of what an even pruning would keep of every layer, which is the square root of the
    FLOPs or parameters (they grow with a layer's inputs times its outputs), as size and latency nearly do.

    Args:
        floor (float | str): As given to `prune_model`.
        scope (str): 'global'; or 'layer', where all layers keep the same share and there is no floor.
        goal (Target | float): The target, or the share of the channels to be gone.
    """
    if scope == "layer":
        return 0.0
    if floor != "auto":
        return float(floor)
    even = min(goal.end / goal.whole, 1) ** 0.5 if isinstance(goal, Target) else 1 - goal
    return FLOOR_OF_EVEN * even
