"""Take BatchNorm statistics anew: the means and variances of what now arrives at each layer."""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.utils import TQDM

from ...errors import InputError
from ..graph.raw import run_raw

BATCH = 16  # images run at once; their statistics are averaged


@torch.no_grad()
def estimate_statistics(model: nn.Module, images: torch.Tensor) -> int:
    """Replace the running statistics of every BatchNorm by those on images (N, C, H, W); return how many there are.

    The images are run in training mode, a batch at a time, and the batches' statistics averaged with equal weights.

    Raises:
        InputError: If there is only one image, whose statistics say too little.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if len(images) < 2:
        raise InputError("repair='bn' needs at least two images, better dozens")
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # a plain average over the batches
        m.train()
    try:
        for part in TQDM(images.tensor_split(-(-len(images) // BATCH)), desc="prune: BatchNorm statistics"):
            run_raw(model, part)
    finally:
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
        model.eval()
    return len(norms)
