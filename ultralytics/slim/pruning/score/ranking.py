"""In which order channels should go: the score and scope that 'auto' stands for, and the scored pools."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ultralytics.utils import LOGGER

from ...classes import task_of
from ...errors import InputError
from ...inputs.data import is_data_set
from ..graph.channels import ChannelGraph, tensors_of
from ..graph.label_book import LabelBook
from ..graph.prompts import lacks_classes
from ..select.narrowing import Narrowing, Saved, order_narrowings, unit_costs
from ..select.pools import Pool, make_pools
from .labelled import LabelledImages
from .magnitude import pick_score, score_labels, score_names
from .sensitivity import sensitivities
from .surgeon import covariances, surgeon_scores
from .taylor import gate_gradients, label_scores, taylor_scores

SURGEON, TAYLOR = "surgeon", "taylor"
SCOPES = ("auto", "layer", "global")
IN_LOSS_UNITS = (SURGEON, TAYLOR)  # their scores compare between layers


@dataclass(frozen=True)
class Ranking:
    """Scored pools, and what ties their channels.

    Attributes:
        score: The score used.
        scope: 'layer' or 'global'.
        pools: The pools.
        book: Its roots are the pools' units.
        where: Sensitivity (N, positions) of the predictions to each layer's output; empty if not measured.
    """

    score: str
    scope: str
    pools: list[Pool]
    book: LabelBook
    where: dict[str, torch.Tensor]

    def without_frozen(self) -> Ranking:
        """Return what is left of it to prune after its book was told to freeze some more."""
        frozen = list(self.book.frozen())
        free = [(pool, ~np.isin(pool.units, frozen)) for pool in self.pools]
        left = [replace(p, units=p.units[stay], scores=p.scores[stay]) for p, stay in free if stay.any()]
        return replace(self, pools=left)

    def narrowings(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        round_to: int,
        floor: float,
        currency: str = "flops",
        saved: Saved | None = None,
    ) -> list[Narrowing]:
        """Return every possible narrowing, in the order in which they should be made (`narrowing.order_narrowings`).

        What they save is counted in `currency`, 'flops' or 'params', or is what `saved` says.
        """
        sizes = {n: t.shape for n, t in tensors_of(model).items()}
        costs = unit_costs(graph, self.pools, self.book.roots(), sizes, currency)
        costs, saved = (costs, saved) if self.score in IN_LOSS_UNITS else (None, None)
        return order_narrowings(self.pools, self.scope, round_to, costs, floor, saved)


def choose(model: nn.Module, score: str, scope: str, images: object) -> tuple[str, str]:
    """Return the score and scope that 'auto' stands for.

    Args:
        model: The model.
        score, scope: As given to `prune_model`.
        images: The images as given, None if none are.

    Raises:
        InputError: If a score is unknown, or needs images or labels that are not given.
    """
    if scope not in SCOPES:
        raise InputError(f"scope should be one of {', '.join(SCOPES)}, got {scope!r}")
    if score == "auto":
        score = SURGEON if images is not None else pick_score(model)
    known = (*score_names(), SURGEON, TAYLOR)
    if score not in known:
        raise InputError(f"score should be 'auto' or one of {', '.join(known)}, got {score!r}")
    if score == SURGEON and images is None:
        raise InputError(
            "score='surgeon' measures on images: give images= (a folder, a data set's YAML, a list or a tensor)"
        )
    is_data = isinstance(images, (str, bytes)) or hasattr(images, "__fspath__")
    if score == TAYLOR and not (is_data and (is_data_set(images) or task_of(model) == "classify")):
        raise InputError(
            "score='taylor' measures the loss on labelled images: give images= the YAML of a data set with labels, "
            f"got {'none' if images is None else images if is_data else type(images).__name__}"
        )
    return score, ("global" if score in IN_LOSS_UNITS else "layer") if scope == "auto" else scope


def rank(
    model: nn.Module,
    graph: ChannelGraph,
    score: str,
    scope: str,
    exclude: str | tuple[str, ...] = (),
    seed: int = 0,
    batch: torch.Tensor | None = None,
    labelled: LabelledImages | None = None,
    is_refitted: bool = False,
) -> Ranking:
    """Score the channels of a model.

    Args:
        model: The model, float32, evaluation mode; not modified.
        graph: Its channels; excluded layers are frozen in it.
        score, scope: As `choose` returns them.
        exclude: Names or patterns of layers to keep whole.
        seed: Of the random score.
        batch: Images (N, C, H, W) in 0..1; 'surgeon' needs them.
        labelled: Labelled images; 'taylor' needs them.
        is_refitted: Whether sensitivities are wanted for a re-fit, too.
    """
    gates = gate_gradients(model, graph, labelled) if score == TAYLOR else None
    values = label_scores(gates) if score == TAYLOR else score_labels(model, graph, _first(score), seed)
    pools, book = make_pools(graph, values, exclude)
    if score == TAYLOR:
        taylor_scores(pools, book.roots(), gates)
    sensitive = {}
    if batch is not None and (score == SURGEON or is_refitted):
        if lacks_classes(model):
            LOGGER.warning(
                "prune: no classes are set, so random texts stand for them: call set_classes(names, embeddings) first"
            )
        LOGGER.info(f"prune: measuring on {len(batch)} images of {batch.shape[3]} x {batch.shape[2]} ...")
        sensitive = sensitivities(model, batch)
    if score == SURGEON:
        surgeon_scores(model, graph, pools, book.roots(), sensitive, covariances(model, sensitive, batch))
    return Ranking(score, scope, pools, book, {name: s.where for name, s in sensitive.items()})


def _first(score: str) -> str:
    """Return the score by which what must keep equal counts is paired before pools are scored."""
    return "l1" if score == SURGEON else score
