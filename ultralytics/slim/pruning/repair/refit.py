"""Re-fit a pruned model to its original on a few unlabelled images, layer by layer, by least squares.

A convolution that lost input channels, or whose inputs changed because earlier layers were cut, is given the weights
on what is left that best reproduce the original layer's output (He, Zhang, Sun, Channel Pruning for Accelerating Very
Deep Neural Networks, arXiv 1707.06168, section 3.1; here with a bias, a ridge towards the sliced weights, and inputs
taken from the pruned network, so that later layers make up for what earlier ones could not). Positions are sampled
where the predictions are sensitive. Channelwise, grouped and transposed convolutions stay as they were sliced.

Both networks run once, one top-level layer at a time on all images: the original's layer first, its convolutions'
outputs being sampled at some positions, then the pruned one's, in which every convolution is solved for just before
it runs. One that runs several times, on maps of several sizes say, is solved for before each of them, by all so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.utils import TQDM

from ...kinds import is_a
from ..graph.attention import is_area_attention
from ..graph.layers import input_of, is_plain
from ..graph.raw import raw
from ..score.sensitivity import pick_positions

RIDGE = 3e-2  # of the inputs' mean variance
SAMPLES_PER_FEATURE = 8  # positions sampled a layer, for each weight of one filter
MIN_SAMPLES = 8192


@dataclass
class Targets:
    """Outputs of one original layer at sampled positions.

    Attributes:
        image, place: (M,) what is sampled: the image, and the position among those of all calls of the layer.
        mean: (C_out,) that of the BatchNorm behind it; None without one.
        calls: Of every call the values (M_k, C_out), and where they are: (image, row, column), of a linear layer
            (image, row).
        done: Positions of these calls.
    """

    image: torch.Tensor
    place: torch.Tensor
    mean: torch.Tensor | None
    calls: list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]] = field(default_factory=list)
    done: int = 0


@torch.no_grad()
def refit(
    original: nn.Module,
    pruned: nn.Module,
    kept: Mapping[str, Sequence[int]],
    where: dict,
    norms: Mapping[str, str],
    images: torch.Tensor,
    names: Mapping[str, str] | None = None,
    first: int = 0,
    quiet: bool = False,
) -> int:
    """Re-fit the convolutions of `pruned` in place; return how many were.

    Args:
        original: The model before pruning, float32, evaluation mode.
        pruned: The pruned model, float32, evaluation mode.
        kept: Indices of the output channels that each layer kept, by layer name.
        where: Sensitivity (N, positions) of the predictions to each layer's output, by layer name: positions
            are sampled accordingly, and a layer without it is left alone.
        norms: The BatchNorm behind each convolution of the original, as `ChannelGraph.norms`.
        images: (N, C, H, W) in 0..1; they are all run at once.
        names: What each module of `pruned` is called in the original, if anything else.
        first: Top-level layers before this one stay as they are.
        quiet: Whether no progress is shown.
    """
    names = {name: name for name, _ in pruned.named_modules()} if names is None else names
    done, ours, theirs = 0, [], []
    x, z = images, images
    random = torch.Generator().manual_seed(0)
    pairs, ours_of = list(zip(pruned.model, original.model)), {theirs: mine for mine, theirs in names.items()}
    means = {name: original.get_submodule(norm).running_mean for name, norm in norms.items()}
    behind = {name: pruned.get_submodule(ours_of[norm]) for name, norm in norms.items() if norm in ours_of}
    with raw(original), raw(pruned):
        for layer, source in TQDM(pairs, desc="prune: re-fitting", disable=quiet):
            again = inputs_of(layer, x, ours)  # a head may change the list that it is given
            x, z = inputs_of(layer, x, ours), inputs_of(layer, z, theirs)
            targets: dict[str, Targets] = {}
            record = partial(_recorder, targets, kept=kept, where=where, means=means, layer=layer, random=random)
            with _Hooks(source, record) if layer.i >= first else nullcontext():
                z = source(z)
            with _Hooks(layer, partial(_solver, targets, names, behind, layer=layer)):
                out = layer(x)
            if any(len(target.calls) > 1 for target in targets.values()):  # what they put out at first is outdated
                out = layer(again)
            x = out
            done += len(targets)
            ours.append(x if layer.i in pruned.save else None)
            theirs.append(z if layer.i in pruned.save else None)
    original.eval()
    pruned.eval()
    return done


def inputs_of(layer: nn.Module, x: Any, saved: list[Any]) -> Any:
    """Return what a top-level layer reads: `x`, the previous output, or earlier ones by index from `saved`."""
    if layer.f == -1:
        return x
    return saved[layer.f] if isinstance(layer.f, int) else [x if j == -1 else saved[j] for j in layer.f]


def is_solvable(m: nn.Module) -> bool:
    """Return whether a layer is linear or a convolution of one group with zero padding, and runs as PyTorch's do."""
    if not is_plain(m) or isinstance(m, nn.Linear):
        return is_plain(m)
    return isinstance(m, nn.Conv2d) and m.groups == 1 and m.padding_mode == "zeros" and not isinstance(m.padding, str)


class _Hooks:
    """Context that hooks every solvable convolution of a layer; `make(name, module)` returns (pre-hook, hook)."""

    def __init__(self, layer: nn.Module, make: Callable):
        self.handles = []
        for name, m in layer.named_modules():
            if is_solvable(m):
                before, after = make(name, m)
                if before:
                    self.handles.append(m.register_forward_pre_hook(before, with_kwargs=True))
                if after:
                    self.handles.append(m.register_forward_hook(after))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for handle in self.handles:
            handle.remove()


