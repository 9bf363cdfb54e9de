"""GFLOPs of a model, counted by Ultralytics on an image of memory as it comes."""

from __future__ import annotations

from torch import nn

from ultralytics.utils.torch_utils import get_flops

TRIES = 3


def count_gflops(model: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of a model at images of `imgsz` pixels a side, 0.0 where they cannot be counted.

    Ultralytics gives 0.0 where the model fails, as code that looks at values may on what an image that nobody filled
    happens to hold: another is tried then.
    """
    for _ in range(TRIES):
        if gflops := get_flops(model, imgsz):
            return gflops
    return 0.0
