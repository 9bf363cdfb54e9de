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


class AreaAttention(nn.Module):
    """Attention over areas of the positions: query and key from one convolution, the value from another."""

    def __init__(self, c: int = 32, num_heads: int = 2, area: int = 4):
        super().__init__()
        self.num_heads, self.head_dim, self.area = num_heads, c // num_heads, area
        self.qk, self.v, self.proj = (self._layer(c, out) for out in (2 * c, c, c))
        self.pe = self._layer(c, c, 5, c)

    @staticmethod
    def _layer(c: int, out: int, k: int = 1, groups: int = 1) -> nn.Sequential:
        layer = nn.Sequential()
        layer.add_module("conv", nn.Conv2d(c, out, k, padding=k // 2, groups=groups, bias=False))
        layer.add_module("bn", nn.BatchNorm2d(out))
        return layer

    def forward(self, x):
        n, c, h, w = x.shape
        value = self.v(x)
        places, areas = h * w // self.area, n * self.area
        qk = self.qk(x).flatten(2).transpose(1, 2).reshape(areas, places, 2 * c)
        q, k = qk.split([c, c], dim=2)
        v = value.flatten(2).transpose(1, 2).reshape(areas, places, c)
        q, k, v = (t.transpose(1, 2).view(areas, self.num_heads, self.head_dim, places) for t in (q, k, v))
        weights = (q.transpose(2, 3) @ k * self.head_dim**-0.5).softmax(-1)
        out = (v @ weights.transpose(2, 3)).permute(0, 3, 1, 2).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return self.proj(out + self.pe(value))


class AAttn(AreaAttention):
    """By the name under which forks have it."""


class Counted(nn.Module):
    """Code that computes with a width that it was built with, and that no tensor shows."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv, self.c = nn.Conv2d(c, c, 1), c

    def forward(self, x):
        return self.cv(x) * torch.ones(self.c).sum() / x.new_ones(x.shape[1]).sum()


class Demanding(Counted):
    """Code that fails where a width is another than the one that it was built with."""

    def forward(self, x):
        y = self.cv(x)
        if y.shape[1] != self.c:
            raise TypeError(f"expected {self.c} channels")
        return y


class Experts(nn.Module):
    """A router picks one of several experts for each image; one that lies beside them is never used."""

    def __init__(self, c: int = 32, count: int = 3):
        super().__init__()
        self.router = nn.Linear(c, count)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 1), nn.SiLU(), nn.Conv2d(2 * c, c, 1)) for _ in range(count)
        )
        self.spare = nn.Conv2d(c, 7, 1)

    def forward(self, x):
        chosen = self.router(x.mean((2, 3))).argmax(1).tolist()
        return torch.cat([self.experts[k](x[i : i + 1]) for i, k in enumerate(chosen)])


class Chain(nn.Module):
    """A stem, a block under test and an end that reads it, as top-level layers of an Ultralytics model."""

    stride = torch.tensor([8.0])
    save = ()

    def __init__(self, block: nn.Module, c: int = 32):
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.SiLU())
        self.model = nn.Sequential(stem, block, nn.Conv2d(c, 4, 1))
        for i, layer in enumerate(self.model):
            layer.i, layer.f = i, -1

    def forward(self, x):
        return self.model(x)


class Pointwise(nn.Module):
    """Two convolutions of single positions."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, c, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class ByKeyword(Pointwise):
    """The same, called by keyword."""

    def forward(self, x):
        return self.b(input=torch.relu(self.a(input=x)))


class ChannelsLast(nn.Module):
    """The same as linear layers over the last dimension, with the same weights from the same seed."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.a, self.b = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)

    def forward(self, x):
        return self.b(torch.relu(self.a(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class PreActivated(nn.Module):
    """Members called as those of Ultralytics' `Conv`, in another order."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv(torch.relu(self.bn(x)))


class EqualisedConv(nn.Conv2d):
    """Scales its weight before it is used."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight * 0.1, self.bias, self.stride, self.padding)


class Equalised(Pointwise):
    """Plain convolutions, and one that is none, though of a class derived from it."""

    def __init__(self, c: int = 32):
        super().__init__(c)
        self.cv = EqualisedConv(c, c, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.cv(super().forward(x)))


class Functional(nn.Module):
    """A weight of its own without a bias, applied to what it is given joined with something else."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(c, 2 * c, 1, 1) - 0.5)

    def forward(self, x):
        return nn.functional.conv2d(torch.cat([x, nn.functional.avg_pool2d(x, 3, 1, 1)], 1), self.weight)


class TwoScales(nn.Module):
    """One convolution for a large and a small map, of different contents."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.large = self.small = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        small = nn.functional.relu(self.small(nn.functional.max_pool2d(x, 4) * 3))
        return nn.functional.relu(self.large(x)) + nn.functional.interpolate(small, scale_factor=4.0)
