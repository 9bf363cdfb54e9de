"""A run that is killed while it prunes, exports, measures or writes its page is gone on with, and ends as any other."""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ultralytics.slim.compress import compress_run
from ultralytics.slim.measuring.timing import few_rounds
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stage_work import prune_checkpoint

from killing import run_killed


def begin(project: str, weights: str, data: str) -> None:
    """Start a run, and do its pruning."""
    given = {"weights": weights, "data": data, "imgsz": 64, "batch": 4, "epochs": 1, "device": "cpu"}
    given |= {"sparse.epochs": 0, "retrain.epochs": 0, "format": "torchscript", "prune.images": None}
    prune(Run.start(project, "run", RunSettings.read(given)))


def prune(run: Run) -> None:
    with run:
        run.stage("prune", lambda out: prune_checkpoint(run.settings.weights, out, run.settings.prune))


def prune_again(project: str) -> None:
    prune(Run.resume(project, "run", {}))


def finish(project: str) -> None:
    """Do what comes after the last stage of a run, whose training is left out: its checkpoint is there."""
    with few_rounds(3):
        compress_run(Run.resume(project, "run", {}))


def skeleton(folder: Path) -> dict[str, object]:
    """Return what must be the same in every finished run: figures that are no times, files, and the page's parts."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["finished"]
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if "partial" in name or "/." in f"/{name}" and not name.endswith(".lock")], names
    lines = (folder / "report.md").read_text(encoding="utf-8").splitlines()
    parts = [line.split("|")[1].strip() if line.startswith("|") else line for line in lines if line[:1] in ("|", "#")]
    table, exports = record["results"]["table"], record["results"]["exports"]
    assert parts and all(any("map" in key for key in row) for row in table)
    for row in exports:
        path = Path(row["path"])
        assert (path if path.is_absolute() else folder / path).exists()
    headings = re.findall(r"<h[1-4].*?</h[1-4]>", (folder / "report.html").read_text(encoding="utf-8"), re.S)
    assert headings
    return {
        "files": sorted(name for name in names if not name.endswith(".lock")),
        "stages": {name: stage["sha256"] for name, stage in record["stages"].items()},
        "accuracy": [[value for key, value in row.items() if "map" in key or "param" in key] for row in table],
        "exports": [(row["format"], row["found"]) for row in exports],
        "page": parts,
        "html": len(headings),
    }


@pytest.fixture(scope="module")
def trained(weights, tiny_data, tmp_path_factory) -> tuple[Path, int]:
    """A run whose stages are done, and at how many writes a pruning may be killed."""
    project = tmp_path_factory.mktemp("trained")
    count = run_killed(begin, (str(project), weights, str(tiny_data)), project)
    run = Run.resume(project, "run", {})
    with run:
        run.stage("prune", pytest.fail)
        run.stage("distill", lambda out: shutil.copy(run.files()["prune"], out))
    return project, count


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory) -> tuple[dict[str, object], int]:
    """What must come out, and at how many writes it may be killed on the way."""
    project = shutil.copytree(trained[0], tmp_path_factory.mktemp("undisturbed") / "project")
    count = run_killed(finish, (str(project),), project)
    return skeleton(project / "run"), count


def check_pruning(trained, weights, tiny_data, folder: Path, point: int) -> None:
    folder.mkdir()
    assert not run_killed(begin, (str(folder), weights, str(tiny_data)), folder, point)
    if (folder / "run/run.json").is_file():
        run_killed(prune_again, (str(folder),), folder)
    else:  # nothing was begun
        shutil.rmtree(folder)
        run_killed(begin, (str(folder), weights, str(tiny_data)), folder)
    paths = (trained[0] / "run/weights/prune.pt", folder / "run/weights/prune.pt")
    wanted, found = (torch.load(path, weights_only=False)["model"].state_dict() for path in paths)
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


def check_ending(trained, undisturbed, folder: Path, point: int) -> None:
    shutil.copytree(trained[0], folder)
    assert not run_killed(finish, (str(folder),), folder, point)
    run_killed(finish, (str(folder),), folder)
    assert skeleton(folder / "run") == undisturbed[0], f"killed at write {point}, it ends otherwise"


def test_some_points(trained, undisturbed, weights, tiny_data, tmp_path):
    assert trained[1] > 4 and undisturbed[1] > 20
    check_pruning(trained, weights, tiny_data, tmp_path / "prune", trained[1] // 2)
    for share in (0.3, 0.9):
        check_ending(trained, undisturbed, tmp_path / str(share), round(share * undisturbed[1]))


@pytest.mark.slow
def test_a_pruning_at_every_point(trained, weights, tiny_data, tmp_path):
    for point in range(1, trained[1] + 1):
        check_pruning(trained, weights, tiny_data, tmp_path / str(point), point)


@pytest.mark.slow
def test_an_ending_at_every_eighth_point(trained, undisturbed, tmp_path):
    """All of them with SLIM_EVERY_POINT=1 in the environment, as once a week."""
    points = range(1, undisturbed[1] + 1, 1 if os.environ.get("SLIM_EVERY_POINT") else 8)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda point: check_ending(trained, undisturbed, tmp_path / str(point), point), points))
