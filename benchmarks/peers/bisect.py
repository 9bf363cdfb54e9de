"""Come near a goal with a setting whose effect is known only when it is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")
TRIES = 12


def nearest(
    make: Callable[[float], Made], amount: Callable[[Made], float], goal: float, ends: tuple[float, float]
) -> Made:
    """Return, of what `make` returns in a bisection, that whose `amount` is nearest to the goal.

    Args:
        make: Makes something from a number; its amount rises, in steps, from the first of the `ends` to the second.
        amount: What is to come near the goal.
        goal: The amount wanted.
        ends: Numbers between which the wanted one lies; the first may be the larger.
    """
    low, high = ends
    best: Made | None = None
    for _ in range(TRIES):
        middle = (low + high) / 2
        made = make(middle)
        if best is None or abs(amount(made) - goal) < abs(amount(best) - goal):
            best = made
        low, high = (low, middle) if amount(made) > goal else (middle, high)
    return best
