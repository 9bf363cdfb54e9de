"""What removing channels costs, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.score.ranking import rank

from small_modules import Chain


class OwnForward(nn.Conv2d):
    """A class of the user's that reads its stored weight by code of its own."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias, padding=1)


class TwoReaders(nn.Module):
    """Channels that two layers read, one of which needs the first half of them, the other the second."""

    def __init__(self, kind: type, c: int = 32):
        super().__init__()
        self.m, self.small, self.big = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1), kind(c, c, 3, padding=1)
        with torch.no_grad():
            self.small.weight[:, c // 2 :] *= 0.01
            self.big.weight[:, : c // 2] *= 0.01
            self.big.weight *= 3

    def forward(self, x):
        y = torch.relu(self.m(x))
        return self.big(y) + self.small(y)


def scores(kind: type, hooked: bool = False) -> dict[str, np.ndarray]:
    """Return the score of each unit of every pool."""
    torch.manual_seed(0)
    model = Chain(TwoReaders(kind)).eval()
    if hooked:
        model.model[1].big.register_forward_hook(lambda *_: None)
    ranked = rank(model, trace_channels(model), "surgeon", "layer", (), 0, torch.rand(8, 3, 32, 32))
    return {str(pool.units): pool.scores for pool in ranked.pools}


@pytest.mark.parametrize(("kind", "hooked"), [(nn.Conv2d, True), (OwnForward, False)])
def test_a_reader_counts_the_same_whatever_its_class_and_hooks(kind: type, hooked: bool) -> None:
    expected, found = scores(nn.Conv2d), scores(kind, hooked)
    assert expected.keys() == found.keys()
    assert all(np.allclose(found[units], expected[units]) for units in expected)
