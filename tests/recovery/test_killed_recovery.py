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
from random_models import seeing


def recover(pruned: str, teacher: str, images: str, path: str) -> None:
    """Begin a recovery, or go on with it."""
    resume = state_file(Path(path)).is_file()
    options = {"iterations": 4, "batch": 2, "imgsz": 160, "device": "cpu", "lr0": 3e-4}
    recover_model(YOLO(pruned), YOLO(teacher), images, path, resume, **options)


@pytest.mark.slow
def test_killed_at_every_fifth_write(tmp_path):
    images = str(draw_dataset(tmp_path / "drawn/diagram", train=20, val=1) / "images/train")
    pruned = str(tmp_path / "pruned.pt")
    teacher = str(seeing(Path(images), tmp_path / "teacher.pt"))
    prune_model(YOLO(teacher), pruned, flops=0.3, images=images, imgsz=160, repair="fold,bn")  # much to learn
    whole, states = tmp_path / "whole/r.pt", tmp_path / "states"
    count = run_leaving(recover, (pruned, teacher, images, str(whole)), whole.parent, states, 5)
    wanted = load_checkpoint(whole)[0].state_dict()
    start = load_checkpoint(pruned)[0].state_dict()
    assert not all(start[name].equal(tensor) for name, tensor in wanted.items()), "it learned nothing"
    shutil.rmtree(whole.parent)  # nothing may lead back to it

    def check(folder: Path) -> None:
        path = folder / "r.pt"
        run_killed(recover, (pruned, teacher, images, str(path)), folder)
        found = load_checkpoint(path)[0].state_dict()
        assert all(found[name].equal(tensor) for name, tensor in wanted.items()), f"killed at write {folder.name}"
        assert [file.name for file in folder.iterdir()] == ["r.pt"], f"killed at write {folder.name}"

    folders = states_in(states)
    assert len(folders) >= count // 5 > 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, folders))
