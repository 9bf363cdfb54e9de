"""The page, the table and the pictures of a front, from the comparison of its models."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ultralytics.utils import LOGGER

from .. import charts
from ..files import write_csv, write_text
from ..installation import command_line
from ..measuring.comparison import ComparisonTable, ModelRow
from ..report.blocks import Block, Chart, Document, Grid, Section, Words
from ..report.figures import NONE
from ..report.html import to_html
from ..report.markdown import to_markdown
from ..report.verdict import percent
from ..report.write import write_pictures
from .settings import FrontSettings

PICTURES = "pictures"
COSTS: tuple[tuple[str, str, Callable[[ModelRow], float]], ...] = (  # name of the picture, axis, what it counts
    ("latency", "latency of one image, ms", lambda row: row.latency_ms),
    ("size", "size at half precision, MB", lambda row: row.size_mb),
    ("gflops", "GFLOPs of one image", lambda row: row.gflops),
)
POINTS = (1, 2, 5)  # of mAP that may be lost


def write_front(
    folder: Path,
    table: ComparisonTable,
    own: Sequence[str],
    models: Mapping[str, dict],
    settings: FrontSettings,
    ended: str,
) -> None:
    """Write front.html, front.md, front.csv and the pictures of a front.

    Args:
        folder: Its folder.
        table: The comparison: the original, the models of the front, and those that are compared with.
        own: Names of the original and of the models of the front.
        models: What front.json says of these.
        settings: What the front was made of.
        ended: Why it ends before its last share; '' where it does not.
    """
    document = make_document(folder, table, own, models, settings, ended)
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    write_pictures(document, folder / PICTURES)
    header = ("model", "layers", "params", "gflops", "latency_ms", "size_mb", "map50_95", "agreement", "path")
    rows = [
        (r.name, r.layers, r.params, r.gflops, r.latency_ms, r.size_mb, r.map50_95, r.agreement and r.agreement.value,
         r.path) for r in table
    ]  # fmt: skip
    write_csv(folder / "front.csv", header, rows)
    write_text(folder / "front.md", to_markdown(document, PICTURES))
    page = write_text(folder / "front.html", to_html(document))
    LOGGER.info(f"\n{table}\n\n{document.headline}\n{''.join(f'{d}{chr(10)}' for d in document.details)}\npage: {page}")


def make_document(
    folder: Path,
    table: ComparisonTable,
    own: Sequence[str],
    models: Mapping[str, dict],
    settings: FrontSettings,
    ended: str = "",
) -> Document:
    """Return the page; arguments as for `write_front`."""
    rows = [row for row in table if row.name in own]
    measure = table.metric if settings.data else "agreement"
    known = [row for row in rows if quality(row) is not None]
    sections = [
        Section(f"{measure} against what it costs", [*_charts(table, own, measure), *_note(settings)]),
        Section("Models", [_table(table, measure)]),
        Section("One of them further", [Words(_further(folder, settings, models))]),
    ]
    details = [
        words for words in (_within(known, measure), f"It is no whole front: {ended}." if ended else "") if words
    ]
    return Document(
        f"Front: {folder.name}",
        settings.weights,
        "good",
        "Front",
        _headline(known, measure),
        details,
        (),
        [section for section in sections if section.blocks],
    )


def quality(row: ModelRow) -> float | None:
    """Return the accuracy of a model, or where there are no labels its agreement."""
    return row.map50_95 if row.map50_95 is not None else row.agreement and row.agreement.value


def _charts(table: ComparisonTable, own: Sequence[str], measure: str) -> list[Block]:
    blocks: list[Block] = []
    known = [row for row in table if quality(row) is not None]
    for name, axis, cost in COSTS:
        points = [(row.name, cost(row), 100 * quality(row)) for row in known if row.name in own]
        beside = [(row.name, cost(row), 100 * quality(row)) for row in known if row.name not in own]
        title = f"{measure} against {axis.partition(',')[0]}"
        blocks.append(Chart(f"front-{name}", title, charts.journey(title, points, axis, f"{measure}, points", beside)))
    return blocks


def _note(settings: FrontSettings) -> list[Block]:
    beside = " Orange: given to compare with." if settings.compare else ""
    return [Words(f"Further left is cheaper, higher is better.{beside}")]


def _table(table: ComparisonTable, measure: str) -> Grid:
    first = table[0]
    header = ("model", measure, "parameters", "GFLOPs", "latency ms", "size MB")
    rows = [
        (row.name, NONE if quality(row) is None else f"{quality(row):.4f}",
         f"{row.params:,} ({percent(row.params / first.params)})",
         f"{row.gflops:.3g} ({percent(row.gflops / max(first.gflops, 1e-9))})",
         f"{row.latency_ms:.1f} ({percent(row.latency_ms / first.latency_ms)})",
         f"{row.size_mb:.2f} ({percent(row.size_mb / first.size_mb)})")
        for row in table
    ]  # fmt: skip
    return Grid(header, rows, f"In brackets the share of the original's. {table.caption}", picks=True)


def _headline(rows: Sequence[ModelRow], measure: str) -> str:
    """Return how many models there are, and how far they go."""
    first, *models = rows
    if not models:
        return "There is no model yet."
    smallest = min(models, key=lambda row: row.gflops)
    share = percent(smallest.gflops / max(first.gflops, 1e-9))
    return (
        f"{len(models)} model{'s' * (len(models) > 1)}, down to {share} of the GFLOPs: "
        f"{measure} from {100 * quality(first):.1f} to {100 * quality(smallest):.1f}."
    )


def _within(rows: Sequence[ModelRow], measure: str) -> str:
    """Return the smallest models that lose no more than some points."""
    first, *models = rows
    said: dict[str, list[str]] = {}
    for points in POINTS:
        fit = [row for row in models if quality(row) >= quality(first) - points / 100]
        if fit:
            row = min(fit, key=lambda row: row.gflops)
            what = f"{row.name} ({row.latency_ms / first.latency_ms:.2f} of the latency)"
            said.setdefault(what, []).append(f"{points} point{'s' * (points > 1)}")
    if not said:
        return f"No model keeps {measure} within {POINTS[-1]} points of the original."
    listed = "; ".join(f"within {' and '.join(points)}: {what}" for what, points in said.items())
    return f"The smallest that keep {measure} of the original {listed}."


def _further(folder: Path, settings: FrontSettings, models: Mapping[str, dict]) -> str:
    shares = [model["share"] for model in models.values() if not model.get("trained")]
    longer = "iterations=3000" if settings.images else "epochs=100"
    chosen = f"{shares[len(shares) // 2]:g}" if shares else "0.5"
    what = "learns from the original for longer" if settings.images else "is trained further, by distillation,"
    command = f"{command_line()} front resume={shlex.quote(str(folder))} train={chosen} {longer}"
    return f"One that you like {what} with: {command}. It then stands on this page, too."
