"""The report of a pipeline run: report.html, report.md and report.json, made from what lies in the run's folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from ..charts.svg import standalone
from ..files import write_json, write_text
from ..hints import split_list
from ..inputs.references import check_references
from ..logs import quiet
from .blocks import Chart, Document
from .gather import PICTURES, gather
from .html import to_html
from .markdown import to_markdown
from .run_folder import RunFolder
from .sections import make_document


def write_report(folder: str | Path, compare: str | list[str] | None = None) -> Path:
    """Write the report of a run and return the path of its HTML page.

    What report.json holds for the same checkpoints, data and image size is not measured again. What is missing is named
    in the report, which is then made from the rest.

    Args:
        folder: A run's folder, such as `runs/slim/run`.
        compare: Checkpoints to show beside the run's own, such as a smaller model trained on the same data; by default
            those that the run was given.

    Raises:
        MissingFileError: The folder holds no run.json, or no checkpoint of a stage; or one to compare with is missing.
        InputError: run.json is not the record of a run; or a checkpoint to compare with has other classes.
    """
    run = RunFolder(folder)
    if compare:
        run.settings = run.settings.replaced(compare=split_list(compare))
        check_references(run.settings.compare, next(iter(run.weights().values()), None))
    with quiet(not run.settings.verbose):
        facts = gather(run)
    document = make_document(facts, run.path / PICTURES)
    write_pictures(document, run.path / PICTURES)
    write_json(run.path / "report.json", _finite(facts), indent=1)
    write_text(run.path / "report.md", to_markdown(document, PICTURES))
    page = write_text(run.path / "report.html", to_html(document))
    LOGGER.info(f"{document.label}: {document.headline}\nreport saved as {page}")
    return page


def _finite(value: Any) -> Any:
    """Return values as JSON knows them: no number is null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_pictures(document: Document, folder: Path) -> None:
    """Write the charts of a document as SVG files."""
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Chart):
                write_text(folder / f"{block.name}.svg", standalone(block.svg))
