"""A recovery that is killed at any of its writes is gone on with, and ends with the same weights."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ultralytics import YOLO
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.recover import recover_model
from ultralytics.slim.recovery.state import state_file

from killing import run_killed
from places import ROOT

TEACHER = str(ROOT / "weights/diagram-yolov8n.pt")


def recover(pruned: str, images: str, path: str) -> None:
    """Begin a recovery, or go on with it."""
    resume = state_file(Path(path)).is_file()
    options = {"iterations": 4, "batch": 2, "imgsz": 96, "device": "cpu", "lr0": 1e-3}
    recover_model(YOLO(pruned), YOLO(TEACHER), images, path, resume, **options)


@pytest.mark.slow
def test_killed_at_any_write(tmp_path):
    """Every third; all of them with SLIM_EVERY_POINT=1 in the environment, as once a week."""
    images = str(draw_dataset(tmp_path / "drawn/diagram", train=20, val=1) / "images/train")
    pruned = str(tmp_path / "pruned.pt")
    prune_model(YOLO(TEACHER), pruned, flops=0.5, images=images, imgsz=96)
    whole = tmp_path / "whole/r.pt"
    count = run_killed(recover, (pruned, images, str(whole)), whole.parent)
    assert count > 8
    wanted = load_checkpoint(whole)[0].state_dict()

    def check(point: int) -> None:
        path = tmp_path / str(point) / "r.pt"
        assert not run_killed(recover, (pruned, images, str(path)), path.parent, point)
        run_killed(recover, (pruned, images, str(path)), path.parent)
        found = load_checkpoint(path)[0].state_dict()
        assert all(found[name].equal(tensor) for name, tensor in wanted.items()), f"killed at write {point}"
        assert [file.name for file in path.parent.iterdir()] == ["r.pt"], f"killed at write {point}"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, range(1, count + 1, 1 if os.environ.get("SLIM_EVERY_POINT") else 3)))
