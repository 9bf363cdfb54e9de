"""Pruning as the well-known ports of Network Slimming to YOLO do it: one threshold on γ for the whole model.

A channel goes if the |γ| of its BatchNorm is below the threshold. Layers that a shortcut ties to others are not pruned;
where less than eight channels of a layer would be left, the eight largest stay. Widths are not rounded and nothing is
repaired.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.pruning.checkpoint import save_checkpoint
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import sliced
from ultralytics.slim.pruning.score.ranking import rank
from ultralytics.slim.pruning.select.pools import FLOOR, Pool
from ultralytics.utils.torch_utils import get_flops

from .bisect import nearest


def below(pools: list[Pool], threshold: float) -> list[np.ndarray]:
    """Return the units of each pool that go: those whose γ is below the threshold, tied layers' aside."""
    return [_weak(pool, threshold) for pool in pools if len(pool.layers) == 1]


def _weak(pool: Pool, threshold: float) -> np.ndarray:
    most = max(0, len(pool.units) - FLOOR)
    return pool.weakest(len(pool.units) - min(most, int((pool.scores < threshold).sum())))


def prune(start: Path, out: Path, share: float, imgsz: int) -> Path:
    """Prune a checkpoint to about this share of its GFLOPs, or as far as it goes, and write the result to `out`."""
    yolo = YOLO(start)
    model = yolo.model.float().cpu().eval()
    graph = trace_channels(model)
    ranking = rank(model, graph, "gamma", "global")
    roots = ranking.book.roots()
    top = max(float(pool.scores.max()) for pool in ranking.pools)

    def cut(threshold: float) -> nn.Module:
        gone = np.concatenate([np.zeros(0, int), *below(ranking.pools, threshold)])
        return sliced(model, graph, ~np.isin(roots, gone))

    goal = share * get_flops(model, imgsz)
    pruned = nearest(cut, lambda m: get_flops(m, imgsz), goal, (top, 0.0))
    save_checkpoint(pruned, out, {"threshold": share}, yolo.ckpt)
    return out
