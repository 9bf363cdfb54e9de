"""The report before the first epoch of a distillation."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ultralytics import YOLO
from ultralytics.slim.distillation import preflight

from checkpoints import always
from short_runs import Interrupt, interrupt, train
from task_data import make_task_data


@pytest.fixture
def boxes_only(tmp_path):
    """Data of two classes whose validation images are all of the first."""
    data = make_task_data(tmp_path / "data", "classify")
    for image in (data / "val" / "disc").iterdir():
        image.unlink()
    (data / "val" / "disc").rmdir()
    return data


@pytest.mark.parametrize("teacher, student, useless", [(0, 1, False), (1, 0, True), (0, 0, True)])
def test_fitness_of_both_is_told_before_the_users_callbacks_run(boxes_only, tmp_path, log, teacher, student, useless):
    """Right in all cases is a fitness of 1; never right at first, but within the first five, is 0.5."""
    events = []
    callbacks = {event: lambda _, event=event: events.append(event) for event in ("on_train_start", "on_val_end")}
    paths = [always(answer, tmp_path / f"{name}.pt") for name, answer in (("teacher", teacher), ("student", student))]
    train(
        boxes_only, tmp_path, weights=paths[1], epochs=1, batch=2, nbs=2, Distillation=str(paths[0]), loss_type="cwd",
        distill_check=True, **callbacks,
    )  # fmt: skip
    fitness = [1.0 if answer == 0 else 0.5 for answer in (teacher, student)]
    assert "before training: teacher {:.4f}, student {:.4f}".format(*fitness) in log.text
    assert ("no better than the student" in log.text) == useless
    assert events[0] == "on_train_start" and "on_val_end" in events


def test_adapters_and_slow_down(tiny_data, tmp_path, teacher_path, log):
    """Checked against the adapters' shapes by hand, and the floating point operations that torch counts."""
    pairs = [(128, 256, 4), (256, 512, 2), (128, 256, 4), (64, 128, 8), (128, 256, 4), (256, 512, 2)]  # C_s, C_t, side
    seen = {}

    def keep(trainer):
        seen.update(student=trainer.model, teacher=trainer.slim.distiller.teacher)
        raise Interrupt

    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="cwd", on_train_start=keep)
    parameters = sum(s * t + t for s, t, _ in pairs)
    assert f"with cwd, {parameters:,} adapter parameters" in log.text
    images = torch.rand(2, 3, 64, 64)
    with FlopCounterMode(display=False) as plain:
        out = seen["student"].train()(images)
        (out["boxes"].sum() + out["scores"].sum()).backward()
    with FlopCounterMode(display=False) as teacher, torch.no_grad():
        seen["teacher"](images)
    with FlopCounterMode(display=False) as adapters:
        for s, t, side in pairs:
            nn.Conv2d(s, t, 1)(torch.rand(2, s, side, side, requires_grad=True)).sum().backward()
    counts = [c.get_total_flops() for c in (plain, teacher, adapters)]
    told = float(re.search(r"a step costs about ([\d.]+) times", log.text)[1])
    assert told == pytest.approx(1 + (counts[1] + counts[2]) / counts[0], rel=0.03), counts


def test_other_classes_are_not_measured(tiny_data, tmp_path, log):
    with pytest.raises(Interrupt):
        options = dict(Distillation=YOLO("yolov8n.yaml"), loss_type="cwd", distill_check=True)
        train(tiny_data, tmp_path, **options, on_train_start=interrupt)
    assert "student and teacher have 2 and 80 classes, 0 of them in common: only features are compared" in log.text
    assert (
        "the teacher does not know the data's box, disc, so its accuracy is not measured" in log.text
        and "fitness on the validation data" not in log.text
    )


def test_a_rank_without_validation_data_does_not_validate(log):
    """Older releases load it on rank 0 alone, and its validator does not gather."""
    teacher = SimpleNamespace(model=[SimpleNamespace(nc=2)], names={0: "box", 1: "disc"})
    trainer = SimpleNamespace(data={"names": {0: "box", 1: "disc"}}, get_validator=lambda: pytest.fail("validates"))
    preflight.compare_accuracy(SimpleNamespace(teacher=teacher, trainer=trainer))
    assert not log.text


@pytest.mark.slow
def test_a_run_that_fails_early_leaves_no_temporary_teacher(tmp_path):
    """The trainer fails in its constructor, once the teacher is saved and before there is a folder to move it to."""
    code = "from ultralytics import YOLO; m = YOLO('yolov8n.yaml'); "
    code += "m.train(data='no such.yaml', Distillation=YOLO('yolov8n.yaml'), loss_type='cwd', project='runs')"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert run.returncode and "no such.yaml" in run.stderr
    assert not list(tmp_path.glob("slim-teacher-*"))
