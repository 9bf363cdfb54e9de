"""A whole run: its stages, then everything that is measured of what they left, in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from .errors import InputError
from .exporting.check import check_exports
from .installation import is_fork
from .logs import quiet
from .measuring.accuracy import measured_once
from .measuring.comparison import ComparisonTable, compare_models
from .prediction.results import Evaluation, relations_text
from .report.write import write_report
from .runs.record import Run
from .runs.rehearsal import Estimate, rehearse
from .runs.run_settings import RunSettings
from .runs.settle import as_recorded, settled
from .runs.stage_work import make_models, measured_on
from .runs.stages import ORIGINAL


def compress_run(run: Run) -> ComparisonTable:
    """Do what is left of a run: its stages, exports, comparison, relations and the report.

    Returns:
        The comparison of its models, which is also in run.json and in the report.

    Raises:
        SlimError: Something that the user can mend; the run goes on from there with `Run.resume`.
    """
    settings = run.settings
    LOGGER.info(f"{run.folder}\n{settings.plan}")
    with run, quiet(not settings.verbose), measured_once():
        data = measured_on(run)
        models = make_models(run, data)
        last = list(models)[-1]
        final = models[last]
        given = {"imgsz": settings.imgsz, "original": models[ORIGINAL], "ranges": settings.images or None}
        given |= settings.export.options
        exported = check_exports(final, settings.export.format, data, **given)
        LOGGER.info(f"\n{exported}")
        compared = models, data, settings.imgsz, settings.device
        if settings.images:  # the truth of its data is what the original detects
            table = compare_models(*compared, str(Path(data).with_name("images")), "agreement")
        else:
            table = compare_models(*compared)
        relations = _relations(run, data, {name: models[name] for name in (ORIGINAL, last)})
        causes = {name: scores.causes for name, scores in relations.items()}
        measured = {"table": table.to_dicts(), "relations": relations, "relation_causes": causes}
        promised = settings.prune.promise
        verdict = promised.verdict(table[0].map50_95, table[-1].map50_95) if promised else ""
        measured |= {"promise": verdict} if promised else {}
        run.measured({**measured, "exports": exported.to_dicts()})
        files: dict[str, Path | str] = {**run.files(), **{row.format: row.path for row in exported[1:] if row.path}}
        files["record"] = run.record
        try:
            files["report"] = write_report(run.folder)
            files |= _picture(run, data, final)
            run.finish()
        finally:  # the figures are shown even where the page or the picture fails
            listed = "\n".join(f"{what:<14} {path}" for what, path in files.items())
            told = "\n".join(filter(None, (table.verdict, verdict)))
            LOGGER.info(f"\n{table}\n\n{told}\n\n{relations_text(relations)}\n\n{listed}")
    return table


def _relations(run: Run, data: str, models: Mapping[str, Path]) -> dict[str, Evaluation]:
    """Return the relation scores of all models by name; none of a patched checkout, which has no relation.py."""
    if not is_fork():
        return {}
    from .prediction.evaluate import relations_of

    return relations_of(data, models, run.settings.imgsz, run.settings.device)


def _picture(run: Run, data: str, final: Path) -> dict[str, Path]:
    """Return a picture of what the last model finds; none of a patched checkout."""
    if not is_fork():
        return {}
    from .prediction.predict import typical_prediction

    return {"picture": typical_prediction(data, final, run.folder, run.settings.device).saved}


def open_run(project: str | Path, name: str | None, resume: bool | str | Path, given: Mapping[str, Any]) -> Run:
    """Return a new run, checked and with a folder of its own, or an earlier one to go on with.

    Args:
        project, name: The folder of the run is `project/name`, numbered where it exists.
        resume: Whether to go on with the run `name` or the newest unfinished one; or the run's
            folder.
        given: The settings as users give them, see `runs.run_settings`.
    """
    if isinstance(resume, (str, Path)):
        project, name = Path(resume).parent, Path(resume).name
    name = None if name is None else str(name)  # a command line reads name=2 as a number
    if resume:
        return Run.resume(project, name, given, as_recorded)
    return Run.start(project, name or "run", settled(RunSettings.read(given)))


def rehearse_run(given: Mapping[str, Any], resume: bool | str | Path = False) -> Estimate:
    """Print and return how long a run would take.

    Raises:
        SlimError: The run would fail; or it is an earlier one, whose time is not told.
    """
    if resume:
        raise InputError("dry_run=True tells how long a new run would take; give it or resume=True, not both")
    settings = settled(RunSettings.read(given))
    LOGGER.info(settings.plan)
    estimate = rehearse(settings)
    LOGGER.info(f"\n{estimate}")
    return estimate
