"""Sensitivity of a model to pruning: of each group of tied layers alone, and of all together, as `prune_model` cuts.

The scan follows Li et al., Pruning Filters for Efficient ConvNets, arXiv 1608.08710, section 3.2: in one group after
the other the weakest channels are masked, which is the same as cutting them, nothing is repaired, and loss or accuracy
is measured on a few labelled images. Groups that stand out are worth excluding. The search prunes and repairs all
groups together at several factors, and takes the largest that keeps what is asked of the accuracy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ultralytics import YOLO
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.files import increment_path
from ultralytics.utils.torch_utils import get_flops

from ...errors import InputError
from ...inputs.unlabelled import load_images
from ...inputs.weights import torch_model
from ...stored import plain_copy
from ..gamma_check import check_gammas
from ..graph.channels import ChannelGraph, trace_channels
from ..graph.rewrite import sliced
from ..graph.verify import masking
from ..once import proved
from ..options import AnalyseOptions, with_keywords
from ..prune import image_size
from ..repair.repairs import Example, read_repairs, repair_model
from ..score.labelled import LabelledImages, with_loss
from ..score.memory import fit_in_memory
from ..score.ranking import TAYLOR, Ranking, choose, rank
from ..select.goals import check_floor
from ..select.narrowing import kept, take_share
from ..select.targets import read_floor
from .findings import Analysis, Factor, Group

GRID = 0.05  # factors that are tried are multiples of it


def analyse_model(
    yolo: YOLO | nn.Module,
    data: str | Path,
    save_dir: str | Path | None = None,
    options: AnalyseOptions | None = None,
    **keywords: Any,
) -> Analysis:
    """Measure how a model bears pruning; Ctrl-C ends it with what is measured so far.

    Args:
        yolo: The model; not modified.
        data: Its data set's YAML: measured on validation images, scored and repaired with training images.
        save_dir: Folder for tables and pictures; runs/slim/analyse, numbered, if not given.
        options: Everything else, see `AnalyseOptions`.
        keywords: Options one by one, in place of those in `options`.

    Raises:
        KindError: There is no such option, or the model is an exported one.
        InputError: An argument is out of range or the data has no labels.
    """
    options = with_keywords(options or AnalyseOptions(), keywords, "analyse_model")
    shares = _checked_shares(options)
    model = plain_copy(torch_model(yolo, "analyse")).float().cpu().eval()
    imgsz = image_size(model, options.imgsz)
    score, scope = choose(model, options.score, options.scope, data)
    check_floor(options.floor, scope)
    repairs = read_repairs(options.repair, True)
    graph = trace_channels(model)
    labelled = LabelledImages(model, data, "val", imgsz, options.limit)
    taught = LabelledImages(model, data, "train", imgsz) if score == TAYLOR else None
    images = load_images(data, imgsz, *fit_in_memory(graph, model, imgsz))
    ranking = rank(model, graph, score, scope, options.exclude, options.seed, images, taught, "refit" in repairs)
    ranking = proved(model, graph, ranking, options.round_to)
    gammas = check_gammas(model, options.factor)
    found = Analysis(options.metric, options.keep, labelled.count, gammas, score, repairs)

    def cut(factor: float) -> nn.Module:
        """Prune by a factor, without the proof."""
        floor = read_floor(options.floor, scope, factor)
        narrowings = ranking.narrowings(model, graph, options.round_to, floor)
        taken = take_share(ranking.pools, narrowings, scope, factor)
        keep = kept(ranking.book.roots(), ranking.pools, taken)
        pruned = sliced(model, graph, keep)
        repair_model(repairs, model, pruned, graph, keep, Example.of(model, ranking.where, graph.norms), images)
        return pruned

    try:
        scan_groups(found, model, graph, ranking, labelled, shares)
        search_factor(found, model, cut, labelled, imgsz)
    except KeyboardInterrupt:
        LOGGER.warning("analyse: stopped; what is measured so far is kept")
        found.complete = False
    found.save(increment_path(Path("runs/slim/analyse")) if save_dir is None else Path(save_dir))
    LOGGER.info(f"{found}")
    return found


def _checked_shares(options: AnalyseOptions) -> tuple[float, ...]:
    """Return the shares in rising order, after checking what can be said without a model."""
    shares = options.shares
    shares = tuple(sorted(shares)) if isinstance(shares, (list, tuple)) else (shares,)
    for name, value in (*(("shares", s) for s in shares), ("factor", options.factor)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise InputError(f"{name} should be shares of channels to remove, 0 < share < 1, got {value!r}")
    if options.metric not in ("loss", "map"):
        raise InputError(f"metric should be 'loss' or 'map', got {options.metric!r}")
    keep = options.keep
    if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise InputError(f"keep should be the share of the accuracy to keep, 0 < keep <= 1, got {keep!r}")
    return shares


def scan_groups(
    found: Analysis,
    model: nn.Module,
    graph: ChannelGraph,
    ranking: Ranking,
    labelled: LabelledImages,
    shares: tuple[float, ...],
) -> None:
    """Mask the weakest channels of one group after the other; each measurement is kept as soon as it is made."""
    net = with_loss(model) if found.metric == "loss" else copy.deepcopy(model)
    measure = labelled.loss if found.metric == "loss" else labelled.accuracy
    found.base, roots = measure(net), ranking.book.roots()
    wanted = [(pool, share) for pool in ranking.pools for share in shares]
    for pool, share in TQDM(wanted, desc=f"analyse: {found.metric} of each group of layers"):
        gone = pool.weakest(max(len(pool.units) - round(share * len(pool.units)), 1))
        with masking(net, graph, ~np.isin(roots, gone)):
            found.groups.append(Group(pool.layers, len(pool.units), share, measure(net)))


def search_factor(
    found: Analysis, model: nn.Module, cut: Callable[[float], nn.Module], labelled: LabelledImages, imgsz: int
) -> None:
    """Bisect the factors for the largest at which the pruned model keeps what is asked of the accuracy."""
    whole, flops = labelled.accuracy(model), get_flops(model, imgsz)
    found.factors.append(Factor(0.0, 1.0, whole))
    if whole <= 0:
        return
    low, high = 0, round(1 / GRID) - 1  # multiples of GRID: good enough, and as far as factors go
    with TQDM(total=high.bit_length(), desc="analyse: accuracy of all layers pruned") as bar:
        while high > low:
            middle = (low + high + 1) // 2
            pruned = cut(middle * GRID)
            accuracy = labelled.accuracy(pruned)
            found.factors.append(
                Factor(round(middle * GRID, 6), get_flops(pruned, imgsz) / max(flops, 1e-12), accuracy)
            )
            low, high = (middle, high) if accuracy >= found.keep * whole else (low, middle - 1)
            bar.total = bar.n + 1 + (high - low).bit_length()  # halves may be uneven
            bar.update()
