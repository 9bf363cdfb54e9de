"""A run that is killed while it prunes, exports, measures or writes its page is gone on with, and ends as any other."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ultralytics.slim.compress import compress_run
from ultralytics.slim.measuring.timing import few_rounds
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stage_work import prune_checkpoint

from killing import run_killed, run_leaving, states_in


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


@dataclass
class Left:
    """What is left where a process is killed: the folder of these states, and of how many writes."""

    states: Path
    count: int


@pytest.fixture(scope="module")
def pruned(weights, tiny_data, tmp_path_factory) -> tuple[Path, Left]:
    """The project of a run whose pruning is done."""
    project, states = tmp_path_factory.mktemp("started"), tmp_path_factory.mktemp("prune-states")
    count = run_leaving(begin, (str(project), weights, str(tiny_data)), project, states, 1)
    return project.rename(project.with_name("pruned")), Left(states, count)  # nothing may lead back


@pytest.fixture(scope="module")
def trained(pruned, tmp_path_factory) -> Path:
    """The project of a run whose stages are done."""
    project = shutil.copytree(pruned[0], tmp_path_factory.mktemp("trained") / "project")
    run = Run.resume(project, "run", {})
    with run:
        run.stage("prune", pytest.fail)
        run.stage("distill", lambda out: shutil.copy(run.files()["prune"], out))
    return project


@pytest.fixture(scope="module")
def ended(trained, tmp_path_factory) -> tuple[dict[str, object], Left]:
    """What must come out."""
    project, states = tmp_path_factory.mktemp("ended") / "project", tmp_path_factory.mktemp("end-states")
    shutil.copytree(trained, project)
    count = run_leaving(finish, (str(project),), project, states, 12)
    wanted = skeleton(project / "run")
    shutil.rmtree(project)  # nothing may lead back
    return wanted, Left(states, count)


def check_pruning(project: Path, weights, tiny_data, folder: Path) -> None:
    """Check that what is left in a folder is gone on with, and ends as the project."""
    if (folder / "run/run.json").is_file():
        run_killed(prune_again, (str(folder),), folder)
    else:  # nothing was begun
        shutil.rmtree(folder)
        run_killed(begin, (str(folder), weights, str(tiny_data)), folder)
    paths = (project / "run/weights/prune.pt", folder / "run/weights/prune.pt")
    wanted, found = (torch.load(path, weights_only=False)["model"].state_dict() for path in paths)
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


def check_ending(wanted: dict[str, object], folder: Path) -> None:
    run_killed(finish, (str(folder),), folder)
    assert skeleton(folder / "run") == wanted, f"killed at write {folder.name}, it ends otherwise"


def test_some_points(pruned, trained, ended, weights, tiny_data, tmp_path):
    """Killed indeed, in the place where it is then gone on with."""
    (project, left_pruning), (wanted, left_ending) = pruned, ended
    assert left_pruning.count > 4 and left_ending.count > 20
    folder = tmp_path / "prune"
    folder.mkdir()
    assert not run_killed(begin, (str(folder), weights, str(tiny_data)), folder, left_pruning.count // 2)
    check_pruning(project, weights, tiny_data, folder)
    for share in (0.3, 0.9):
        folder = shutil.copytree(trained, tmp_path / str(share))
        assert not run_killed(finish, (str(folder),), folder, round(share * left_ending.count))
        check_ending(wanted, folder)


@pytest.mark.slow
def test_a_pruning_at_every_point(pruned, weights, tiny_data):
    project, left = pruned
    folders = states_in(left.states)
    assert len(folders) == left.count
    for folder in folders:
        check_pruning(project, weights, tiny_data, folder)


@pytest.mark.slow
def test_an_ending_at_every_twelfth_point(ended):
    wanted, left = ended
    folders = states_in(left.states)
    assert len(folders) >= left.count // 12
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda folder: check_ending(wanted, folder), folders))
