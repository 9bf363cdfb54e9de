"""All facts of a run: read from its folder, and measured where they are not known yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ultralytics import __version__
from ultralytics.utils import LOGGER

from ..classes import task_of
from ..errors import MissingFileError, SlimError
from ..fewer_classes import had_more
from ..files import disk_size, fingerprint
from ..inputs.data import check_data, prepare_data
from ..inputs.images import list_images, state_of
from ..inputs.references import check_references
from ..loading import load_checkpoint, read_checkpoint
from ..measuring.accuracy import shared_data
from ..measuring.comparison import name_paths
from ..measuring.runtimes import RUNTIMES
from ..recovery.pseudo_data import pseudo_data
from ..runs.stages import ORIGINAL, PRUNE, RECOVER, SPARSE, STAGES, stage_of
from ..widths import is_narrower
from . import measures, references, side_by_side
from .figures import verdict_of
from .run_folder import RunFolder, gamma_histograms, prune_record

PICTURES = "report"  # the folder of the pictures that report.md shows
IN_ORDER = (ORIGINAL, *(stage.makes for stage in STAGES))  # the models of a run
TABLE = ("params", "gflops", "size_mb", "map50_95")  # of a model, in run.json's results too


def gather(run: RunFolder) -> dict[str, Any]:
    """Return all facts of a run, as plain values for report.json.

    Raises:
        MissingFileError: No stage is finished.
    """
    weights = run.weights()
    if not weights.keys() - {ORIGINAL}:
        raise MissingFileError(f"no finished stage in {run.path}, so nothing to report on: {'; '.join(run.missing)}")
    data, source = _data(run)
    key = _key(run, source)
    known = _known(run, key)
    data = data and shared_data(weights.values(), data)
    models = [*_unreachable(run, weights), *_measured(run, weights, data, known)]
    models.sort(key=lambda model: IN_ORDER.index(model["name"]))
    beside = _references(run, weights, data, known, models)
    _time(run, [*models, *beside], {**weights, **{row["name"]: Path(row["path"]) for row in beside}}, known)
    curves, widths = run.curves(), _widths(weights)
    facts = {
        "name": run.path.name,
        "date": _date(list(weights.values())[-1]),
        "key": key,
        "machine": measures.machine(run.settings.device),
        "inputs": _inputs(run, weights, data),
        "settings": _settings(run, weights),
        "labelled": not run.settings.images,
        "models": models,
        "references": beside,
        "smaller_scale": _smaller_scale(run, weights),
        "agreement": _agreement(run),
        "promise": run.record.get("results", {}).get("promise") or "",
        "relations": run.record.get("results", {}).get("relations") or {},
        "relation_causes": run.record.get("results", {}).get("relation_causes") or {},
        "exports": run.record.get("results", {}).get("exports") or [],
        "curves": curves,
        "gamma": _gamma(run, weights, widths),
        "widths": widths,
        "fixed": prune_record(weights[PRUNE.makes]).get("frozen") or {} if PRUNE.makes in weights else {},
        "samples": _samples(run, models, weights, source, known),
        "files": {p.relative_to(run.path).as_posix(): disk_size(p) for p in _outputs(run.path / "weights")},
        "missing": run.missing,
    }
    return {**facts, "verdict": verdict_of(facts, (ORIGINAL, run.settings.stages[-1].makes))}


def _key(run: RunFolder, source: Any) -> dict:
    """Return what measurements depend on besides the checkpoint; `source` are the `val` images."""
    return {
        "data": run.settings.data or run.settings.images,
        "labels": None if source is None else state_of(list_images(source)),
        "imgsz": run.settings.imgsz,
        "device": run.settings.device,
    }


def _known(run: RunFolder, key: dict) -> dict:
    """Return an earlier report.json of the same data, image size and device; {} where there is none.

    Of data that is gone the labels are as they were.
    """
    file = run.path / "report.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict) or not isinstance(known.get("key"), dict):
        return {}
    earlier = {"labels": None, **known["key"]}  # a version before did not say
    return known if earlier == {**key, "labels": key["labels"] or earlier["labels"]} else {}


def _data(run: RunFolder) -> tuple[str | None, object]:
    """Return the data YAML to validate with and the source of its `val` images; (None, None) where it is gone."""
    given = pseudo_data(run.path) if run.settings.images else run.settings.data
    try:
        data = prepare_data(given)
        return data, check_data(data)["val"]
    except SlimError as fault:
        run.missing.append(f"the data {given}: {' '.join(str(fault).split())}")
        return None, None


def _agreement(run: RunFolder) -> dict[str, dict]:
    """Return how far each model agrees with the original without labels, as far as run.json says."""
    rows = run.record.get("results", {}).get("table") or []
    return {row["name"]: row["agreement"] for row in rows if row.get("agreement")}


def _unreachable(run: RunFolder, weights: dict[str, Path]) -> list[dict]:
    """Return what run.json's own comparison says of models whose checkpoints are gone."""
    rows = {row["name"]: row for row in run.record.get("results", {}).get("table") or []}
    names = [name for name in IN_ORDER if name in rows and name not in weights]
    return [{"name": n, "latency": {}, "classes": {}, **{key: rows[n].get(key) for key in TABLE}} for n in names]


