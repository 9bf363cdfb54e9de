"""Targets of a pruning: an amount to come down to, and the search for the narrowings that do."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.torch_utils import get_num_params

from ...errors import InputError
from ...measuring.flops import count_gflops
from ..checkpoint import stripped
from ..graph.channels import ChannelGraph
from ..graph.label_book import LabelBook
from ..graph.rewrite import sliced
from .goals import SHARE, WANTED
from .narrowing import Narrowing, kept
from .pools import Pool
from .stopwatch import Reading, Stopwatch

SLACK, SLACK_ON_THE_WAY = 0.02, 0.1  # a result, and one before the last pruning, may be this much under its goal
CLOSE = 0.25  # the part of the slack within which no closer result is looked for, unless it would have to be timed
TRIES = 24  # further choices tried to come closer; a sixth of them where each is timed
FLOOR_OF_EVEN = 0.57  # of the width that every layer would keep if all were narrowed evenly
UNITS = {"size_mb": "MB", "latency_ms": "ms"}


@dataclass(frozen=True)
class Target:
    """An amount that a model should come down to: GFLOPs, parameters, MB of its checkpoint, or milliseconds.

    Attributes:
        what: A key of `WANTED`.
        value: As it was asked for.
        whole: What the first model has.
        goal: What the result may have at most.
        end: The goal of the last of several prunings; that of the only one.
        imgsz: Side of the images in pixels, for GFLOPs.
        stopwatch: What times it, for a latency.
        slack: The share of the goal that the result may lie under it.
        loose: Whether what the widths allow closest to the goal will do in the end, too.
    """

    what: str
    value: float
    whole: float
    goal: float
    end: float
    imgsz: int
    stopwatch: Stopwatch | None = None
    slack: float = SLACK
    loose: bool = False

    @property
    def is_last(self) -> bool:
        """Return whether this is the goal of the last pruning."""
        return self.goal == self.end

    def missed(self, closest: str) -> InputError:
        """Return the error for a goal that cannot be had."""
        return InputError(f"{self.what}={self.value:g} cannot be met: {closest}")

    def on_the_way(self, done: float) -> Target:
        """Return the target for when this share of the prunings is done.

        Goals fall geometrically, so that every pruning removes the same share of what it finds: with equal amounts the
        last one, which has the least to spare, would cut the deepest.
        """
        if done == 1:
            return self
        goal = min(self.whole * (self.end / self.whole) ** done, self.whole)
        return replace(self, goal=goal, slack=SLACK_ON_THE_WAY)

    def measure(self, model: nn.Module) -> Reading:
        """Return what a model has, a latency exactly enough to tell whether it is at the goal."""
        if self.stopwatch:
            return self.stopwatch(model, (1 - self.slack) * self.goal, self.goal)
        return Reading(amount(model, self.what, self.imgsz))

    def share(self, model: nn.Module) -> float:
        """Return what a model has as a share of what the first one has; a latency to about half a percent."""
        if self.stopwatch:
            return self.stopwatch(model, 0.95 * self.whole, self.whole).value / self.whole
        return amount(model, self.what, self.imgsz) / self.whole

    def is_met(self, reading: Reading, part: float = 1.0) -> bool:
        """Return whether this is the goal or within (part of) the slack under it; more where a timing is less exact."""
        slack = max(part * self.slack, 2 * reading.error)
        return (1 - slack) * self.goal <= reading.value <= self.goal

    def words(self, amount: float) -> str:
        """Return an amount in the target's unit: a share of the original, or an absolute number."""
        unit = UNITS.get(self.what)
        return f"{amount:.4g} {unit}" if unit else f"{amount / self.whole:.4g} of the original"