def _recorder(
    targets: dict, name: str, m: nn.Module, kept: Mapping, where: dict, means: Mapping, layer: nn.Module, random: Any
):
    """Return hooks that sample the output channels that were kept of an original layer, in each of its calls."""
    full = f"model.{layer.i}.{name}" if name else f"model.{layer.i}"

    def after(_: nn.Module, __: Any, out: Any):
        if full not in kept or full not in where or len(where[full]) != len(out):
            return
        channels = torch.as_tensor(kept[full])
        if full not in targets:
            wanted, places = max(MIN_SAMPLES, SAMPLES_PER_FEATURE * m.weight[0].numel()), where[full].shape[1]
            picked, mean = pick_positions(where[full], wanted, random), means.get(full)
            targets[full] = Targets(picked // places, picked % places, None if mean is None else mean[channels])
        target = targets[full]
        place, size = target.place - target.done, out.numel() // (len(out) * len(m.weight))
        now = (place >= 0) & (place < size)
        image, place = target.image[now], place[now]
        if isinstance(m, nn.Linear):
            at = image, place
            values = _rows(out, at)
        else:
            at = image, place // out.shape[3], place % out.shape[3]
            values = out.permute(0, 2, 3, 1)[at]
        target.calls.append((values[:, channels], at))
        target.done += size

    return None, after


def _solver(targets: dict, names: Mapping[str, str], behind: Mapping, name: str, m: nn.Module, layer: nn.Module):
    """Return hooks that solve for a pruned layer's weights just before it runs, by all of its calls so far."""
    full = names.get(f"model.{layer.i}.{name}" if name else f"model.{layer.i}")
    norm, skip, read = behind.get(full), _is_rescaled(layer, name), []

    def before(_: nn.Module, args: Any, kwargs: Any):
        calls = targets[full].calls if full in targets and not skip else []
        if len(calls) == len(read):
            return
        x, (_, at) = input_of(args, kwargs), calls[len(read)]
        read.append(_rows(x, at) if isinstance(m, nn.Linear) else patches(x, m, at))
        y = _joined([values for values, _ in calls[: len(read)]])
        if norm is not None:
            y = y + (norm.running_mean - targets[full].mean)  # what it was moved by already
        if len(y):  # a small map may have no sample
            solve(m, norm, _joined(read), y)
        if len(read) == len(calls):
            read[:] = [None] * len(calls)  # they take much memory

    return before, None


def _rows(x: torch.Tensor, at: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return rows (M, C) of what a linear layer reads or puts out (N, ..., C)."""
    return x.reshape(len(x), -1, x.shape[-1])[at]


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _is_rescaled(layer: nn.Module, name: str) -> bool:
    """Return whether `rewrite` scaled what this layer puts out, which is no longer the original's.

    So it is with the queries of a fused area attention, and with what a text attention compares with the image.
    """
    owner, _, key = name.rpartition(".")
    if key == "gl":
        return is_a(layer.get_submodule(owner), "MaxSigmoidAttnBlock")
    block, _, made_by = owner.rpartition(".")
    if key != "conv" or made_by not in ("qk", "qkv"):
        return False
    return is_area_attention(layer.get_submodule(block)) and not hasattr(layer.get_submodule(owner), "bn")


def patches(x: torch.Tensor, m: nn.Conv2d, at: Any) -> torch.Tensor:
    """Return what `m` reads at output positions `at` of input (N, C, H, W): (M, C * kernel), in the weights' order."""
    (n, row, col), (kh, kw), (sh, sw), (dh, dw), (ph, pw) = at, m.kernel_size, m.stride, m.dilation, m.padding
    x = F.pad(x, (pw, pw, ph, ph)).permute(0, 2, 3, 1)
    taps = [x[n, row * sh + i * dh, col * sw + j * dw] for i in range(kh) for j in range(kw)]
    return torch.stack(taps, 2).flatten(1)


def solve(m: nn.Conv2d, norm: nn.Module | None, x: torch.Tensor, y: torch.Tensor) -> None:
    """Set the weights of `m` to those that best turn `x` (M, features) into `y` (M, C_out).

    Minimises |xW + b - y|² + λ|W - W₀|² with W₀ the present weights; b goes to the bias, or to the BatchNorm's mean.
    """
    old = m.weight.flatten(1).T  # (features, C_out)
    bias = m.bias if m.bias is not None else torch.zeros(len(m.weight))
    free = m.bias is not None or norm is not None  # is there a place for a constant?
    mean_x, mean_y = (x.mean(0), y.mean(0)) if free else (x.new_zeros(x.shape[1]), y.new_zeros(y.shape[1]))
    x = x - mean_x
    rest = (y - mean_y) - x @ old if free else y - x @ old
    gram = x.T @ x
    ridge = RIDGE * gram.diagonal().mean() + 1e-6
    gram.diagonal().add_(ridge)
    factor, fail = torch.linalg.cholesky_ex(gram)
    if fail:
        return
    new = old + torch.cholesky_solve(x.T @ rest, factor)
    m.weight.copy_(new.T.reshape(m.weight.shape))
    if free:
        constant = mean_y - mean_x @ new
        if m.bias is not None:
            m.bias.copy_(constant)
        else:
            norm.running_mean.sub_(constant - bias)
