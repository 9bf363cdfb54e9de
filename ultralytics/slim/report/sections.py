"""Turn the facts of a run, as they stand in report.json, into the document that HTML and Markdown are written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..measuring.agreement import SHOWN_IOUS, TRUE_CONF
from . import side_by_side
from .blocks import Block, Document, Grid, Key, Pair, Section, Words
from .figures import NONE, cards_of, ends, figures_of, spread
from .models_section import accuracy_blocks, class_blocks, stage_blocks
from .training_section import channel_blocks, training_blocks
from .verdict import KINDS, Verdict, percent


def make_document(facts: dict[str, Any], pictures: Path) -> Document:
    """Return the report; `pictures` is the folder of the sample images."""
    original, final = ends(facts)
    figures, verdict = figures_of(facts), Verdict(**facts["verdict"])
    sections = [
        Section("Accuracy against compute", accuracy_blocks(facts)),
        Section("Stage by stage", stage_blocks(facts)),
        Section(f"Side by side: {original['name']} and {final['name']}", _samples(facts, pictures)),
        Section("Accuracy by class", class_blocks(original, final)),
        Section("Agreement with the original", _agreement(facts)),
        Section("Relations between nodes", _relations(facts)),
        Section("Training", training_blocks(facts)),
        Section("Channels", channel_blocks(facts)),
        Section("Exported files", _exports(facts)),
        Section("What went in", _inputs(facts)),
        Section("What came out", _files(facts)),
    ]
    return Document(
        f"Compression report: {facts['name']}",
        " · ".join(str(v) for v in (facts["inputs"].get("weights"), facts["date"]) if v),
        verdict.kind,
        KINDS[verdict.kind],
        verdict.headline,
        verdict.details,
        cards_of(figures, original, final),
        [s for s in sections if s.blocks],
        facts["missing"],
    )


def _samples(facts: dict[str, Any], pictures: Path) -> list[Block]:
    if not facts["samples"]:
        return []
    looked_at = facts["samples"][0]["looked_at"]
    words = (
        f"The original on the left, the compressed model on the right. Of {looked_at} validation images that were "
        "looked at, from the one that differs most to the one that differs least."
    )
    return [Words(words), Key(side_by_side.KEY), *[_sample(sample, pictures) for sample in facts["samples"]]]


def _sample(sample: dict, pictures: Path) -> Pair:
    counts = f"{sample['both']} found by both, {sample['lost']} lost, {sample['new']} new"
    return Pair(pictures / sample["left"], pictures / sample["right"], f"{sample['image']}: {counts}")


def _agreement(facts: dict[str, Any]) -> list[Block]:
    """Tables of what each model finds of the original's detections, over all and by their score."""
    known = facts.get("agreement") or {}
    if not known:
        return []
    rows = [
        (name, *[percent(share, 1) for share in (*found["matched"], found["flips"], found["extra"])])
        for name, found in known.items()
    ]
    first = next(iter(known.values()))
    note = (
        f"Of the {first['truths']} objects that the original detects at a score of {TRUE_CONF} in {first['images']} "
        f"images ({first['seen']} with any): found again at this IoU, same class, one to one; found as another class. "
        "New: share of a model's own detections that are none of them."
    )
    ious = [f"IoU {iou}" for iou in SHOWN_IOUS]
    bands = [
        (
            name,
            f"{band['low']} to {band['high']}",
            str(band["count"]),
            *[percent(share, 1) for share in band["matched"]],
        )
        for name, found in known.items()
        for band in found["bands"]
        if band["count"]
    ]
    return [
        Grid(("model", *ious, "other class", "new"), rows, note),
        Grid(("model", "score", "objects", *ious), bands, folded="By the original's score"),
    ]


def _relations(facts: dict[str, Any]) -> list[Block]:
    rows = [(name, *[f"{100 * value:.1f}" for value in scores]) for name, scores in facts["relations"].items()]
    note = "Edges from a node to its parent in the validation images, found from the detected boxes; in points of 100."
    scores = Grid(("model", "precision", "recall", "F1"), rows, note)
    return [scores, *_causes(facts["relation_causes"])] if rows else []


def _causes(causes: dict[str, dict[str, int]]) -> list[Block]:
    """A table of the edges that each cause lost, one column a model; a run of an older release has none."""
    names = dict.fromkeys(cause for lost in causes.values() for cause in lost)
    rows = [(cause, *[str(lost.get(cause, 0)) for lost in causes.values()]) for cause in names]
    return [Grid(("edges wrong or missed", *causes), rows, folded="Where relations were lost")] if rows else []


def _exports(facts: dict[str, Any]) -> list[Block]:
    rows = facts.get("exports") or []
    header = ("format", "size MB", "ms", "mAP50-95", "found", "found again", "confirmed", "score ±", "largest ±")
    cells = [
        (row["format"], f"{row['size_mb']:.2f}", spread(row["latency"]), _measure(row.get("map50_95")),
         _count(row["found"]), _share(row["of_torch"]), _share(row["of_own"]), _tiny(row["score_median"]),
         _tiny(row["score_max"]))
        for row in rows
    ]  # fmt: skip
    note = (
        "The final checkpoint and its exports, each loaded back and run on the same validation images; the first row "
        "is the checkpoint in PyTorch. Found again: share of PyTorch's detections that the file finds, confirmed: of "
        "the file's that PyTorch finds; same class, IoU of 0.9 or more, one to one. Score ±: median and largest "
        "difference of the scores within the pairs. Time of the network alone on one image, median (middle "
        "half of the runs), taking turns. Beside files of less precision stand their float ones and those of the "
        "original, and all are validated."
    )
    return [Grid(header, cells, note)] if rows else []


def _count(value: int | None) -> str:
    return NONE if value is None else str(value)


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value, 1)


def _measure(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _tiny(value: float | None) -> str:
    return NONE if value is None else f"{value:.1e}"


def _inputs(facts: dict[str, Any]) -> list[Block]:
    return [Grid(("", ""), [(key, str(value)) for key, value in facts["inputs"].items() if value not in (None, "")])]


def _files(facts: dict[str, Any]) -> list[Block]:
    rows = [(name, f"{size / 1e6:.2f} MB") for name, size in facts["files"].items()]
    return [Grid(("", ""), rows, "In the folder of the run.")] if rows else []
