"""Goals of a pruning: a share of the channels, or a size to come down to."""

from __future__ import annotations

import copy
import io

import numpy as np
import torch
from torch import nn

from ultralytics.utils.torch_utils import get_flops

from .channels import ChannelGraph
from .checkpoint import stripped
from .labels import LabelBook
from .rewrite import slice_model
from .selection import Pool, Step, removed

SLACK = 0.02  # a result may be this much under its target
TRIES = 24  # further steps tried to come within the slack
DEFAULT_FACTOR = 0.7


def read_goal(factor, **targets) -> tuple[float | None, tuple[str, float] | None]:
    """Return (factor, None) or (None, (what, value)), exactly one being a goal.

    Raises:
        ValueError: If several goals are given, or one is out of its range.
    """
    given = {k: v for k, v in targets.items() if v is not None}
    if len(given) + (factor is not None) > 1:
        names = ", ".join([*(["factor"] if factor is not None else []), *given])
        raise ValueError(f"give one goal, a factor or a target, got {names}")
    if not given:
        factor = DEFAULT_FACTOR if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < 1:
            raise ValueError(f"factor should be the share of channels to remove, 0 <= factor < 1, got {factor!r}")
        return float(factor), None
    ((what, value),) = given.items()
    top = float("inf") if what == "size_mb" else 1
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= top:
        wanted = "a size in MB above 0" if what == "size_mb" else "the share of the original to keep, 0 < share <= 1"
        raise ValueError(f"{what} should be {wanted}, got {value!r}")
    return None, (what, float(value))


def measure(model: nn.Module, what: str, imgsz: int) -> float:
    """Return a model's GFLOPs, parameters, or the size of its checkpoint in MB."""
    if what == "flops":
        return get_flops(model, imgsz)
    if what == "params":
        return float(sum(p.numel() for p in model.parameters()))
    buffer = io.BytesIO()
    torch.save({"model": stripped(model)}, buffer)
    return buffer.tell() / 1e6


def take_target(
    model: nn.Module,
    graph: ChannelGraph,
    pools: list[Pool],
    book: LabelBook,
    steps: list[Step],
    target: tuple,
    imgsz: int,
) -> list[Step]:
    """Return the first steps that bring the model down to its target, or at most 2 % under it.

    Raises:
        ValueError: If no choice of steps does; the message gives the closest that one does.
    """
    what, value = target
    whole = measure(model, what, imgsz)
    goal = value if what == "size_mb" else value * whole
    roots = book.roots()

    def after(taken: list[Step]) -> float:
        cut = copy.deepcopy(model)
        slice_model(cut, graph, ~np.isin(roots, removed(pools, taken)))
        return measure(cut, what, imgsz)

    if whole <= goal:
        return _checked([], whole, goal, whole, what)
    low, high = 0, len(steps)  # `low` steps are too few, `high` are enough
    best = after(steps)
    if best > goal:
        raise ValueError(_out_of_reach(what, goal, best, whole, "the floor of every layer"))
    while high - low > 1:
        middle = (low + high) // 2
        reached = after(steps[:middle])
        low, high, best = (low, middle, reached) if reached <= goal else (middle, high, best)
    taken = steps[:high]
    for extra in _next_steps(steps, low)[1 : TRIES + 1]:  # a smaller step instead of the last, if that overshot
        if best >= (1 - SLACK) * goal:
            break
        reached = after([*steps[:low], extra])
        if best < reached <= goal:
            taken, best = [*steps[:low], extra], reached
    return _checked(taken, best, goal, whole, what)


def _next_steps(steps: list[Step], taken: int) -> list[Step]:
    """Return the first step of every pool that comes after the first `taken` ones, in order."""
    seen, out = set(), []
    for step in steps[taken:]:
        if step.pool not in seen:
            seen.add(step.pool)
            out.append(step)
    return out


def _checked(taken: list[Step], reached: float, goal: float, whole: float, what: str) -> list[Step]:
    """Return the steps if what they reach is at the goal or within the slack under it."""
    if not (1 - SLACK) * goal <= reached <= goal:
        raise ValueError(_out_of_reach(what, goal, reached, whole, "these widths; a smaller round_to comes closer"))
    return taken


def _out_of_reach(what: str, goal: float, reached: float, whole: float, why: str) -> str:
    if what == "size_mb":
        return f"size_mb={goal:.3g} cannot be met: the closest is {reached:.3g} MB ({why})"
    return f"{what}={goal / whole:.3g} cannot be met: the closest is {reached / whole:.3g} of the original ({why})"
