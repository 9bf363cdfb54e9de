"""The report before the first epoch of a distillation."""

import copy
import os
import random
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ultralytics import YOLO
from ultralytics.slim import compat
from ultralytics.slim.distillation import preflight
from ultralytics.slim.errors import InputError

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
    pairs = [(128, 256, 4), (64, 128, 8)]  # C_s, C_t, side
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


class Forked:
    """A fork's trainer: what it is asked for a validator sets much of it anew; its criterion has six parts."""

    def __init__(self, validator):
        self.model = nn.Module()
        self.model.model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
        self.model.names, self.model.criterion = {0: "box"}, SimpleNamespace(parts=["box", "moe"] * 3)
        self.model.to(memory_format=torch.channels_last)
        self.data, self.args, self.test_loader = {"names": {0: "box"}}, SimpleNamespace(plots=True, save_txt=True), [1]
        self.loss_names, self.callbacks, self.resume = ["box", "moe"] * 3, {"on_val_end": [1]}, False
        self.validator, self.make = object(), validator

    def get_validator(self):
        assert not self.args.save_txt  # for which a validator makes a folder
        self.loss_names[:] = ["box"]
        self.loss_names, self.args.plots, self.model.names = ("box", "cls"), None, None
        self.model.criterion.parts.clear()
        self.data["names"], self.validator = None, None
        self.callbacks["on_val_end"] = []
        self.model.names = {0: "box"}
        return self.make(args=SimpleNamespace(plots=True, save_json=True, single_cls=True))


class Measuring:
    """A validator that fuses what it is given, as older releases do, and draws random numbers."""

    def __init__(self, args):
        self.args = args

    def __call__(self, model):
        weight = model.model[0].weight
        weight.view(len(weight), -1)  # cannot be done in channels_last
        model.model[0] = nn.Identity()
        torch.rand(3), random.random(), np.random.rand()
        assert not model.training and not (self.args.plots or self.args.save_json)
        return {"fitness": 0.5}


def announced(trainer, **settings):
    teacher = copy.deepcopy(trainer.model)
    values = dict(distill_check=True, unlabelled=None, teacher="t.pt", losses=["cwd"], distill_imgsz=None)
    values = SimpleNamespace(**{**values, **settings})
    nothing = dict(pairs=[], features=[], losses=nn.ModuleDict(), logit=False)
    preflight.announce(SimpleNamespace(trainer=trainer, teacher=teacher, settings=values, **nothing))


def everything_of(trainer):
    """Return all that could be changed, down to the criterion's parts and the random numbers to come."""
    of_model = {**vars(trainer.model), "criterion": list(trainer.model.criterion.parts)}
    state = {**vars(trainer), "args": vars(trainer.args).copy(), "model": repr(of_model), "data": dict(trainer.data)}
    state |= {"loss_names": list(trainer.loss_names), "callbacks": dict(trainer.callbacks)}
    return state, torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())


def test_measuring_leaves_nothing(log, monkeypatch):
    monkeypatch.setattr(preflight, "get_flops", lambda model, imgsz: model.model.append(nn.ReLU()) and 0)
    trainer = Forked(Measuring)
    trainer.args.imgsz = 64
    before = everything_of(trainer)
    announced(trainer)
    assert everything_of(trainer) == before and trainer.model.training and len(trainer.model.model) == 2
    assert trainer.model.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert "teacher 0.5000, student 0.5000" in log.text and "not measured" not in log.text


def failing(error):
    def validator(args):
        raise error

    return validator


def test_what_cannot_be_measured_is_warned_of_and_why(log, monkeypatch):
    """A block that fails, and a model that cannot be copied."""
    monkeypatch.setattr(preflight, "get_flops", lambda *_: 0)
    trainer = Forked(failing(RuntimeError("view size is not compatible\nmore")))
    trainer.args.imgsz = 64
    announced(trainer)
    assert "not measured: the accuracy of teacher and student" in log.text and "what a step costs" not in log.text
    assert "(RuntimeError: view size is not compatible). The run goes on without it" in log.text
    log.clear()
    trainer.model.balance = trainer.model.model[0].weight.sum()  # has a graph
    distiller = dict(settings=SimpleNamespace(distill_imgsz=None), teacher=None, trainer=trainer)
    with preflight._measuring("what a step costs"):
        preflight.expected_slow_down(SimpleNamespace(**distiller))
    assert "not measured: what a step costs (RuntimeError: Only Tensors created explicitly" in log.text


def test_what_the_user_can_mend_stays_an_error(monkeypatch):
    monkeypatch.setattr(preflight, "get_flops", lambda *_: 0)
    trainer = Forked(failing(InputError("the teacher has other classes")))
    trainer.args.imgsz = 64
    with pytest.raises(InputError, match="other classes"):
        announced(trainer)


def test_loss_items_are_hidden_by_their_number_and_not_by_their_names():
    """A fork of six parts whose trainer names three of them, and names them anew before it validates."""
    trainer = SimpleNamespace(loss_items=torch.arange(6.0), loss_names=("box", "cls", "dfl"))
    for _ in range(2):
        trainer.loss_items = torch.arange(6.0)
        own = compat.add_loss_items(trainer, {"distill_loss": torch.tensor(7.0), "loss_ratio": torch.tensor(8.0)})
        assert trainer.loss_names == ("box", "cls", "dfl", "loss_4", "loss_5", "loss_6", "distill_loss", "loss_ratio")
        assert dict(zip(trainer.loss_names, trainer.loss_items.tolist()))["distill_loss"] == 7
    trainer.loss_names = ("box", "cls", "dfl")
    for _ in range(2):
        compat.hide_loss_items(trainer, own)
        assert trainer.loss_items.tolist() == list(range(6))
