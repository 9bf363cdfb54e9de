"""What a pruning did: the figures that are told, and the record that its checkpoint carries."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import nn

from ultralytics import __version__
from ultralytics.utils.torch_utils import get_num_params

from ..hints import few
from ..measuring.flops import count_gflops
from ..measuring.runtimes import RUNTIMES
from .checkpoint import RECORD
from .graph.channels import ChannelGraph
from .graph.trace import OUTPUT
from .select.pools import Pool

REASONS = 6  # why channels are fixed: so many are told in the summary, all of them in the record


@dataclass
class PruneResult:
    """What a pruning did.

    Attributes:
        path: The checkpoint written.
        model: The pruned model.
        factor: Share of the prunable channels that was asked for; None where a target was.
        ratio: Share of the prunable channels that was removed.
        params: Parameters before and after.
        gflops: GFLOPs before and after, at `imgsz`.
        widths: (layer name, channels before, after) of every layer that makes channels.
        frozen: Layers with channels that could not be cut, each with the reason.
        score: The score used.
        scope: Whether every layer lost the same share, 'layer', or all of them together, 'global'.
        floor: Share of each layer's channels that 'global' left alone as long as it could.
        error: Largest difference to the masked original, relative to the largest output.
        imgsz: Image size of the GFLOPs, pixels.
        frozen_share: Share of all channels that could not be cut though they are no predictions.
        images: Images that scores and repairs were measured on.
        latency: Milliseconds before and after where they were the target, and how they were measured.
        steps: Of several prunings, what each left: `ratio` of the channels it found removed, `params`, `gflops`.
        repairs: What was done to the pruned model (`repair.REPAIRS`).
        blocks: Names of the blocks that were taken out; the layers in them have 0 channels in `widths`.
        classes: Names of the classes that were kept, and how many there were; None where all stayed.
        promise: What it keeps of the original's accuracy, in words, where that was asked for.
    """

    path: Path | None
    model: nn.Module
    factor: float | None
    ratio: float
    params: tuple[int, int]
    gflops: tuple[float, float]
    widths: list[tuple[str, int, int]]
    frozen: list[str]
    score: str = ""
    scope: str = ""
    floor: float = 0.0
    error: float = 0.0
    imgsz: int = 640
    frozen_share: float = 0.0
    images: int = 0
    latency: dict | None = None
    steps: list[dict] = field(default_factory=list)
    repairs: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    classes: tuple[tuple[str, ...], int] | None = None
    promise: str = ""

    def __str__(self) -> str:
        """Return the outcome in a few lines."""
        (p0, p1), (f0, f1) = self.params, self.gflops
        cut = sum(0 < b < a for _, a, b in self.widths)
        cuts = f"{cut} of {len(self.widths)} layers narrower"
        cuts += f", {len(self.blocks)} blocks taken out" if self.blocks else ""
        cuts += f", {len(self.classes[0])} of {self.classes[1]} classes left" if self.classes else ""
        asked = "" if self.factor is None else f"asked to remove {self.factor:.1%} of the prunable channels, "
        seen = f" with {self.images} images" if self.images else ""
        repaired = f"; repaired by {' and '.join(self.repairs)}{seen}" if self.repairs else ""
        return (
            f"pruned by {self.score}: {asked}removed {self.ratio:.1%} ({cuts})"
            f"{f' in {len(self.steps)} steps' if self.steps else ''}\n"
            f"  parameters {p0:,} -> {p1:,} ({p1 / max(p0, 1):.1%}), GFLOPs {f0:.2f} -> {f1:.2f} "
            f"({f1 / max(f0, 1e-9):.1%}) at {self.imgsz} px\n"
            f"{self._timed()}"
            f"  {self.frozen_share:.1%} of the channels are fixed; equal to the masked original within {self.error:.1e}"
            f"{repaired}\n"
            f"{self._kept_whole()}"
            f"{f'  {self.promise}' + chr(10) if self.promise else ''}"
            f"  saved as {self.path}"
        )

    __repr__ = __str__  # dataclass's own would print the whole model

    def _timed(self) -> str:
        """Return the latencies, if any were measured, as a line."""
        if not (t := self.latency):
            return ""
        return (
            f"  latency {t['before_ms']:.2f} -> {t['after_ms']:.2f} ms ({t['after_ms'] / t['before_ms']:.1%}, standard "
            f"error {t['error']:.1%} of it) in {RUNTIMES[t['runtime']]} on {t['device']}, batch {t['batch']}\n"
        )

    def record(self, round_to: int, target: tuple[str, float] | None) -> dict:
        """Return the checkpoint's record of what was cut, in plain builtins."""
        return {
            "tool": f"{RECORD} of ultralytics {__version__}",
            "score": self.score,
            "scope": self.scope,
            "round_to": round_to,
            "floor": self.floor,
            "factor": self.factor,
            "target": list(target) if target else None,
            "latency": self.latency,
            "steps": self.steps,
            "images": self.images,
            "repairs": list(self.repairs),
            "blocks": list(self.blocks),
            "classes": {"kept": list(self.classes[0]), "of": self.classes[1]} if self.classes else None,
            "ratio": float(self.ratio),
            "params": list(self.params),
            "gflops": [float(g) for g in self.gflops],
            "imgsz": self.imgsz,
            "widths": {name: [before, after] for name, before, after in self.widths},
            "frozen": self.fixed(),
        }

    def fixed(self) -> dict[str, str]:
        """Return {layer: how many of its channels could not be cut, and why} of what is no prediction."""
        lines = [line for line in self.frozen if not line.endswith(f"{OUTPUT})")]
        return dict(line.split(": ", 1) for line in lines)

    def _kept_whole(self) -> str:
        """Return the reasons for which channels are fixed, a line each, the most frequent first."""
        reasons: dict[str, list[str]] = {}
        for layer, why in self.fixed().items():
            reasons.setdefault(_kind_of(why), []).append(layer)
        lines = sorted(reasons.items(), key=lambda item: -len(item[1]))
        told = [f"    {why}: {few(layers, 3)}\n" for why, layers in lines[:REASONS]]
        return "".join(told) + (f"    and for {len(lines) - REASONS} more reasons\n" if lines[REASONS:] else "")


