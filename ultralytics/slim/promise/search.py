"""Look for the smallest share at which enough is kept: a bisection in which nothing is known of the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST = 0.4  # share of the GFLOPs that is tried first
LEAST = 0.05  # share that nobody expects to keep anything
TRIES = 8  # at most
CLOSE = 1.04  # ratio of the smallest share that keeps enough to the largest below it that does not; then it ends
INNER = (0.2, 0.8)  # part of the space between the two in which the next trial lies


@dataclass(frozen=True)
class Try:
    """One model that was tried.

    Attributes:
        share: Share of the original's GFLOPs that it has.
        kept: Share of the original's accuracy, or agreement, that it keeps.
        asked: Share that it was to have; None where it was pruned to another goal.
    """

    share: float
    kept: float
    asked: float | None = None


def smallest(tries: Sequence[Try], keep: float) -> Try | None:
    """Return the smallest model that keeps enough; None where none does."""
    return min((t for t in tries if t.kept >= keep), key=lambda t: t.share, default=None)


def nearest_short(tries: Sequence[Try], keep: float) -> Try | None:
    """Return the largest model below the smallest that keeps enough; None where none was tried."""
    enough = smallest(tries, keep)
    short = [t for t in tries if t.kept < keep and (enough is None or t.share < enough.share)]
    return max(short, key=lambda t: t.share, default=None)


def next_share(tries: Sequence[Try], keep: float) -> float | None:
    """Return the share to try next; None where the smallest that keeps enough is known closely enough.

    The border is looked for where a straight line through what two models kept, over the logarithm of their shares,
    meets what is to be kept, but not close to either of them; in the middle where only one of them is known.
    """
    if not tries:
        return FIRST
    enough, short = smallest(tries, keep), nearest_short(tries, keep)
    high, low = (enough or Try(1.0, 1.0)), (short or Try(LEAST, 0.0))
    twice = len({round(t.share, 3) for t in tries}) < len(tries)  # the widths allow nothing in between
    if len(tries) >= TRIES or twice or high.share / low.share < CLOSE:
        return None
    part = 0.5
    if short and high.kept > short.kept:
        part = min(max((keep - short.kept) / (high.kept - short.kept), INNER[0]), INNER[1])
    return low.share * (high.share / low.share) ** part
