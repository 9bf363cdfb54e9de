"""Run by test_releases.py in its own process, with a patched release on the path: release_smoke.py DATA OUT [commands].

Each step trains for real, on the tiny data set; the first that fails ends the process with its traceback. With a third
word the commands of `python -m ultralytics.slim` are run, too.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import runpy
import sys
from pathlib import Path

import torch

from ultralytics import YOLO
from ultralytics.slim import PruneModel
from ultralytics.slim.distillation.preflight import _copy
from ultralytics.slim.distillation.teacher import freeze
from ultralytics.slim.losses.logit import LogitLoss, raw_predictions
from ultralytics.slim.measuring.timing import few_rounds

DATA, OUT = sys.argv[1], Path(sys.argv[2])
MINI = Path(__file__).with_name("mini.yaml")
TEACHER, PRUNED = OUT / "plain" / "weights" / "last.pt", OUT / "pruned.pt"


def train(model: YOLO, name: str, epochs: int = 2, **arguments) -> YOLO:
    fixed = {
        "data": DATA,
        "imgsz": 64,
        "batch": 4,
        "nbs": 4,
        "workers": 0,
        "device": "cpu",
        "plots": False,
        "verbose": False,
    }
    model.train(name=name, project=str(OUT), epochs=epochs, **fixed, **arguments)
    return model


def parameters(model: YOLO) -> int:
    return sum(parameter.numel() for parameter in model.model.parameters())


class Interrupted(Exception):
    """Ends a training as a crash would."""


def interrupt(trainer) -> None:
    if trainer.epoch == 1:
        raise Interrupted


def resume() -> None:
    """A run with the overrides, interrupted after its first epoch, goes on with all of them."""
    photos = str(Path(DATA).parent / "images/val")
    model = YOLO(MINI)
    model.add_callback("on_train_epoch_start", interrupt)
    with contextlib.suppress(Interrupted):
        train(model, "stopped", Distillation=str(TEACHER), loss_type="cwd", unlabelled=photos, distill_check=False)
    again = YOLO(OUT / "stopped" / "weights" / "last.pt")
    again.train(resume=True)
    assert (again.trainer.args.Distillation, again.trainer.args.loss_type) == (str(TEACHER), "cwd")
    assert again.trainer.args.unlabelled == photos and again.trainer.train_loader.added
    assert (again.trainer.start_epoch, again.trainer.epoch) == (1, 1)


def command(*words: str) -> None:
    """Do what `python -m ultralytics.slim` does with these words, in this process and its choice of packages."""
    sys.argv = ["ultralytics.slim", *words]
    try:
        runpy.run_module("ultralytics.slim", run_name="__main__")
    except SystemExit as done:
        assert done.code == 0, words


def commands() -> None:
    """What the commands leave: files that hold what they should, and a whole run with its report."""
    data = (f"data={DATA}", "imgsz=64", "device=cpu")
    training = (*data, "batch=4", "epochs=1", "workers=0", "plots=False")
    pruned, taught = str(OUT / "by_command.pt"), OUT / "taught.pt"
    command("prune", f"weights={TEACHER}", "factor=0.3", f"save_dir={pruned}")
    command("train", f"weights={pruned}", *training, f"save_dir={pruned}")
    command("distill", f"weights={pruned}", f"t_weight={TEACHER}", "loss_type=cwd", *training, f"save_dir={taught}")
    assert parameters(YOLO(taught)) == parameters(YOLO(pruned)) < parameters(YOLO(MINI))
    command("compare", f"weights={TEACHER},{taught}", *data, "agreement=True")
    command("export", f"weights={taught}", "format=torchscript", *data)
    assert taught.with_suffix(".torchscript").is_file()
    whole = ("sparse.epochs=0", "retrain.epochs=0", "format=torchscript", f"project={OUT}", "name=run")
    command("run", f"weights={TEACHER}", *training, *whole)
    assert (OUT / "run/report.md").is_file()


def raw_of_every_head() -> None:
    """Boxes and scores are found in what every head puts out, training or not, and the loss reaches them."""
    import ultralytics

    configs = Path(ultralytics.__file__).parent / "cfg/models"
    names = ("v8/yolov8.yaml", "v8/yolov8-seg.yaml", "v8/yolov8-pose.yaml", "v8/yolov8-obb.yaml")
    for name in (*names, "v10/yolov10n.yaml", "26/yolo26.yaml"):
        if not (configs / name).is_file():
            continue
        net = YOLO(Path(name).name.replace("8.", "8n.").replace("8-", "8n-").replace("26.", "26n.")).model.float()
        head, images = net.model[-1], torch.rand(1, 3, 160, 160)
        trained = raw_predictions(net.train()(images), head)
        teacher = freeze(copy.deepcopy(net), torch.device("cpu"), True, True)
        with torch.no_grad():
            seen = raw_predictions(teacher(images), teacher.model[-1])
        for raw in (trained, seen):
            assert (raw["boxes"].shape, raw["scores"].shape) == ((1, 4 * head.reg_max, 525), (1, head.nc, 525)), name
            assert [level.shape[-1] for level in raw["feats"]] == [20, 10, 5], name
        LogitLoss(bins=head.reg_max)(trained, seen).backward()
        assert head.cv3[0][-1].weight.grad.any(), name
        _copy(teacher).fuse()  # as validating does


raw_of_every_head()
train(YOLO(MINI), "plain", epochs=1)
train(YOLO(MINI), "cwd", Distillation=str(TEACHER), loss_type="cwd")
header, *rows = (
    [cell.strip() for cell in line.split(",")] for line in (OUT / "cwd/results.csv").read_text().splitlines()
)
figures = dict(zip(header, rows[-1]))
assert all(float(figures[f"train/{name}"]) > 0 for name in ("distill_loss", "loss_ratio"))
train(YOLO(MINI), "mgd", Distillation=YOLO(TEACHER), loss_type="mgd+logit", epochs=1, distill_check=False)
train(YOLO(TEACHER), "sparse", loss_type="sparse")
with open(OUT / "sparse" / "results.csv", newline="") as file:
    rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
assert all(float(row["gamma/moved"]) > 0 for row in rows), rows  # the optimizer stepped, and the penalty with it
wrapped = PruneModel(TEACHER)
wrapped.prune(0.5, PRUNED, images=DATA, score="taylor", imgsz=64)  # the loss, too
before = parameters(wrapped.model)
assert before < parameters(YOLO(MINI))
assert parameters(train(wrapped.model, "retrain", epochs=1)) == before, "retraining lost the pruned widths"
resume()
if sys.argv[3:]:
    with few_rounds(3):
        commands()
print("every step ran")
