"""Read what a pruning is asked for: a share of the channels, a target, a floor."""

from __future__ import annotations

from ...errors import InputError

DEFAULT_FACTOR = 0.7  # of one pruning without a goal
RUN_FACTOR = 0.5  # of a run without one: it may be left alone for hours, so it asks for less
SHARE = "the share of the original to keep, 0 < share <= 1"
WANTED = {"flops": SHARE, "params": SHARE, "size_mb": "a size in MB above 0", "latency_ms": "milliseconds above 0"}
COSTS = ("auto", "flops", "time")
TIME = COSTS[-1]


def read_goal(factor: float | None, **targets: float | None) -> tuple[float | None, tuple[str, float] | None]:
    """Return (factor, None) or (None, (what, value)), exactly one being a goal.

    Raises:
        InputError: Several goals are given, or one is out of its range.
    """
    given = {k: v for k, v in targets.items() if v is not None}
    if len(given) + (factor is not None) > 1:
        names = ", ".join([*(["factor"] if factor is not None else []), *given])
        raise InputError(f"give one goal, a factor or a target, got {names}")
    if not given:
        factor = DEFAULT_FACTOR if factor is None else factor
        check_factor(factor)
        return float(factor), None
    ((what, value),) = given.items()
    top = 1 if WANTED[what] is SHARE else float("inf")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= top:
        raise InputError(f"{what} should be {WANTED[what]}, got {value!r}")
    return None, (what, float(value))


def check_factor(factor: object) -> None:
    """Raise InputError unless this is a share of channels to remove."""
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < 1:
        raise InputError(f"factor should be the share of channels to remove, 0 <= factor < 1, got {factor!r}")


def read_cost(cost: object, scope: str, weighs: bool, is_timed: bool) -> str:
    """Return what the losses of channels are weighed against, 'flops' or 'time'.

    Args:
        cost: As given to `prune_model`.
        scope: 'layer' or 'global'.
        weighs: Whether the score's losses are weighed at all.
        is_timed: Whether the goal is a latency.

    Raises:
        InputError: It is unknown, or 'time' where nothing is weighed.
    """
    if cost not in COSTS:
        raise InputError(f"cost should be one of {', '.join(COSTS)}, got {cost!r}")
    possible = scope == "global" and weighs
    if cost == TIME and not possible:
        raise InputError("cost='time' weighs what channels cost the predictions: give images=, and no scope='layer'")
    return TIME if cost == TIME or (cost == "auto" and is_timed and possible) else "flops"


def check_floor(floor: object, scope: str) -> None:
    """Raise InputError unless this is 'auto', or a share of channels to keep where layers compete, 'global'."""
    is_share = isinstance(floor, (int, float)) and not isinstance(floor, bool) and 0 <= floor < 1
    if not is_share and floor != "auto":
        raise InputError(f"floor should be 'auto' or a share of each layer's channels, 0 <= floor < 1, got {floor!r}")
    if scope == "layer" and floor != "auto":
        raise InputError(
            f"floor={floor:g}: with scope='layer' all layers keep the same share; give scope='global', or no floor"
        )
