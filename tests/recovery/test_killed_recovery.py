"""A recovery that is killed at any of its writes is gone on with, and ends with the same weights."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ultralytics import YOLO
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model
from ultralytics.slim.recovery.state import state_file

from killing import run_killed, run_leaving, states_in
from places import ROOT

TEACHER = str(ROOT / "weights/diagram-yolov8n.pt")


def recover(pruned: str, images: str, path: str) -> None:
    """Begin a recovery, or go on with it."""
    resume = state_file(Path(path)).is_file()
    options = {"iterations": 4, "batch": 2, "imgsz": 96, "device": "cpu", "lr0": 1e-3}
    recover_model(YOLO(pruned), YOLO(TEACHER), images, path, resume, **options)


@pytest.mark.slow
def test_killed_at_every_third_write(tmp_path):
    images = str(draw_dataset(tmp_path / "drawn/diagram", train=20, val=1) / "images/train")
    pruned = str(tmp_path / "pruned.pt")
    prune_model(YOLO(TEACHER), pruned, flops=0.5, images=images, imgsz=96)
    whole, states = tmp_path / "whole/r.pt", tmp_path / "states"
    count = run_leaving(recover, (pruned, images, str(whole)), whole.parent, states, 3)
    wanted = load_checkpoint(whole)[0].state_dict()
    shutil.rmtree(whole.parent)  # nothing may lead back to it

    def check(folder: Path) -> None:
        path = folder / "r.pt"
        run_killed(recover, (pruned, images, str(path)), folder)
        found = load_checkpoint(path)[0].state_dict()
        assert all(found[name].equal(tensor) for name, tensor in wanted.items()), f"killed at write {folder.name}"
        assert [file.name for file in folder.iterdir()] == ["r.pt"], f"killed at write {folder.name}"

    folders = states_in(states)
    assert len(folders) >= count // 3 > 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, folders))