def _counted_flops(model: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of a model; where they cannot be counted Ultralytics says 0, which would be any goal met."""
    if gflops := count_gflops(model, imgsz):
        return gflops
    raise InputError(
        "the GFLOPs of this model cannot be counted: thop is not installed, or the model fails in it. Give "
        "params=, size_mb=, latency_ms= or factor= in the place of flops="
    )


def amount(model: nn.Module, what: str, imgsz: int) -> float:
    """Return the GFLOPs, the parameters or the MB on disk of a model; images have `imgsz` pixels a side."""
    if what == "flops":
        return _counted_flops(model, imgsz)
    if what == "params":
        return float(get_num_params(model))
    buffer = io.BytesIO()
    torch.save({"model": stripped(model)}, buffer)
    return buffer.tell() / 1e6


def make_target(
    what: str,
    value: float,
    original: nn.Module,
    imgsz: int,
    runtime: str = "torch",
    batch: int = 1,
    device: Any = None,
    loose: bool = False,
) -> Target:
    """Return the target `what=value`; for a latency the original is timed.

    Args:
        what: A key of `WANTED`.
        value: A share of what the original has, or an amount.
        original: The model before pruning; not modified.
        imgsz: Side of the images, pixels.
        runtime, batch, device: Of a latency, see `stopwatch.Stopwatch`.
        loose: See `Target`.

    Raises:
        InputError: The original has no more than is asked for.
    """
    stopwatch = Stopwatch(original, runtime, imgsz, batch, device) if what == "latency_ms" else None
    whole = stopwatch.original_ms if stopwatch else amount(original, what, imgsz)
    goal = value * whole if WANTED[what] is SHARE else value
    target = Target(what, value, whole, goal, goal, imgsz, stopwatch, loose=loose)
    if whole < (1 - SLACK) * goal:
        raise InputError(f"{what}={value:g}: the model has no more than {target.words(whole)}")
    return target


def take_target(
    model: nn.Module,
    graph: ChannelGraph,
    pools: list[Pool],
    book: LabelBook,
    narrowings: list[Narrowing],
    target: Target,
    start: Reading,
) -> tuple[list[Narrowing], Reading]:
    """Return the first narrowings that bring the model to its target or at most 2 % under it, and what it has then.

    On the way to a target anything that is closest under the goal will do; and, with a warning, for a latency, which
    may leap by more than the slack where one width changes.

    Args:
        model, graph: The model before this pruning, and its channels.
        pools, book: Its pools, and what ties their units.
        narrowings: All that there are, in order.
        target: What to come down to.
        start: What the model has of it.

    Raises:
        InputError: No choice of narrowings meets the target; the message gives the closest that one does.
    """
    if start.value <= target.goal:
        return [], start
    roots = book.roots()
    with TQDM(desc=f"prune: timing towards {target.words(target.goal)}", disable=not target.stopwatch) as bar:

        def measured(taken: list[Narrowing]) -> Reading:
            reading = target.measure(sliced(model, graph, kept(roots, pools, taken)))
            bar.set_postfix(last=target.words(reading.value))
            bar.update()
            return reading

        taken, best, over = _search(narrowings, measured, target, start)
    if target.is_last and not target.loose and not target.is_met(best):
        closest = f"the closest are {target.words(best.value)} and {target.words(over.value)}"
        advice = "(these widths; a smaller round_to comes closer)"
        if not target.stopwatch:
            raise target.missed(f"{closest} {advice}")
        LOGGER.warning(
            f"prune: no widths end just under {target.words(target.goal)}: {closest}, the first is taken {advice}"
        )
    return taken, best


def _search(
    narrowings: list[Narrowing], measured: Callable[[list[Narrowing]], Reading], target: Target, start: Reading
) -> tuple[list[Narrowing], Reading, Reading]:
    """Return the narrowings that end closest under the goal, what is reached with them, and the closest found over it.

    Amounts fall with every narrowing. The border is looked for by turns in the middle and where a straight line meets
    the goal. A latency is good enough anywhere within the slack: each look costs seconds.
    """
    goal, timed = target.goal, target.stopwatch is not None
    aim = (1 - SLACK / 2) * goal if timed else goal
    low, high, over, turn = 0, len(narrowings), start, 0  # `low` are too few, `high` are enough
    best = measured(narrowings)
    if best.value > target.end and not target.loose:
        raise target.missed(f"the closest is {target.words(best.value)} (the floor of every layer)")
    while high - low > 1 and not (timed and target.is_met(best)):
        share = 0.5 if turn % 2 else (over.value - aim) / max(over.value - best.value, 1e-12)
        middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        reading = measured(narrowings[:middle])
        low, over, high, best = (low, over, middle, reading) if reading.value <= goal else (middle, reading, high, best)
        turn += 1
    taken = narrowings[:high]
    others = [
        [*narrowings[:low], n] for n in _next_of_each(narrowings, low)[1 : TRIES + 1]
    ]  # a smaller one as the last
    for other in [narrowings[:low], *others[: TRIES // 6]] if timed else others:  # a reading may have been bad
        if target.is_met(best, 1 if timed else CLOSE):
            break
        reading = measured(other)
        if best.value < reading.value <= goal:
            taken, best = other, reading
    return taken, best, over


def _next_of_each(narrowings: list[Narrowing], taken: int) -> list[Narrowing]:
    """Return the first narrowing of every pool that comes after the first `taken` ones, in order."""
    first: dict[int, Narrowing] = {}
    for narrowing in narrowings[taken:]:
        first.setdefault(narrowing.pool, narrowing)
    return list(first.values())


def read_floor(floor: float | str, scope: str, goal: Target | float) -> float:
    """Return the share of each layer's channels under which a pruning should not go without need.

    'auto' follows the goal: a part of what an even pruning would keep of every layer, which is the square root of the
    FLOPs or parameters (they grow with a layer's inputs times its outputs), as size and latency nearly do.

    Args:
        floor: As given to `prune_model`.
        scope: 'global'; or 'layer', where all layers keep the same share and there is no floor.
        goal: The target, or the share of the channels to be gone.
    """
    if scope == "layer":
        return 0.0
    if floor != "auto":
        return float(floor)
    even = min(goal.end / goal.whole, 1) ** 0.5 if isinstance(goal, Target) else 1 - goal
    return FLOOR_OF_EVEN * even
