"""Time several models side by side: they take turns, so that a slow moment of the machine meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from ultralytics.utils import TQDM

WARM_UP, ROUNDS, SECONDS = 3, 40, 4.0  # a model runs ROUNDS times, fewer where that takes longer than SECONDS
_rounds: ContextVar[int] = ContextVar("rounds", default=ROUNDS)
REST = 0.1  # seconds after which the threads of a runtime no longer wait by spinning (ONNX Runtime: more than 0.03)


@dataclass(frozen=True)
class Latency:
    """Median and quartiles of the time of one image, milliseconds, over `runs` runs."""

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int


@contextmanager
def few_rounds(count: int) -> Iterator[None]:
    """Within this context time so many rounds where none are asked for: quick, and as much less exact."""
    token = _rounds.set(count)
    try:
        yield
    finally:
        _rounds.reset(token)


def default_rounds() -> int:
    """Return in how many rounds is timed where none are asked for."""
    return _rounds.get()


def take_turns(
    runs: dict[Hashable, Callable[[], object]],
    clock: Callable[[], float] = time.perf_counter,
    rest: float = 0.0,
    rounds: int | None = None,
    seconds: float = SECONDS,
) -> dict[Hashable, Latency]:
    """Call each function in turn, round after round; return its latency.

    Args:
        runs: Name -> function that infers one image.
        clock: Seconds; for a GPU one that waits for it.
        rest: Seconds of rest before each call; `REST` where threads of one function may take the cores from the next.
        rounds: Most rounds; `default_rounds()` if not given.
        seconds: After so many for each function it ends, but not before five rounds.
    """
    rounds = default_rounds() if rounds is None else rounds
    warm_up(runs)
    times: dict[Hashable, list[float]] = {name: [] for name in runs}
    stop = clock() + seconds * len(runs)
    with TQDM(total=rounds, desc=f"timing, {len(runs)} in turns") as bar:
        for done in range(rounds):
            if done >= 5 and clock() >= stop:
                bar.total = done  # so that the bar ends as a finished one
                break
            one_round(runs, times, clock, rest)
            bar.update()
    return {name: _summary(taken) for name, taken in times.items()}


def warm_up(runs: dict[Hashable, Callable[[], object]]) -> None:
    """Call each function a few times, untimed: the first ones allocate and choose kernels."""
    for run in runs.values():
        for _ in range(WARM_UP):
            run()


def one_round(
    runs: dict[Hashable, Callable[[], object]],
    times: dict[Hashable, list[float]],
    clock: Callable[[], float] = time.perf_counter,
    rest: float = 0.0,
) -> None:
    """Call each function once, after a rest in seconds, and append its milliseconds to `times`."""
    for name, run in runs.items():
        time.sleep(rest)
        start = clock()
        run()
        times[name].append(1e3 * (clock() - start))


def _summary(milliseconds: list[float]) -> Latency:
    low, middle, high = (float(q) for q in np.percentile(milliseconds, (25, 50, 75)))
    return Latency(round(middle, 3), round(low, 3), round(high, 3), len(milliseconds))