def _kind_of(why: str) -> str:
    """Return a reason, "64 of 64 channels (model.4 (Block): operation 'cumsum')", without the name and the numbers."""
    reason = why.partition(" channels (")[2].removesuffix(")")
    return re.sub(r"^\S+ \((\w+)\): ", r"\1: ", reason)


def join(results: list[PruneResult]) -> PruneResult:
    """Return what several prunings, each of the last one's result, did to the first model."""
    first, last = results[0], results[-1]
    if len(results) == 1:
        return last
    whole, kept = {name: before for name, before, _ in first.widths}, 1.0
    for result in results:
        kept *= 1 - result.ratio
    return replace(
        last,
        ratio=1 - kept,
        params=(first.params[0], last.params[1]),
        gflops=(first.gflops[0], last.gflops[1]),
        widths=[(name, whole[name], after) for name, _, after in last.widths],
        error=max(result.error for result in results),
        steps=[{"ratio": float(r.ratio), "params": r.params[1], "gflops": float(r.gflops[1])} for r in results],
    )


def gather(
    model: nn.Module, pruned: nn.Module, graph: ChannelGraph, pools: list[Pool], keep: np.ndarray, imgsz: int
) -> PruneResult:
    """Gather the figures of a pruning."""
    total = sum(len(p.units) * p.size for p in pools)
    gone = sum(int((~keep[labels]).sum()) for labels in graph.layers.values())
    widths = [(name, len(labels), int(keep[labels].sum())) for name, labels in graph.layers.items()]
    reasons, roots = graph.book.frozen(), graph.book.roots()
    frozen, fixed = [], 0
    for name, labels in graph.layers.items():
        why = Counter(reasons[r] for r in roots[labels].tolist() if r in reasons)
        fixed += sum(n for reason, n in why.items() if not reason.endswith(OUTPUT))
        if why:
            frozen.append(f"{name}: {sum(why.values())} of {len(labels)} channels ({why.most_common(1)[0][0]})")
    return PruneResult(
        None,
        pruned,
        None,
        gone / max(total, 1),
        tuple(get_num_params(m) for m in (model, pruned)),
        tuple(count_gflops(m, imgsz) for m in (model, pruned)),
        widths,
        frozen,
        imgsz=imgsz,
        frozen_share=fixed / max(graph.total(), 1),
    )
