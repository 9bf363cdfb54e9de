"""Latency of candidates while a pruning looks for its target: each is timed in turns with the original.

What is judged is the ratio of their times in the same round, so that a slow moment of the machine meets both and
cancels; the milliseconds are that ratio times the original's, which is timed once, at the start.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...compat import time_sync
from ...errors import InputError
from ...inputs.devices import find_device
from ...measuring.runtimes import RUNTIMES, missing_packages, onnx_run, torch_run
from ...measuring.timing import one_round, take_turns, warm_up
from ..checkpoint import stripped

ROUNDS, SECONDS = (15, 100), (1.5, 12.0)  # fewest and most a candidate: a burst of other work can last for a second
SURE = 3  # standard errors


@dataclass(frozen=True)
class Reading:
    """A measured amount; of a latency, in milliseconds, with its relative standard error over `rounds` rounds."""

    value: float
    error: float = 0.0
    rounds: int = 1


class Stopwatch:
    """Times models against one original.

    Args:
        original: The model that candidates are compared with; not modified.
        runtime: A key of `RUNTIMES`; all but 'torch' export each model, and run on the CPU.
        imgsz: Side of the images, pixels.
        batch: Images inferred at once.
        device: As in Ultralytics, for 'torch'; by default the first GPU, else the CPU.
        rounds: Fewest and most for a candidate.
        seconds: Fewest for a candidate, and after how many no further round begins.
    """

    def __init__(
        self,
        original: nn.Module,
        runtime: str,
        imgsz: int,
        batch: int = 1,
        device: Any = None,
        rounds: tuple[int, int] = ROUNDS,
        seconds: tuple[float, float] = SECONDS,
    ):
        self.runtime, self.imgsz, self.batch = runtime, imgsz, batch
        self.rounds, self.seconds = rounds, seconds
        self.device = find_device(device if runtime == "torch" else "cpu")
        self._clock = partial(time_sync, self.device)
        self._original = self._run(original)
        with torch.inference_mode():
            self.original_ms = take_turns({"original": self._original}, self._clock)["original"].median_ms

    def __call__(self, model: nn.Module, low_ms: float, high_ms: float) -> Reading:
        """Return a model's latency, timed until it is clear on which side of `low_ms`..`high_ms` it lies.

        One that lies between them is timed until its standard error is a tenth of their distance, or time is up.
        """
        runs = {"original": self._original, "candidate": self._run(model)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        with torch.inference_mode():
            warm_up(runs)
            start = self._clock()
            while True:
                one_round(runs, times, self._clock)
                rounds, seconds = len(times["original"]), self._clock() - start
                if rounds < self.rounds[0] or seconds < self.seconds[0]:
                    continue
                reading = self._read(times)
                if rounds >= self.rounds[1] or seconds > self.seconds[1] or _is_clear(reading, low_ms, high_ms):
                    return reading

    def record(self, reading: Reading) -> dict[str, object]:
        """Return what was measured and how, in plain builtins, for the checkpoint's record."""
        where = {"runtime": self.runtime, "device": str(self.device), "threads": torch.get_num_threads()}
        how = {"imgsz": self.imgsz, "batch": self.batch, "rounds": reading.rounds, "error": round(reading.error, 5)}
        return {"before_ms": self.original_ms, "after_ms": round(reading.value, 3), **how, **where}

    def _read(self, times: dict[str, list[float]]) -> Reading:
        """Return the median ratio as milliseconds; its standard error is 0.93 interquartile ranges over √n."""
        ratios = np.divide(times["candidate"], times["original"])
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        error = 0.93 * (high - low) / middle / len(ratios) ** 0.5
        return Reading(float(self.original_ms * middle), float(error), len(ratios))

    def _run(self, model: nn.Module) -> Callable[[], object]:
        """Return a function that infers a batch with a copy of the model, BatchNorm fused."""
        if self.runtime == "torch":
            net = copy.deepcopy(model).to(self.device).eval().fuse(verbose=False)
            return torch_run(net, self.imgsz, self.device, self.batch)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder, "candidate.pt")
            torch.save({"model": stripped(model)}, weights)
            return onnx_run(weights, self.imgsz, Path(folder), self.batch, self.runtime)


def _is_clear(reading: Reading, low: float, high: float) -> bool:
    """Return whether a latency is surely outside of low..high, or exact to a tenth of their distance."""
    error = reading.error * reading.value
    outside = reading.value + SURE * error < low or reading.value - SURE * error > high
    return outside or error <= (high - low) / 10


def check_runtime(runtime: str, batch: int) -> None:
    """Raise InputError where a latency could not be measured so."""
    if runtime not in RUNTIMES:
        raise InputError(f"runtime should be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if missing := missing_packages(runtime):
        raise InputError(f"runtime={runtime!r} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch should be the number of images inferred at once, from 1, got {batch!r}")
