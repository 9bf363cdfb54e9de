"""The parts of a report on the trainings: losses, the scales γ, and the channels that went."""

from __future__ import annotations

import math
from itertools import takewhile
from typing import Any

from .. import charts
from .blocks import Block, Chart, Grid, Words
from .verdict import percent


def training_blocks(facts: dict[str, Any]) -> list[Block]:
    curves = facts["curves"]
    if not curves:
        return []
    layers, borders = losses(curves)
    drawn = []
    if layers:
        chart = charts.stack("Training loss by epoch", layers, borders, "loss")
        drawn = [Chart("losses", "Training loss", chart, "Parts of the loss per epoch of each training.")]
    return [*drawn, *_gammas_by_epoch(curves), *_distillation(curves)]


def losses(curves: dict) -> tuple[dict[str, list[float]], list[tuple[int, str]]]:
    """Return the training losses of all stages one after the other, distillation last, and where each stage begins."""
    names = list(dict.fromkeys(n for c in curves.values() for n in c if n.startswith("train/") and n.endswith("loss")))
    names.sort(key=lambda n: "distill" in n)
    layers: dict[str, list[float]] = {n.removeprefix("train/").removesuffix("_loss"): [] for n in names}
    borders, start = [], 0
    for stage, columns in curves.items():
        borders.append((start, stage))
        length = len(next(iter(columns.values())))
        for name, layer in zip(names, layers.values()):
            layer += columns.get(name, [0.0] * length)
        start += length
    return _merged(layers), borders


def _merged(layers: dict[str, list[float]]) -> dict[str, list[float]]:
    """Unite the parts of the task's own loss where there are more than there are colours."""
    if len(layers) <= len(charts.SERIES):
        return layers
    own = [values for name, values in layers.items() if name != "distill"]
    rest = {name: values for name, values in layers.items() if name == "distill"}
    return {"task": [sum(column) for column in zip(*own)], **rest}


def _distillation(curves: dict) -> list[Words]:
    shares = [v for v in curves.get("distill", {}).get("train/loss_ratio", []) if math.isfinite(v)]
    if not shares:
        return []
    text = f"The distillation loss was {percent(shares[0])} of the detection loss in the first epoch of distillation"
    return [Words(f"{text} and {percent(shares[-1])} in the last." if len(shares) > 1 else f"{text}.")]


def _gammas_by_epoch(curves: dict) -> list[Chart]:
    columns = curves.get("sparse", {})
    rows = {
        name: columns[f"gamma/{key}"]
        for name, key in (("10 %", "p10"), ("median", "median"), ("90 %", "p90"))
        if f"gamma/{key}" in columns
    }
    epochs = list(takewhile(lambda values: all(map(math.isfinite, values)), zip(*rows.values())))
    if len(rows) < 3 or len(epochs) < 2:
        return []
    rows = dict(zip(rows, zip(*epochs)))
    drawn = charts.fan("Scales of the channels by epoch", rows, "|γ|")
    return [Chart("gamma-epochs", "Scales γ during sparse training", drawn, "Quantiles over all channels.")]


def channel_blocks(facts: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    if gamma := facts["gamma"]:
        rows = {"before": gamma["before"], "after": gamma["after"]}
        (m0, m1), (z0, z1) = gamma["median"], gamma["near_zero"]
        near = f"under 0.01: {percent(z0, 1)} before and {percent(z1, 1)} after"
        note = f"Median {m0:.2f} before and {m1:.2f} after; {near}."
        drawn = charts.histogram("Scales of the channels", gamma["edges"], rows, "|γ|")
        blocks.append(Chart("gamma", "Scales γ before and after sparse training", drawn, note))
        blocks.append(Words(_is_sparse_enough(gamma["check"], facts["settings"].get("prune", {}).get("score"))))
    if widths := facts["widths"]:
        drawn = charts.columns("Channels of each layer", widths, ("before", "after"), "channels")
        cut = sum(after < before for _, before, after in widths)
        gone = 1 - sum(after for *_, after in widths) / max(1, sum(before for _, before, _ in widths))
        note = f"{cut} of {len(widths)} layers are narrower; {percent(gone, 1)} of all channels are gone."
        blocks.append(Chart("widths", "Widths before and after pruning", drawn, note))
        fixed = facts["fixed"]
        rows = [
            (name, str(before), str(after), percent(after / max(1, before)), fixed.get(name, ""))
            for name, before, after in widths
        ]
        columns = ("layer", "before", "after", "kept", "could not be cut")
        blocks.append(Grid(columns, rows, folded="Widths layer by layer"))
    return blocks


def _is_sparse_enough(check: str, score: str | None) -> str:
    """Return what γ says of the cut, and where another score made the choice, that it did."""
    text = f"{check[0].upper()}{check[1:]}.".replace("gamma", "γ")
    other = score and score != "gamma"
    return text + (f" The channels were chosen by score={score}, which does not go by γ alone." if other else "")
