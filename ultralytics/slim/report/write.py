"""The report of a pipeline run: report.html, report.md and report.json, made from what lies in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ultralytics import __version__
from ultralytics.utils import LOGGER

from .. import inputs, plan
from ..cli import paths
from ..compat import load_checkpoint
from ..files import disk_size, fingerprint, write_text
from ..pipeline import quiet
from ..report import name_paths
from ..widths import is_narrower
from . import measure, references, run_facts, side_by_side
from .blocks import Chart, Document
from .figures import verdict_of
from .html import to_html
from .markdown import to_markdown
from .run_facts import ORIGINAL, STAGES, RunFolder
from .sections import make_document
from .svg import standalone

PICTURES = "report"  # the folder of the pictures that report.md shows
TABLE = {"params": "params", "gflops": "gflops", "size_mb": "size_mb", "map50_95": "map50_95"}  # of run.json's results
DATA_FAULTS = (OSError, ValueError, SyntaxError, RuntimeError, AssertionError)  # as Ultralytics raises for bad data


def write_report(folder: str | Path, compare: str | list[str] | None = None) -> Path:
    """Write the report of a run and return the path of its HTML page.

    What report.json holds for the same checkpoints, data and image size is not measured again. What is missing is named
    in the report, which is then made from the rest.

    Args:
        folder: A run's folder, such as `runs/slim/run`.
        compare: Checkpoints to show beside the run's own, such as a smaller model trained on the same data; by default
            those that the run was given.

    Raises:
        FileNotFoundError: The folder holds no run.json, or no checkpoint of a stage; or one to compare with is missing.
        ValueError: run.json is not the record of a run; or a checkpoint to compare with has other classes.
    """
    run = RunFolder(folder)
    if compare:
        run.settings["compare"] = paths(compare)
        references.check_references(run.settings["compare"], next(iter(run.weights().values()), None))
    with quiet(not run.settings.get("verbose")):
        facts = gather(run)
    document = make_document(facts, run.path / PICTURES)
    _write_pictures(document, run.path / PICTURES)
    write_text(run.path / "report.json", json.dumps(facts, indent=1, ensure_ascii=False))
    write_text(run.path / "report.md", to_markdown(document, PICTURES))
    page = write_text(run.path / "report.html", to_html(document))
    LOGGER.info(f"{document.label}: {document.headline}\nreport saved as {page}")
    return page


def gather(run: RunFolder) -> dict:
    """Return all facts of a run, measured where they are not known yet."""
    weights = run.weights()
    if not weights.keys() - {ORIGINAL}:
        raise FileNotFoundError(f"no finished stage in {run.path}, so nothing to report on: {'; '.join(run.missing)}")
    known = _known(run)
    data, source = _data(run)
    models = [*_unreachable(run, weights), *_measured(run, weights, data, known)]
    beside = _references(run, weights, data, known, models)
    _time(run, [*models, *beside], {**weights, **{row["name"]: Path(row["path"]) for row in beside}}, known)
    curves, widths = run.curves(), _widths(weights)
    facts = {
        "name": run.path.name,
        "date": _date(list(weights.values())[-1]),
        "key": _key(run),
        "machine": measure.machine(run.settings.get("device")),
        "inputs": _inputs(run, weights, data),
        "settings": _settings(run, weights),
        "models": models,
        "references": beside,
        "smaller_scale": _smaller_scale(run, weights),
        "relations": run.record.get("results", {}).get("relations") or {},
        "relation_causes": run.record.get("results", {}).get("relation_causes") or {},
        "exports": run.record.get("results", {}).get("exports") or [],
        "curves": curves,
        "gamma": _gamma(run, weights, widths),
        "widths": widths,
        "samples": _samples(run, models, weights, source, known),
        "files": {p.relative_to(run.path).as_posix(): disk_size(p) for p in _outputs(run.path / "weights")},
        "missing": run.missing,
    }
    return {**facts, "verdict": verdict_of(facts)}


def _key(run: RunFolder) -> dict:
    """Return what measurements depend on besides the checkpoint."""
    return {key: run.settings.get(key) for key in ("data", "imgsz", "device")}


def _known(run: RunFolder) -> dict:
    """Return an earlier report.json of the same data, image size and device; {} where there is none."""
    file = run.path / "report.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and known.get("key") == _key(run) else {}


def _data(run: RunFolder) -> tuple[str | None, object]:
    """Return the data YAML to validate with and the source of its `val` images; (None, None) where it is gone."""
    try:
        data = inputs.prepare_data(run.settings["data"], Path())
        return data, inputs.check_data(data)["val"]
    except DATA_FAULTS as fault:
        run.missing.append(f"the data {run.settings['data']}: {' '.join(str(fault).split())}")
        return None, None


def _unreachable(run: RunFolder, weights: dict[str, Path]) -> list[dict]:
    """Return what run.json's own comparison says of models whose checkpoints are gone."""
    rows = {row["name"]: row for row in run.record.get("results", {}).get("table") or []}
    names = [name for name in (ORIGINAL, *STAGES.values()) if name in rows and name not in weights]
    return [{"name": n, "latency": {}, "classes": {}, **{key: rows[n].get(key) for key in TABLE}} for n in names]


