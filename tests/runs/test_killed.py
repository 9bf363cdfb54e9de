"""A stage that is killed at any of its writes is gone on with, and ends with the weights that it would have had."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.training import fit
from ultralytics.slim.training_run import TrainingRun

from killing import KILLED, run_killed, run_leaving, states_in
from short_runs import SHORT


def sparse_stage(folder: str, weights: str, data: str, resume: bool, stop: int = 0) -> None:
    """Do the first stage of a run, a sparse and taught training of three epochs, as `make_models` does.

    Args:
        stop: Epoch, from 0, at whose beginning the process ends; 0 for none.
    """
    settings = RunSettings.read({"weights": weights, "data": data, "imgsz": 64})
    run = Run.resume(folder, "run", {}) if resume else Run.start(folder, "run", settings)
    arguments = {**SHORT, "epochs": 3, "data": data, "loss_type": "cwd+sparse", "Distillation": weights, "val": True}
    if stop:
        TrainingRun.start_epoch = ending(TrainingRun.start_epoch, stop)
    with run:
        run.stage("sparse", lambda out: fit(weights, out, {**arguments, **run.training("sparse")}))


def ending(start_epoch, stop: int):
    def start_or_end(self):
        if self.trainer.epoch == stop:
            os._exit(KILLED)
        start_epoch(self)

    return start_or_end


def outcome(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the finished stage; nothing else is left in the folder, and no epoch twice in the table."""
    run = Run.resume(folder, "run", {})
    assert list(run.stages) == ["sparse"]
    leftovers = [path for path in run.folder.rglob("*") if "partial" in path.name or path.name == ".saving"]
    assert not leftovers, leftovers
    model = torch.load(run.folder / run.stages["sparse"]["file"], weights_only=False)["model"]
    rows = (run.folder / "sparse/results.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2", "3"]
    return model.state_dict()


@pytest.fixture(scope="module")
def undisturbed(weights, tiny_data, tmp_path_factory):
    """What may come out: of a training that ran through, or that was resumed between its epochs; and where it is left.

    Ultralytics goes on from the averaged weights in half precision, so a resumed training ends a little elsewhere.

    Returns:
        The weights of each, the folder of what a training leaves that is killed, and how many writes there are.
    """
    outcomes, count = [], 0
    states = tmp_path_factory.mktemp("states")
    for stop in (0, 1, 2):
        folder = tmp_path_factory.mktemp("undisturbed")
        args = (str(folder), weights, str(tiny_data), False, stop)
        if stop:
            run_killed(sparse_stage, args, folder)
            run_killed(sparse_stage, (str(folder), weights, str(tiny_data), True), folder)
        else:
            count = run_leaving(sparse_stage, args, folder, states, 6)
        outcomes.append(outcome(folder))
        shutil.rmtree(folder)  # nothing may lead back to it
    return outcomes, states, count


def check(outcomes, weights, tiny_data, folder: Path) -> None:
    """Check that what is left in a folder is gone on with, and ends as one of the others."""
    resumable = (folder / "run/run.json").is_file()  # killed before that, nothing was begun
    if not resumable:
        shutil.rmtree(folder)
        folder.mkdir()
    run_killed(sparse_stage, (str(folder), weights, str(tiny_data), resumable), folder)
    found = outcome(folder)
    same = [all(torch.equal(value, found[key]) for key, value in wanted.items()) for wanted in outcomes]
    assert any(same), f"killed at write {folder.name}, it ends with other weights"


def test_some_points(undisturbed, weights, tiny_data, tmp_path):
    """Killed indeed, in the place where it is then gone on with."""
    outcomes, _, count = undisturbed
    assert count > 40
    for share in (0.5, 0.9):
        folder = tmp_path / str(share)
        folder.mkdir()
        point = round(share * count)
        assert not run_killed(sparse_stage, (str(folder), weights, str(tiny_data), False), folder, point)
        check(outcomes, weights, tiny_data, folder)


@pytest.mark.slow
def test_every_sixth_point(undisturbed, weights, tiny_data):
    outcomes, states, count = undisturbed
    folders = states_in(states)
    assert len(folders) >= count // 6
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda folder: check(outcomes, weights, tiny_data, folder), folders))
