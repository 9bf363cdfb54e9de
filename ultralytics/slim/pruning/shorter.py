"""A model without some of its blocks: which are offered, what is left of it, and how its layers are counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import nn

from ultralytics.utils.torch_utils import get_num_params

from ..measuring.flops import count_gflops
from .graph.blocks import Block, find_blocks, names_left, proved_without, with_needed
from .graph.channels import ChannelGraph
from .repair.refit import refit
from .repair.repairs import Example
from .result import PruneResult
from .score.blocks import whole_layers
from .select.pools import Pool, matching


@dataclass(frozen=True)
class Shorter:
    """A model without some of its blocks.

    Attributes:
        model: The model, re-fitted.
        blocks: Names of those that are gone.
        example: The model that had them.
        error: Largest difference to the one with the blocks masked, relative to the largest output.
        channels: What the one with the blocks could lose, and how many of that went with them.
        widths: Channels of every layer of the one with the blocks, by name.
    """

    model: nn.Module
    blocks: tuple[str, ...]
    example: Example
    error: float
    channels: tuple[int, int]
    widths: dict[str, int]

    def left_of(self, factor: float) -> float:
        """Return the share of the channels that is still to go where `factor` of all was asked for."""
        total, gone = self.channels
        return max((factor * total - gone) / max(total - gone, 1), 0.0)

    def exclude_of(self, exclude: str | tuple[str, ...]) -> tuple[str, ...]:
        """Return the layers that patterns exclude by the names that they had, by those that they have now."""
        held = set(chain(*matching(self.widths, exclude).values()))
        return tuple(now for now, before in self.example.names.items() if before in held)


def offered_blocks(model: nn.Module, graph: ChannelGraph, exclude: str | tuple[str, ...]) -> list[Block]:
    """Return the blocks that may go: those that hold no layer that `exclude` names."""
    held = list(chain(*matching(graph.layers, exclude).values()))
    return [b for b in find_blocks(model) if not any(name.startswith(f"{b.name}.") for name in held)]


def shortened(
    model: nn.Module,
    graph: ChannelGraph,
    pools: list[Pool],
    chosen: list[Block],
    offered: list[Block],
    where: dict[str, torch.Tensor],
    images: torch.Tensor,
) -> Shorter:
    """Return a model without blocks, proved and re-fitted.

    Args:
        model: Float32, evaluation mode; not modified.
        graph: Its channels.
        pools: Its pools.
        chosen: The blocks to take out; those that need to go with them do.
        offered: All that may go.
        where: Sensitivity (N, positions) of the predictions to each layer's output.
        images: (N, C, H, W) in 0..1.
    """
    gone = with_needed(chosen, offered)
    names, (shorter, error) = names_left(model, gone), proved_without(model, gone)
    refit(model, shorter, whole_layers(model, names), where, graph.norms, images, names)
    widths, left = {name: len(labels) for name, labels in graph.layers.items()}, set(names.values())
    lost = sum(width for name, width in widths.items() if name not in left)
    channels = sum(len(pool.units) * pool.size for pool in pools), lost
    return Shorter(
        shorter, tuple(block.name for block in gone), Example(model, where, names, graph.norms), error, channels, widths
    )


def named_as_before(result: PruneResult, shorter: Shorter) -> PruneResult:
    """Return what a pruning did with layers by the names that they had before blocks were taken out."""
    found = {shorter.example.names[name]: (before, after) for name, before, after in result.widths}
    widths = [(name, *found.get(name, (0, 0))) for name in shorter.widths]
    split = [line.partition(": ") for line in result.frozen]
    frozen = [f"{shorter.example.names[name]}: {why}" for name, _, why in split]
    return replace(result, widths=widths, frozen=frozen, blocks=shorter.blocks)


def counted_with_blocks(result: PruneResult, shorter: Shorter, imgsz: int) -> PruneResult:
    """Return what a pruning did with the blocks that went before it counted in."""
    result, whole = named_as_before(result, shorter), shorter.example.model
    widths = [(name, shorter.widths[name], after) for name, _, after in result.widths]
    return replace(
        result,
        ratio=sum(before - after for _, before, after in widths) / max(shorter.channels[0], 1),
        params=(get_num_params(whole), result.params[1]),
        gflops=(count_gflops(whole, imgsz), result.gflops[1]),
        widths=widths,
        error=max(result.error, shorter.error),
    )
