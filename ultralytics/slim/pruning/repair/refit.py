"""Re-fit a pruned model to its original on a few unlabelled images, layer by layer, by least squares.

A convolution that lost input channels, or whose inputs changed because earlier layers were cut, is given the weights
on what is left that best reproduce the original layer's output (He, Zhang, Sun, Channel Pruning for Accelerating Very
Deep Neural Networks, arXiv 1707.06168, section 3.1; here with a bias, a ridge towards the sliced weights, and inputs
taken from the pruned network, so that later layers make up for what earlier ones could not). Positions are sampled
where the predictions are sensitive. Channelwise, grouped and transposed convolutions stay as they were sliced.

Both networks run once, one top-level layer at a time on all images: the original's layer first, its convolutions'
outputs being sampled at some positions, then the pruned one's, in which every convolution is solved for just before
it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.utils import TQDM

from ...kinds import is_a
from ..graph.attention import is_area_attention
from ..graph.raw import raw
from ..score.sensitivity import pick_positions

RIDGE = 3e-2  # of the inputs' mean variance
SAMPLES_PER_FEATURE = 8  # positions sampled a layer, for each weight of one filter
MIN_SAMPLES = 8192


@dataclass
class Targets:
    """Outputs of one original layer at sampled positions: values (M, C_out), positions as (n, y, x) indices.

    Of a linear layer positions are rows; None where there is one an image, and every output counts.
    """

    values: torch.Tensor
    at: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | torch.Tensor | None


@torch.no_grad()
def refit(
    original: nn.Module,
    pruned: nn.Module,
    kept: Mapping[str, Sequence[int]],
    where: dict,
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
        images: (N, C, H, W) in 0..1; they are all run at once.
        names: What each module of `pruned` is called in the original, if anything else.
        first: Top-level layers before this one stay as they are.
        quiet: Whether no progress is shown.
    """
    names = {name: name for name, _ in pruned.named_modules()} if names is None else names
    done, ours, theirs = 0, [], []
    x, z = images, images
    random = torch.Generator().manual_seed(0)
    pairs = list(zip(pruned.model, original.model))
    with raw(original), raw(pruned):
        for layer, source in TQDM(pairs, desc="prune: re-fitting", disable=quiet):
            x, z = inputs_of(layer, x, ours), inputs_of(layer, z, theirs)
            targets: dict[str, Targets] = {}
            record = partial(_recorder, targets, kept=kept, where=where, layer=layer, random=random)
            with _Hooks(source, record) if layer.i >= first else nullcontext():
                z = source(z)
            with _Hooks(layer, partial(_solver, targets, names, layer=layer)):
                x = layer(x)
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
    """Return whether a layer is linear or a plain convolution (one group, zero padding)."""
    if isinstance(m, nn.Linear):
        return True
    return isinstance(m, nn.Conv2d) and m.groups == 1 and m.padding_mode == "zeros" and not isinstance(m.padding, str)


class _Hooks:
    """Context that hooks every solvable convolution of a layer; `make(name, module)` returns (pre-hook, hook)."""

    def __init__(self, layer: nn.Module, make: Callable):
        self.handles = []
        for name, m in layer.named_modules():
            if is_solvable(m):
                before, after = make(name, m)
                if before:
                    self.handles.append(m.register_forward_pre_hook(before))
                if after:
                    self.handles.append(m.register_forward_hook(after))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for handle in self.handles:
            handle.remove()


def _recorder(
    targets: dict, name: str, m: nn.Conv2d, kept: Mapping, where: dict, layer: nn.Module, random: torch.Generator
):
    """Return hooks that sample the output channels that were kept of an original convolution."""
    full = f"model.{layer.i}.{name}" if name else f"model.{layer.i}"

    def after(_: nn.Module, __: Any, out: Any):
        if full not in kept or full not in where or full in targets:
            return
        if isinstance(m, nn.Linear):
            if out.dim() == 2:
                targets[full] = Targets(out[:, torch.as_tensor(kept[full])], None)
            elif where[full].shape == out.shape[:2]:  # (N, rows, C)
                at = pick_positions(where[full], max(MIN_SAMPLES, SAMPLES_PER_FEATURE * m.in_features), random)
                targets[full] = Targets(out.flatten(0, 1)[at][:, torch.as_tensor(kept[full])], at)
            return
        height, width = out.shape[2:]
        features = m.in_channels * m.kernel_size[0] * m.kernel_size[1]
        flat = pick_positions(where[full], max(MIN_SAMPLES, SAMPLES_PER_FEATURE * features), random)
        at = (flat // (height * width), flat // width % height, flat % width)
        targets[full] = Targets(out.permute(0, 2, 3, 1)[at][:, torch.as_tensor(kept[full])], at)

    return None, after


def _solver(targets: dict, names: Mapping[str, str], name: str, m: nn.Conv2d, layer: nn.Module):
    """Return hooks that solve for a pruned convolution's weights just before it runs."""
    norm, skip = _norm_behind(layer, name), _is_rescaled(layer, name)
    solved: set[str] = set()  # a layer may run several times
    full = names.get(f"model.{layer.i}.{name}" if name else f"model.{layer.i}")

    def before(_: nn.Module, args: Any):
        if full in targets and not skip and full not in solved:
            at = targets[full].at
            if isinstance(m, nn.Linear):
                x = args[0] if at is None else args[0].flatten(0, 1)[at]
            else:
                x = patches(args[0], m, at)
            solve(m, norm, x, targets[full].values)
            solved.add(full)

    return before, None


def _norm_behind(layer: nn.Module, name: str) -> nn.Module | None:
    """Return the BatchNorm that follows a convolution in Ultralytics' blocks: `bn` beside `conv`."""
    owner, _, key = name.rpartition(".")
    parent = layer.get_submodule(owner) if owner else layer
    norm = getattr(parent, "bn", None) if key == "conv" else None
    return norm if isinstance(norm, nn.BatchNorm2d) else None


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
