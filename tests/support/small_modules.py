"""Small modules whose tied channels can be read off the code."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """A stem, a block under test, and an end that reads it."""

    stride = torch.tensor([8.0])

    def __init__(self, block: nn.Module, c: int = 32, out: int | None = None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.SiLU())
        self.block = block
        self.end = nn.Conv2d(out or c, 4, 1)

    def forward(self, x):
        return self.end(self.block(self.stem(x)))


class Halves(nn.Module):
    """Equal halves, one worked on, joined again: what C2f does."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv = nn.Conv2d(c // 2, c // 2, 3, padding=1)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        return torch.cat([a, b + self.cv(b)], 1)


class Ordinary(nn.Module):
    """A user's own block of ordinary operations: gate, channelwise convolution, transposed convolution, residual."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.up = nn.ConvTranspose2d(c, c, 2, 2)
        self.down = nn.Conv2d(c, c, 2, 2)
        self.scale = nn.Parameter(torch.rand(1, c, 1, 1))

    def forward(self, x):
        y = torch.tanh(self.dw(x)) * self.scale
        return x + nn.functional.relu(self.down(nn.functional.gelu(self.up(y))))


class Strange(nn.Module):
    """An operation without a rule: a running sum over channels."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.after = nn.Conv2d(c, c, 1)
        self.last = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return self.last(self.after(torch.cumsum(x, 1)))


class Gate(nn.Module):
    """A sigmoid read directly: 0.5 where a channel is masked."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return self.cv(torch.sigmoid(x))


class Grouped(nn.Module):
    """A grouped convolution that is not channelwise."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv = nn.Conv2d(c, c, 3, padding=1, groups=4)

    def forward(self, x):
        return self.cv(x)