def _measured(run: RunFolder, weights: dict[str, Path], data: str | None, known: dict) -> list[dict]:
    stage_of = {model: stage for stage, model in STAGES.items()}
    earlier = {(m["name"], m.get("sha256")): m for m in known.get("models", [])}
    models, imgsz, device = [], run.settings.get("imgsz", 640), run.settings.get("device")
    for name, path in weights.items():
        sha256 = fingerprint(path)
        model = {"name": name, "classes": {}, "map50": None, "map50_95": None, **earlier.get((name, sha256), {})}
        model.update(sha256=sha256, latency={}, seconds=run.record["stages"].get(stage_of.get(name), {}).get("seconds"))
        if "shape" not in model:
            model.update(measure.describe(path, imgsz))
        if data and model["map50_95"] is None:
            LOGGER.info(f"report: measuring {name}, {path}")
            model.update(measure.accuracy(path, data, imgsz, device))
        models.append(model)
    return models


def _references(run: RunFolder, weights: dict[str, Path], data: str | None, known: dict, models: list) -> list[dict]:
    """Return what is compared with besides the run's own models, under names that those do not have."""
    checkpoints = []
    for path in dict.fromkeys(run.settings.get("compare") or []):
        try:
            references.check_references([path], next(iter(weights.values())))
            checkpoints.append(path)
        except (FileNotFoundError, ValueError) as fault:  # gone or changed since the run was started
            run.missing.append(str(fault))
    imgsz, device = run.settings.get("imgsz", 640), run.settings.get("device")
    rows = references.measured(checkpoints, data, imgsz, device, known.get("references", []))
    own = {m["name"]: weights.get(m["name"], m["name"]) for m in models}
    for name, row in zip(name_paths([row["path"] for row in rows], own), rows):
        row["name"] = name
    return rows


def _smaller_scale(run: RunFolder, weights: dict[str, Path]) -> dict:
    model = load_checkpoint(str(next(iter(weights.values()))))[0]
    return references.smaller_scale(model, run.settings.get("imgsz", 640))


def _gamma(run: RunFolder, weights: dict[str, Path], widths: list[list]) -> dict:
    """Return what sparse training did to the scales, and whether it was enough for the share of channels removed."""
    if not {ORIGINAL, "sparse"} <= weights.keys():
        return {}
    before, after = (sum(row[i] for row in widths) for i in (1, 2))
    factor = 1 - after / before if before else run.settings.get("factor", 0)
    return run_facts.gamma_histograms(weights[ORIGINAL], weights["sparse"], factor)


def _time(run: RunFolder, models: list[dict], weights: dict[str, Path], known: dict) -> None:
    """Give each model its latencies; one of each shape is timed, all of them in turns."""
    first = {}
    for model in models:
        if model["name"] in weights:
            first.setdefault(model["shape"], model["name"])
    device = run.settings.get("device")
    rows = [*known.get("models", []), *known.get("references", [])]
    earlier = {m["shape"]: m["latency"] for m in rows if "shape" in m}
    reusable = known.get("machine") == measure.machine(device) and all(earlier.get(shape) for shape in first)
    if reusable and (not measure.has_onnx_runtime() or all(measure.RUNTIMES["onnx"] in earlier[s] for s in first)):
        found = earlier
    else:
        taken = measure.latencies(
            {name: weights[name] for name in first.values()}, run.settings.get("imgsz", 640), device
        )
        found = {shape: {runtime: rows[name] for runtime, rows in taken.items()} for shape, name in first.items()}
    for model in models:
        model["latency"] = found.get(model.get("shape"), {})