def _measured(run: RunFolder, weights: dict[str, Path], data: str | None, known: dict) -> list[dict]:
    earlier = {(m["name"], m.get("sha256")): m for m in known.get("models", [])}
    models, imgsz, device = [], run.settings.imgsz, run.settings.device
    for name, path in weights.items():
        sha256 = fingerprint(path)
        model = {"name": name, "classes": {}, "map50": None, "map50_95": None, **earlier.get((name, sha256), {})}
        model.update(sha256=sha256, latency={}, seconds=run.record["stages"].get(stage_of(name), {}).get("seconds"))
        if "shape" not in model:
            model.update(measures.describe(path, imgsz))
        if data and model["map50_95"] is None:
            LOGGER.info(f"report: measuring {name}, {path}")
            model.update(measures.accuracy_by_class(path, data, imgsz, device))
        models.append(model)
    return models


def _references(run: RunFolder, weights: dict[str, Path], data: str | None, known: dict, models: list) -> list[dict]:
    """Return what is compared with besides the run's own models, under names that those do not have."""
    checkpoints = []
    for path in dict.fromkeys(run.settings.compare):
        try:
            check_references([path], next(iter(weights.values())))
            checkpoints.append(path)
        except SlimError as fault:  # gone or changed since the run was started
            run.missing.append(str(fault))
    imgsz, device = run.settings.imgsz, run.settings.device
    rows = references.measured_beside(checkpoints, data, imgsz, device, known.get("references", []))
    own = {m["name"]: weights.get(m["name"], m["name"]) for m in models}
    for name, row in zip(name_paths([row["path"] for row in rows], own), rows):
        row["name"] = name
    return rows


def _smaller_scale(run: RunFolder, weights: dict[str, Path]) -> dict:
    model = load_checkpoint(str(next(iter(weights.values()))))[0]
    return references.smaller_scale(model, run.settings.imgsz)


def _gamma(run: RunFolder, weights: dict[str, Path], widths: list[list]) -> dict:
    """Return what sparse training did to the scales, and whether it was enough for the share of channels removed."""
    if not {ORIGINAL, SPARSE.makes} <= weights.keys():
        return {}
    before, after = (sum(row[i] for row in widths) for i in (1, 2))
    factor = 1 - after / before if before else run.settings.prune.factor or 0
    return gamma_histograms(weights[ORIGINAL], weights[SPARSE.makes], factor)


