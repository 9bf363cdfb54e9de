"""What a student's layers still say of its teacher's: linear maps between them, and how much is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..distillation.taps import FeatureTaps, Tap, probe
from ..errors import InputError

RIDGE = 1e-6  # of the mean square


def shared_layers(student: nn.Module, teacher: nn.Module) -> list[tuple[Tap, Tap]]:
    """Return the layers that later ones go back to (the ends of the stages) and that both models have, as pairs."""
    pairs = []
    for index in sorted(set(getattr(student, "save", ())) & set(getattr(teacher, "save", ()))):
        try:
            ours, theirs = (probe(model, [index])[0] for model in (student, teacher))
        except InputError:  # the head, or no feature map
            continue
        if (ours.kind, ours.stride) == (theirs.kind, theirs.stride) and ours.kind not in ("Concat", "Upsample"):
            pairs.append((ours, theirs))
    return pairs


class FeatureGap(nn.Module):
    """How much of the teacher's features cannot be told from the student's by a linear map, layer by layer.

    The maps, 1×1 convolutions, begin as the least-squares solution (`fit`) and are trained with the student: their
    parameters are those of this module. A layer's gap is the mean squared error over the teacher's variance, in 0..1
    after `fit`; the gap is the mean over the layers, 0 where there are none.

    Args:
        student, teacher: The models; their outputs are tapped from `attach` on.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module):
        super().__init__()
        pairs = shared_layers(student, teacher)
        self.layers = [ours.index for ours, _ in pairs]
        self.maps = nn.ModuleList(nn.Conv2d(ours.channels, theirs.channels, 1) for ours, theirs in pairs)
        self._taps = [FeatureTaps(model, self.layers) for model in (student, teacher)] if pairs else []

    def attach(self) -> None:
        """Tap the models."""
        for taps in self._taps:
            taps.attach()

    def detach(self) -> None:
        """Leave the models alone again."""
        for taps in self._taps:
            taps.detach()

    def forward(self) -> torch.Tensor:
        """Return the gap after a pass of both models over the same images."""
        gaps = [_gap(adapt(ours.float()), theirs.float()) for adapt, ours, theirs in zip(self.maps, *self._features())]
        return sum(gaps) / len(gaps) if gaps else torch.zeros(())

    def _features(self) -> Sequence[list[Any]]:
        return [taps.pop() for taps in self._taps] or ([], [])

    @torch.no_grad()
    def fit(self, passes: Iterable[object]) -> None:
        """Set the maps by least squares on all positions.

        Args:
            passes: Each item is drawn after a pass of both models over the same images.
        """
        sums = [None] * len(self.maps)
        for _ in passes:
            for number, (ours, theirs) in enumerate(zip(*self._features())):
                x, y = (t.movedim(1, -1).flatten(0, -2).cpu().double() for t in (ours, theirs))
                x = torch.cat([x, torch.ones_like(x[:, :1])], 1)  # the constant
                found = x.T @ x, x.T @ y
                sums[number] = found if sums[number] is None else tuple(a + b for a, b in zip(sums[number], found))
        for adapt, (xx, xy) in zip(self.maps, sums):
            ridge = RIDGE * xx.diagonal().mean() * torch.eye(len(xx), dtype=xx.dtype)
            solved = torch.linalg.solve(xx + ridge, xy).to(adapt.weight)
            adapt.weight.copy_(solved[:-1].T[..., None, None])
            adapt.bias.copy_(solved[-1])


def _gap(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    spread = (teacher - teacher.mean((0, 2, 3), keepdim=True)).square().mean()
    return (student - teacher).square().mean() / spread.clamp_min(1e-12)
