"""Read what a pipeline run left in its folder, as plain values; nothing is measured here."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingFileError
from ..files import fingerprint
from ..inputs.places import read_yaml
from ..loading import load_checkpoint, read_checkpoint
from ..pruning.checkpoint import RECORD
from ..pruning.gamma_check import check_gammas
from ..runs.record import read_record
from ..runs.run_settings import RunSettings
from ..runs.stages import DISTILL, ORIGINAL, SPARSE, TRAININGS
from ..sparsity.gammas import NEAR_ZERO, absolute_gammas

SHOWN = (
    "epochs", "imgsz", "batch", "fraction", "optimizer", "lr0", "lrf", "weight_decay", "close_mosaic", "seed",
    "loss_type", "Distillation", "distill_weight", "distill_schedule", "sparsity",
)  # fmt: skip
BINS = 48


class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder.
        record: The content of run.json.
        settings: Those of the run.
        missing: Sentences that name what should be here and is not; reading adds to them.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()
        file = self.path / "run.json"
        if not file.is_file():
            raise MissingFileError(f"{file} is missing; give the folder of a pipeline run, such as runs/slim/run")
        self.record = read_record(file)
        self.settings = RunSettings.of_record(self.record["settings"])
        self.missing: list[str] = []

    def weights(self) -> dict[str, Path]:
        """Return the checkpoint of the original and of each finished stage, as far as they are still there."""
        found = {}
        for source, sha256 in self.record["origin"].items():
            if source == self.settings.teacher != self.settings.weights:
                continue
            if not Path(source).is_file():
                self._miss(f"the original weights {source}")
            elif fingerprint(source) != sha256:
                self._miss(f"the original weights: {source} has changed since the run was started")
            else:
                found[ORIGINAL] = Path(source)
        for stage in self.settings.stages:
            file = self.path / self.record["stages"].get(stage.name, {}).get("file", f"weights/{stage.name}.pt")
            if stage.name not in self.record["stages"]:
                self._miss(f"stage {stage.name}: not finished")
            elif not file.is_file():
                self._miss(f"stage {stage.name}: its checkpoint {file}")
            else:
                found[stage.makes] = file
        return found

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Return the columns of each training's results.csv."""
        found = {}
        for stage in (training.name for training in TRAININGS):
            file = self.path / stage / "results.csv"
            if file.is_file() and (columns := read_columns(file)):
                found[stage] = columns
            elif stage in self.record["stages"]:
                self._miss(f"the curves of stage {stage}: {file}")
        return found

    def stage_settings(self, stage: str) -> dict[str, Any]:
        """Return the settings that shape a training, from its args.yaml."""
        file = self.path / stage / "args.yaml"
        try:
            args = read_yaml(file) if file.is_file() else {}
        except InputError as fault:
            self._miss(f"the settings of stage {stage}: {fault}")
            args = {}
        used = {key: args[key] for key in SHOWN if args.get(key) is not None}
        if stage != DISTILL.name:
            used = {key: value for key, value in used.items() if "istill" not in key}
        return used if stage == SPARSE.name else {key: value for key, value in used.items() if key != "sparsity"}

    def _miss(self, what: str) -> None:
        if what not in self.missing:
            self.missing.append(what)


def read_columns(file: Path) -> dict[str, list[float]]:
    """Return the columns of a results.csv; a row that was cut off is left out."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    columns: dict[str, list[float]] = {}
    for row in rows:
        if None in row or any(value in (None, "") for value in row.values()):
            continue
        for name, value in row.items():
            columns.setdefault(name.strip(), []).append(_number(value))
    return columns


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def prune_record(weights: Path) -> dict[str, Any]:
    """Return the record that pruning left in a checkpoint; {} where there is none."""
    record = read_checkpoint(weights).get(RECORD)
    return record if isinstance(record, dict) else {}


def gamma_histograms(before: Path, after: Path, factor: float) -> dict[str, Any]:
    """Return histograms of the BatchNorm scales |γ| of two checkpoints over the same bins.

    Returns:
        `{"edges", "before", "after", "median": [b, a], "near_zero": [b, a], "check"}`, near zero being under 1e-2, and
        `check` telling in words whether `factor` of the channels can go by γ after it; {} for a fused model, which has
        no γ.
    """
    models = [load_checkpoint(str(path))[0].requires_grad_(True) for path in (before, after)]  # saved frozen
    values = [absolute_gammas(model).numpy() for model in models]
    if not all(len(v) for v in values):
        return {}
    top = max(float(np.quantile(v, 0.995)) for v in values)
    edges = np.linspace(0, max(top, 0.1), BINS + 1)
    counts = [np.histogram(np.minimum(v, edges[-1]), edges)[0].tolist() for v in values]
    return {
        "edges": np.round(edges, 5).tolist(),
        "before": counts[0],
        "after": counts[1],
        "median": [float(np.median(v)) for v in values],
        "near_zero": [float((v < NEAR_ZERO).mean()) for v in values],
        "check": str(check_gammas(models[1], factor)),
    }
