"""What it costs the predictions when a whole block goes and the layers from there on make up for it: it is tried.

Blocks are few, so each is taken out, what follows is re-fitted, and the change of the predictions is measured on
images, in the unit of the channels' scores (`surgeon`): squared differences of the predictions as they are judged.
There they are estimated, layer by layer, as if errors did not add up; `choose_blocks` puts both on one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ultralytics.utils import TQDM

from ..graph.blocks import Block, names_left, with_needed, without_blocks
from ..graph.raw import run_raw
from ..repair.refit import refit
from .sensitivity import weighed

Kept = Mapping[str, Sequence[int]]  # of a layer's output channels, by its name
Names = Mapping[str, str]
FITTED, JUDGED = 64, 32  # most images that the rest is re-fitted to, and most others that predictions are compared on
FEWEST = 16  # images
BATCH = 8


@dataclass(frozen=True)
class Judge:
    """Some of the images to re-fit to, and others to compare predictions on: a re-fit is best on what it has seen.

    Attributes:
        fitted, held: (N, C, H, W) in 0..1.
        where: Sensitivity (N, positions) of the predictions to each layer's output on the first ones.
        norms: The BatchNorm behind each convolution of the original, as `ChannelGraph.norms`.
    """

    fitted: torch.Tensor
    held: torch.Tensor
    where: dict[str, torch.Tensor]
    norms: Names

    @classmethod
    def of(cls, images: torch.Tensor, where: dict[str, torch.Tensor], norms: Names) -> Judge:
        """Return the judge of these images, which are at least `FEWEST`."""
        held = min(len(images) // 4, JUDGED)
        fitted = min(len(images) - held, FITTED)
        return cls(images[:fitted], images[-held:], {name: at[:fitted] for name, at in where.items()}, norms)

    def loss(self, original: nn.Module, model: nn.Module, kept: Kept, names: Names, first: int = 0) -> float:
        """Return how far a model's predictions are from the original's, once it is re-fitted, in place.

        Args:
            original: The model before anything was taken out.
            model: What is left of it.
            kept: Indices of the output channels that each layer kept, by the original's names.
            names: What the original calls each module of the model.
            first: Top-level layers before this one stay as they are.
        """
        refit(original, model, kept, self.where, self.norms, self.fitted, names, first, quiet=True)
        return prediction_loss(original, model, self.held)


@dataclass(frozen=True)
class BlockScore:
    """What taking out one block, and those that must go with it, costs and saves.

    Attributes:
        block: The block.
        gone: Names of all that go.
        loss: Squared change of the predictions an image, once the rest is re-fitted.
        saved: Share of the whole model's cost that is saved.
    """

    block: Block
    gone: frozenset[str]
    loss: float
    saved: float


@torch.no_grad()
def prediction_loss(original: nn.Module, model: nn.Module, images: torch.Tensor) -> float:
    """Return the squared change of the predictions an image, as they are judged (`sensitivity.weighed`).

    Args:
        original: Whose predictions are right.
        model: Whose are compared.
        images: (N, C, H, W) in 0..1.
    """
    total = 0.0
    for part in images.split(BATCH):
        wanted, got = run_raw(original, part), run_raw(model, part)
        pairs = zip(weighed(wanted, wanted), weighed(got, wanted))
        total += sum((a - b).square().sum().item() for a, b in pairs)
    original.eval()
    model.eval()
    return total / len(images)


def score_blocks(
    model: nn.Module, blocks: Sequence[Block], judge: Judge, cost: Callable[[nn.Module], float]
) -> list[BlockScore]:
    """Take every block out alone, re-fit what follows, and measure.

    Args:
        model: Float32, evaluation mode; not modified.
        blocks: Those that can go.
        judge: What they are measured on.
        cost: Returns what a model costs as a share of the whole one's cost.
    """
    scores = []
    for block in TQDM(blocks, desc="prune: what each block is worth"):
        gone = with_needed([block], blocks)
        shorter, names = without_blocks(model, gone), names_left(model, gone)
        saved = 1 - cost(shorter)
        loss = judge.loss(model, shorter, whole_layers(model, names), names, first=_layer(block.name))
        scores.append(BlockScore(block, frozenset(b.name for b in gone), loss, saved))
    return scores


def whole_layers(model: nn.Module, names: Names) -> Kept:
    """Return all output channels of every layer of a model that another one still has.

    Args:
        model: The model.
        names: What it calls each module of the other.
    """
    layers = ((name, model.get_submodule(name)) for name in names.values() if name)
    return {name: range(len(m.weight)) for name, m in layers if isinstance(m, (nn.Conv2d, nn.Linear))}


def _layer(name: str) -> int:
    """Return the number of the top-level layer that a module is in."""
    return int(name.split(".")[1])