def _samples(run: RunFolder, models: list[dict], weights: dict[str, Path], source, known: dict) -> list[dict]:
    """Return the sample images of the first and the last model, drawn into the folder of pictures."""
    final = models[-1]["name"]
    if ORIGINAL not in weights or final not in weights or final == ORIGINAL or source is None:
        return []
    folder = run.path / PICTURES
    ends = [m["sha256"] for m in known.get("models", []) if m["name"] in (ORIGINAL, final)]
    there = all((folder / s[side]).is_file() for s in known.get("samples", []) for side in ("left", "right"))
    if known.get("samples") and there and ends == [m["sha256"] for m in models if m["name"] in (ORIGINAL, final)]:
        return known["samples"]
    LOGGER.info(f"report: comparing detections of {ORIGINAL} and {final}")
    imgsz, device = run.settings.get("imgsz", 640), run.settings.get("device")
    return side_by_side.make_samples(weights[ORIGINAL], weights[final], source, imgsz, device, folder)


def _inputs(run: RunFolder, weights: dict[str, Path], data: str | None) -> dict:
    """Return what went into the run, in the words of the report."""
    settings, origin = run.settings, run.record["origin"]
    model = load_checkpoint(str(next(iter(weights.values()))))[0]
    splits = inputs.check_data(data) if data else {}
    counts = {split: len(inputs.list_images(splits[split])) for split in ("train", "val") if splits.get(split)}
    yaml = (getattr(model, "yaml", None) or {}).get("yaml_file", "")
    network = (Path(yaml).stem or type(model).__name__) + _pruned_words(model)
    return {
        "weights": Path(settings["weights"]).name,
        "weights, SHA-256": next(iter(origin.values()), ""),
        "network": f"{network}, task {getattr(model, 'task', 'detect')}",
        "data": settings["data"],
        "classes": ", ".join(str(name) for name in model.names.values()),
        "train images": counts.get("train"),
        "val images": counts.get("val"),
        "image size": settings.get("imgsz", 640),
        "to reach by pruning": _goal(settings),
        "distillation": settings.get("loss_type"),
        "epochs": settings.get("epochs"),
        "software": f"ultralytics {__version__}, torch {torch.__version__}",
    }


def _pruned_words(model: torch.nn.Module) -> str:
    """Return ", already pruned" for a model that is; '' also where its YAML cannot be built to tell."""
    try:
        return ", already pruned" if is_narrower(model) else ""
    except Exception:  # of a class or a YAML of the user's own: any kind
        return ""


def _goal(settings: dict) -> str:
    """Return what pruning was asked for: a target of its own, or a share of the channels."""
    asked = plan.only(settings, "prune")
    goals = [f"{key}={asked[key]}" for key in sorted(plan.TARGETS) if key in asked]
    return goals[0] if goals else f"factor={asked.get('factor', settings.get('factor'))}"


def _settings(run: RunFolder, weights: dict[str, Path]) -> dict[str, dict]:
    """Return the settings of each finished stage."""
    found = {stage: run.stage_settings(stage) for stage in STAGES if stage in run.record["stages"]}
    if "pruned" in weights:
        record = run_facts.prune_record(weights["pruned"])
        plain = {k: v for k, v in record.items() if isinstance(v, (int, float, str))}
        target = {"target": "=".join(map(str, record["target"]))} if record.get("target") else {}
        found["prune"] = {**target, **{k: v for k, v in plain.items() if k not in ("tool", "imgsz")}}
    return found


def _widths(weights: dict[str, Path]) -> list[list]:
    """Return (layer, channels before, channels after) of each layer that pruning looked at."""
    record = run_facts.prune_record(weights["pruned"]) if "pruned" in weights else {}
    return [[name, *pair] for name, pair in (record.get("widths") or {}).items()]


def _outputs(folder: Path) -> list[Path]:
    """Return the checkpoints and exports of a run."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def _date(weights: Path) -> str:
    """Return the day on which a checkpoint was written, as it says itself."""
    return str(torch.load(weights, map_location="cpu", weights_only=False).get("date") or "")[:10]


def _write_pictures(document: Document, folder: Path) -> None:
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Chart):
                write_text(folder / f"{block.name}.svg", standalone(block.svg))