def _time(run: RunFolder, models: list[dict], weights: dict[str, Path], known: dict) -> None:
    """Give each model its latencies; one of each shape is timed, all of them in turns."""
    first = {}
    for model in models:
        if model["name"] in weights:
            first.setdefault(model["shape"], model["name"])
    device = run.settings.device
    rows = [*known.get("models", []), *known.get("references", [])]
    earlier = {m["shape"]: m["latency"] for m in rows if "shape" in m}
    reusable = known.get("machine") == measures.machine(device) and all(earlier.get(shape) for shape in first)
    if reusable and (not measures.has_onnx_runtime() or all(RUNTIMES["onnx"] in earlier[s] for s in first)):
        found = earlier
    else:
        taken = measures.latencies({name: weights[name] for name in first.values()}, run.settings.imgsz, device)
        found = {shape: {runtime: rows[name] for runtime, rows in taken.items()} for shape, name in first.items()}
    for model in models:
        model["latency"] = found.get(model.get("shape"), {})


def _samples(run: RunFolder, models: list[dict], weights: dict[str, Path], source: Any, known: dict) -> list[dict]:
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
    imgsz, device = run.settings.imgsz, run.settings.device
    return side_by_side.make_samples(weights[ORIGINAL], weights[final], source, imgsz, device, folder)


def _inputs(run: RunFolder, weights: dict[str, Path], data: str | None) -> dict:
    """Return what went into the run, in the words of the report."""
    settings, origin = run.settings, run.record["origin"]
    model, last = (load_checkpoint(str(list(weights.values())[index]))[0] for index in (0, -1))
    splits = check_data(data) if data else {}
    counts = {split: len(list_images(splits[split])) for split in ("train", "val") if splits.get(split)}
    yaml = (getattr(model, "yaml", None) or {}).get("yaml_file", "")
    network = (Path(yaml).stem or type(model).__name__) + _pruned_words(model)
    return {
        "weights": Path(settings.weights).name,
        "weights, SHA-256": next(iter(origin.values()), ""),
        "teacher": Path(settings.teacher).name,
        "network": f"{network}, task {task_of(model)}",
        "data": settings.data,
        "images, not labelled": settings.images,
        "classes": ", ".join(str(name) for name in model.names.values()),
        "classes kept": ", ".join(str(name) for name in last.names.values()) if had_more(last) else None,
        "train images": None if settings.images else counts.get("train"),
        "val images": counts.get("val"),
        "image size": settings.imgsz,
        "to reach by pruning": str(settings.prune),
        "distillation": settings.loss_type,
        "epochs": settings.epochs or None,
        "software": f"ultralytics {__version__}, torch {torch.__version__}",
    }


def _pruned_words(model: torch.nn.Module) -> str:
    """Return ", already pruned" for a model that is; '' also where its YAML cannot be built to tell."""
    try:
        return ", already pruned" if is_narrower(model) else ""
    except Exception:  # of a class or a YAML of the user's own: any kind
        return ""


def _settings(run: RunFolder, weights: dict[str, Path]) -> dict[str, dict]:
    """Return the settings of each finished stage."""
    found = {stage.name: run.stage_settings(stage.name) for stage in STAGES if stage.name in run.record["stages"]}
    if PRUNE.makes in weights:
        record = prune_record(weights[PRUNE.makes])
        plain = {k: v for k, v in record.items() if isinstance(v, (int, float, str))}
        target = {"target": "=".join(map(str, record["target"]))} if record.get("target") else {}
        found[PRUNE.name] = {**target, **{k: v for k, v in plain.items() if k not in ("tool", "imgsz")}}
    if RECOVER.makes in weights:
        record = prune_record(weights[RECOVER.makes]).get("recovery") or {}
        found[RECOVER.name] = {key: record[key] for key in ("steps", "step", "lr0", "images") if key in record}
    return found


def _widths(weights: dict[str, Path]) -> list[list]:
    """Return (layer, channels before, channels after) of each layer that pruning looked at."""
    record = prune_record(weights[PRUNE.makes]) if PRUNE.makes in weights else {}
    return [[name, *pair] for name, pair in (record.get("widths") or {}).items()]


def _outputs(folder: Path) -> list[Path]:
    """Return the checkpoints and exports of a run."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def _date(weights: Path) -> str:
    """Return the day on which a checkpoint was written, as it says itself."""
    return str(read_checkpoint(weights).get("date") or "")[:10]
