"""The figures of a run that matter most: what the verdict is computed from, and the cards at the top of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .blocks import Card
from .verdict import Figures, is_apart, judge, signed

NONE = "–"


def ends(facts: dict) -> tuple[dict, dict]:
    """Return the first and the last model of the run."""
    return facts["models"][0], facts["models"][-1]


def figures_of(facts: dict) -> Figures:
    """Return what the verdict is computed from."""
    pair = ends(facts)
    known = all(m.get("map50_95") is not None for m in pair)
    scores = [facts["relations"].get(m["name"]) for m in pair]
    names = [name for name in pair[0]["classes"] if name in pair[1]["classes"]]
    return Figures(
        tuple(m["gflops"] for m in pair),
        tuple(m["map50_95"] for m in pair) if known else None,
        {name: tuple(m["classes"][name]["map50_95"] for m in pair) for name in names},
        {runtime: tuple(_times(m["latency"][runtime]) for m in pair) for runtime in _runtimes(pair)},
        (scores[0][2], scores[1][2]) if all(scores) else None,
        facts["inputs"].get("val images") or 0,
        tuple(m["name"] for m in pair),
        [(m["name"], m["map50_95"]) for m in facts["models"] if m.get("map50_95") is not None],
        labelled=facts.get("labelled", True),
        promise=facts.get("promise", ""),
    )


def verdict_of(facts: dict, whole: tuple[str, str]) -> dict:
    """Return the verdict as plain values; `whole` are the first and the last model of a finished run."""
    found = judge(replace(figures_of(facts), whole=whole))
    return {"kind": found.kind, "headline": found.headline, "details": found.details}


def _runtimes(models: Sequence[dict[str, Any]]) -> list[str]:
    return [r for r in models[0]["latency"] if all(r in m["latency"] for m in models)]


def _times(latency: dict) -> tuple[float, float, float, int]:
    return latency["median_ms"], latency["low_ms"], latency["high_ms"], latency["runs"]


def cards_of(figures: Figures, original: dict, final: dict) -> list[Card]:
    """Return the cards at the top of the report, the most important first."""
    cards = []
    if figures.accuracy:
        cards.append(_points("mAP50-95", *figures.accuracy))
    if figures.relations:
        cards.append(_points("relation F1", *figures.relations))
    cards.append(_less("compute", original["gflops"], final["gflops"], "GFLOPs"))
    for runtime, (before, after) in figures.latency.items():
        change = f"{before[0] / after[0]:.2f} × as fast" if is_apart(before, after) else "no difference beyond chance"
        cards.append(Card(f"latency, {runtime}", f"{after[0]:.1f}", "ms", f"was {before[0]:.1f}", change))
    cards.append(_less("parameters", original["params"] / 1e6, final["params"] / 1e6, "million"))
    cards.append(_less("size, half precision", original["size_mb"], final["size_mb"], "MB"))
    if None not in (original.get("map50"), final.get("map50")):
        cards.append(_points("mAP50", original["map50"], final["map50"]))
    return cards


def _points(name: str, before: float, after: float) -> Card:
    return Card(name, points(after), "", f"was {points(before)}", f"{signed(100 * (after - before))} points")


def _less(name: str, before: float, after: float, unit: str) -> Card:
    change = f"{signed(100 * (after / before - 1), 0)} %" if before else ""
    return Card(name, f"{after:.2f}", unit, f"was {before:.2f}", change)


def points(share: float | None) -> str:
    """Return a share as points of 100."""
    return NONE if share is None else f"{100 * share:.1f}"


def spread(latency: dict | None) -> str:
    if not latency:
        return NONE
    middle, low, high = latency["median_ms"], latency["low_ms"], latency["high_ms"]
    return f"{middle:.1f}" if low == high else f"{middle:.1f} ({low:.1f}–{high:.1f})"
