"""What narrowing a pool saves of the time of an inference, from measured times of single layers.

A layer's time depends on the widths of both its sides. While one pool is looked at, all others are taken to be as
narrow as an even pruning to the goal would leave them. Times over one side's width are measured at those widths that a
pruning allows, with the other side at what is expected of it; in between they are interpolated, and a change of both
sides is the product of two such ratios. What takes time besides convolutions is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ...kinds import input_channels
from ...measuring.layer_times import LayerShape, LayerTimes
from ..graph.channels import ChannelGraph
from ..graph.raw import run_raw
from .pools import Pool

LEVELS = 16  # most widths of one side that are measured


@dataclass
class Side:
    """One side of a layer, its inputs or its outputs.

    Attributes:
        whole: Its width before the pruning.
        expected: Its width after an even pruning to the goal.
        each: Channels that one unit of a pool has here, by the pool's number.
        units: Units of these pools that an even pruning leaves.
        widths, times: Measured widths, rising, and the times of the layer with them, ms.
    """

    whole: int
    expected: int
    each: dict[int, float] = field(default_factory=dict)
    units: dict[int, float] = field(default_factory=dict)
    widths: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def width(self, pool: int, count: int) -> float:
        """Return its width when a pool has so many units, and the others as many as is expected."""
        return self.expected + self.each.get(pool, 0.0) * (count - self.units.get(pool, count))

    def ratio(self, width: float) -> float:
        """Return the time with this width, as a share of that with the expected width."""
        return float(np.interp(width, self.widths, self.times) / np.interp(self.expected, self.widths, self.times))


@dataclass
class TimedLayer:
    """A layer of a model that is timed: its shape, its two sides, and its time at the widths that are expected."""

    shape: LayerShape
    ins: Side
    outs: Side
    expected_ms: float = 0.0

    def wanted(self, round_to: int) -> Iterator[tuple[LayerShape, int, int]]:
        """Yield what has to be measured of it (shape, inputs, outputs)."""
        for side in (self.ins, self.outs):
            side.widths = _levels(side.whole, round_to)
        if not self.shape.depthwise:
            yield from ((self.shape, width, self.outs.expected) for width in self.ins.widths)
        yield from ((self.shape, self.ins.expected, width) for width in self.outs.widths)

    def read(self, times: LayerTimes) -> None:
        """Take over what was measured."""
        if not self.shape.depthwise:  # which has one width, in and out
            self.ins.times = [times.ms(self.shape, width, self.outs.expected) for width in self.ins.widths]
        self.outs.times = [times.ms(self.shape, self.ins.expected, width) for width in self.outs.widths]
        self.expected_ms = float(np.interp(self.outs.expected, self.outs.widths, self.outs.times))

    def ms(self, pool: int, count: int) -> float:
        """Return its time when a pool has so many units."""
        ms = self.expected_ms * self.outs.ratio(self.outs.width(pool, count))
        return ms if self.shape.depthwise else ms * self.ins.ratio(self.ins.width(pool, count))


class TimeCosts:
    """Milliseconds that narrowings save.

    Args:
        model: Float32, on the CPU; not modified.
        graph: Its channels.
        pools: Its pools.
        roots: Representative of each label, (labels + 1,).
        times: Times of layers in the runtime that counts.
        imgsz, batch: Side of the images in pixels, and how many are inferred at once.
        round_to: Widths are multiples of this.
        even: Share of its units that an even pruning to the goal leaves every pool.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        pools: list[Pool],
        roots: np.ndarray,
        times: LayerTimes,
        imgsz: int,
        batch: int,
        round_to: int,
        even: float,
    ):
        sides = _sides(graph, pools, roots, round_to, even)
        self.layers = []
        for name, shape in layer_shapes(model, imgsz, batch):
            conv = model.get_submodule(name)
            outs, ins = sides.get((name, "out")), sides.get((name, "in"))
            outs = outs or Side(conv.out_channels, conv.out_channels)
            ins = ins or Side(conv.in_channels, conv.in_channels)
            self.layers.append(TimedLayer(shape, ins, outs))
        times.measure(wanted for layer in self.layers for wanted in layer.wanted(round_to))
        self.of_pool: dict[int, list[TimedLayer]] = {}
        for layer in self.layers:
            layer.read(times)
            for pool in {*layer.ins.each, *layer.outs.each}:
                self.of_pool.setdefault(pool, []).append(layer)

    def saved(self, pool: int, before: int, after: int) -> float:
        """Return the milliseconds that are saved when a pool goes from `before` units to `after`."""
        layers = self.of_pool.get(pool, ())
        return sum(layer.ms(pool, before) - layer.ms(pool, after) for layer in layers)


def _sides(
    graph: ChannelGraph, pools: list[Pool], roots: np.ndarray, round_to: int, even: float
) -> dict[tuple[str, str], Side]:
    """Return the sides of layers in which units of the pools are, by (name of the layer, 'in' or 'out')."""
    pool_of = np.full(len(roots), -1)
    for number, pool in enumerate(pools):
        pool_of[pool.units] = number
    found = {}
    for slot in graph.slots:
        name, _, kind = slot.names[0].rpartition(".")
        if slot.role not in ("in", "out") or kind != "weight":
            continue
        numbers, counts = np.unique(pool_of[roots[slot.labels]], return_counts=True)
        counted = {int(n): int(c) for n, c in zip(numbers, counts) if n >= 0}
        left = {n: _rounded(even * len(pools[n].units), round_to, len(pools[n].units)) for n in counted}
        each = {n: count / len(pools[n].units) for n, count in counted.items()}
        whole = len(slot.labels)
        expected = whole - sum(each[n] * (len(pools[n].units) - left[n]) for n in counted)
        found[name, slot.role] = Side(whole, max(1, round(expected)), each, left)
    return found


def _rounded(units: float, round_to: int, most: int) -> int:
    return min(most, max(1, round(units / round_to)) * round_to)


def _levels(whole: int, round_to: int) -> list[int]:
    """Return the widths to measure, rising: multiples of `round_to`, evenly thinned out, and the whole width."""
    widths = [*range(round_to, whole, round_to), whole]
    step = -(-len(widths) // LEVELS)
    return sorted({widths[0], *widths[::-1][::step]})


@torch.no_grad()
def layer_shapes(model: nn.Module, imgsz: int, batch: int) -> list[tuple[str, LayerShape]]:
    """Return the name and shape of every convolution that is timed, as often as it runs in one inference."""
    acts = {id(m.conv): m.act for m in model.modules() if hasattr(m, "conv") and hasattr(m, "act")}
    found, handles = [], []

    def keep(name: str):
        def hook(m: nn.Module, args: tuple) -> None:
            if shape := LayerShape.of(m, acts.get(id(m)), args[0].shape[-2:], batch):
                found.append((name, shape))

        return hook

    for name, m in model.named_modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            handles.append(m.register_forward_pre_hook(keep(name)))
    try:
        run_raw(model, torch.zeros(1, input_channels(model), imgsz, imgsz))
    finally:
        model.eval()
        for handle in handles:
            handle.remove()
    return found
