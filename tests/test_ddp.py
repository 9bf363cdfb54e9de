"""Distillation over two processes with gloo, launched by torch's own launcher, and through Ultralytics' worker file."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.distillation import distiller
from ultralytics.slim.distillation.distiller import Distiller
from ultralytics.slim.losses.layer_losses import FEATURE_LOSSES
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.utils import YAML
from ultralytics.utils.dist import generate_ddp_file

from checkpoints import always
from ddp_worker import fingerprint
from places import ROOT, SUPPORT
from short_runs import MINI, Interrupt, stop_at
from task_data import make_task_data
from tiny_data import draw_sample

pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 8),
    reason="Ultralytics validates over Gloo with means (ReduceOp.AVG), which torch has from 2.8 on",
)
OPTIONS = dict(imgsz=64, epochs=2, batch=4, nbs=4, workers=0, amp=False, plots=False, device="cpu", verbose=False)
OPTIONS |= dict(optimizer="SGD", lr0=0.01, warmup_epochs=0, val=False)
SAME_ON_ALL = ("teacher", "adapters_at_start", "adapters_at_end", "parameters", "weights", "folder", "teacher_file")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folder of a teacher of two classes and of the same model pruned, with BatchNorm statistics of noise.

    Without statistics the features of an untrained model in evaluation mode hardly depend on the image.
    """
    folder = tmp_path_factory.mktemp("ddp")
    torch.manual_seed(0)  # how large the features are is a matter of luck
    model = YOLO(MINI, verbose=False)
    model.model = DetectionModel(MINI, nc=2, verbose=False).train()
    for module in model.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.model(torch.rand(16, 3, 64, 64))
    model.model.args = {"imgsz": 64}
    model.save(folder / "teacher.pt")
    prune_model(model, folder / "pruned.pt", factor=0.4, score="l1")
    return folder


@pytest.fixture
def overrides(tiny_data, tmp_path, checkpoints):
    """Arguments of a run in tmp_path/ddp: the pruned student learns from the teacher."""
    paths = {"model": checkpoints / "pruned.pt", "Distillation": checkpoints / "teacher.pt", "data": tiny_data}
    paths = {k: str(v) for k, v in paths.items()}
    return {**OPTIONS, **paths, "project": str(tmp_path), "name": "ddp", "loss_type": "cwd"}


def parameters_in(path: Path) -> int:
    return sum(p.numel() for p in YOLO(str(path)).model.parameters())


def start(arguments: list, launcher: list[str]) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def finish(process: subprocess.Popen) -> str:
    """Return what the process said; a collective that one rank does not reach would wait for hours."""
    try:
        said, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its ranks
        pytest.fail(f"the ranks wait for each other: {process.communicate()[0][-3000:]}")
    assert process.returncode == 0, said[-9000:]
    return said


def launch(script: str, arguments: dict, out: Path) -> str:
    """Run the script on two ranks."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return finish(start([SUPPORT / script, json.dumps(arguments), out], torchrun))


def ranks_that_agree(out: Path) -> list[dict]:
    """Return what the two ranks of a run wrote, after the checks that hold for each run."""
    ranks = [json.loads((out / f"rank{i}.json").read_text()) for i in range(2)]
    for rank in ranks:
        assert (rank["ranks"], rank["ddp"]) == (2, True)
        assert len(rank["losses"]) == 2 * (2 - rank["start_epoch"]) and all(x > 0 for x in rank["losses"])
        assert rank["teacher"] == rank["teacher_at_end"]
        assert rank["adapters_at_start"] != rank["adapters_at_end"]
        assert rank["hooks"] == 0
    for what in SAME_ON_ALL:
        assert ranks[0][what] == ranks[1][what], what
    assert ranks[0]["losses"] != ranks[1]["losses"]  # each rank saw its own images
    return ranks


@pytest.mark.slow
def test_each_rank_distils_and_all_agree(tmp_path, checkpoints, overrides):
    """As a user's own script would: everything by default, the teacher a model, an earlier run under the same name."""
    earlier = tmp_path / "ddp" / "weights"
    earlier.mkdir(parents=True)
    for name in ("teacher.pt", "best.pt"):
        (earlier / name).write_bytes(b"another run's")
    said = launch("ddp_worker.py", {**overrides, "loss_type": "cwd+mgd+sparse", "as_module": True}, tmp_path)
    for rank in ranks_that_agree(tmp_path):
        assert rank["parameters"] == parameters_in(checkpoints / "pruned.pt")  # the pruned widths are kept
        assert rank["folder"] == str(tmp_path / "ddp-2")
        assert rank["teacher_file"] == str(tmp_path / "ddp-2" / "weights" / "teacher.pt")
    assert said.count("fitness on the validation data before training: teacher 0.0") == 1


@pytest.mark.slow
def test_unlabelled_images_are_shared_out(tmp_path, overrides, tiny_data):
    """Eight images, two on each rank in each of two batches an epoch; a rank that had more would wait forever."""
    photos = tmp_path / "photos"
    for number in range(8):
        draw_sample(tmp_path / "drawn", "train", str(number), number)
    (tmp_path / "drawn/images/train").rename(photos)
    launch("ddp_worker.py", {**overrides, "loss_type": "cwd+logit", "unlabelled": str(photos)}, tmp_path)
    ranks = [json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)]
    labelled = len(ranks[0]["losses"]) - 4
    assert labelled > 0 and [len(rank["losses"]) for rank in ranks] == [labelled + 4] * 2
    assert [len(rank["unlabelled"]) for rank in ranks] == [8] * 2  # in two epochs
    assert not set(ranks[0]["unlabelled"]) & set(ranks[1]["unlabelled"])
    assert all(ranks[0][what] == ranks[1][what] for what in SAME_ON_ALL)


def test_a_temporary_teacher_of_each_rank_goes(tmp_path, monkeypatch):
    """The ranks of a user's script make one each, and only rank 0 copies its own."""
    from ultralytics.slim.distillation import teacher

    barriers = []
    monkeypatch.setattr(teacher.dist, "barrier", lambda: barriers.append(1))
    monkeypatch.setattr(teacher.tempfile, "tempdir", str(tmp_path))
    for rank in (0, 1):
        monkeypatch.setattr(teacher, "RANK", rank)
        source = tmp_path / f"{teacher.TEMPORARY}{rank}" / teacher.IN_MEMORY
        source.parent.mkdir()
        source.write_text(f"of rank {rank}")
        trainer = SimpleNamespace(args=SimpleNamespace(Distillation=str(source)), wdir=tmp_path, save_dir=tmp_path)
        teacher.keep_temporary(trainer)
        assert not source.parent.exists() and trainer.args.Distillation == str(tmp_path / "teacher.pt")
    assert (tmp_path / "teacher.pt").read_text() == "of rank 0" and len(barriers) == 2


@pytest.mark.slow
def test_fitness_is_that_on_the_images_of_all_ranks(tmp_path, overrides):
    """Three boxes, a disc, and models that know one class: of two images, no rank can have a quarter right or wrong."""
    data = make_task_data(tmp_path / "data", "classify")
    image = next((data / "val" / "box").glob("*.png"))
    for name in ("second.png", "third.png"):
        image.with_name(name).write_bytes(image.read_bytes())
    models = {"Distillation": always(0, tmp_path / "teacher.pt"), "model": always(1, tmp_path / "student.pt")}
    options = {**overrides, **{k: str(v) for k, v in models.items()}, "data": str(data), "task": "classify"}
    said = launch("ddp_worker.py", {**options, "epochs": 1, "batch": 2, "nbs": 2}, tmp_path)
    assert "before training: teacher 0.8750, student 0.6250" in said  # half of it is for the first five, always right


@pytest.mark.slow
def test_two_machines(tmp_path, overrides):
    """Two launchers of one rank each, as `torchrun --nnodes=2` on two machines that share the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1"]
    arguments = [SUPPORT / "ddp_worker.py", json.dumps(overrides), tmp_path]
    machines = [start(arguments, [*torchrun, f"--master_port={port}", f"--node_rank={i}"]) for i in range(2)]
    for machine in machines:
        finish(machine)
    for rank in ranks_that_agree(tmp_path):
        assert rank["images"] == [2] * 4  # half of batch=4


@pytest.mark.slow
def test_resume_with_a_short_last_batch(tmp_path, overrides):
    """A run of one process goes on with two: 4 images a rank, 3 and 1 of them in a batch."""

    trainer = DetectionTrainer(overrides={**overrides, "batch": 6, "nbs": 6, "distill_check": False})
    trainer.add_callback("on_train_epoch_start", stop_at(1))
    with pytest.raises(Interrupt):
        trainer.train()
    saved = torch.load(tmp_path / "ddp/weights/slim.pt")["distiller"]["losses"]
    last = str(tmp_path / "ddp/weights/last.pt")
    launch("ddp_worker.py", {"model": last, "resume": last}, tmp_path)
    for rank in ranks_that_agree(tmp_path):
        assert (rank["start_epoch"], rank["images"]) == (1, [3, 1])
        assert rank["adapters_at_start"] == fingerprint(saved)


@pytest.mark.slow
def test_a_step_of_two_ranks_equals_that_of_one_process(tmp_path, overrides):
    """Student and adapters move alike, and the loss reads alike, be the 8 images one batch or 4 on each rank."""
    launch("ddp_step.py", overrides, tmp_path)
    finish(start([SUPPORT / "ddp_step.py", json.dumps(overrides), tmp_path], []))
    one, *two = (torch.load(tmp_path / f"step{rank}.pt") for rank in (-1, 0, 1))
    assert sum(rank["loss"] for rank in two) / 2 == pytest.approx(one["loss"], rel=1e-4)
    assert two[0]["loss"] != two[1]["loss"]
    for what, unit in (("steps", 0.01), ("moments", 0.1)):  # of a gradient: SGD's rate, and AdamW's share of a new one
        norm = torch.stack([value.norm() for value in one[what].values()]).norm().item()
        assert 1e-3 * unit < norm < 9 * unit, "gradients clipped at 10 would hide their scale"
        for name, expected in one[what].items():
            for rank in two:
                assert (rank[what][name] - expected).abs().max().item() <= 1e-4 * norm, (what, name)


OWN_LOSS = """
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.slim import FEATURE_LOSSES

FEATURE_LOSSES["own"] = FEATURE_LOSSES["mimic"]


class OwnTrainer(DetectionTrainer):
    pass
"""


@pytest.mark.slow
def test_the_launcher_file_carries_teacher_and_loss(tmp_path, checkpoints, overrides, monkeypatch):
    """The worker script that Ultralytics writes for its DDP processes rebuilds a trainer that distils.

    The script runs here as a single process on the CPU: what it loads is what every rank loads. A loss of the user's is
    there, too, where the module of the trainer registers it.
    """
    pytest.importorskip("cloudpickle", reason="Ultralytics installs cloudpickle on the first multi-GPU run")
    pruned = checkpoints / "pruned.pt"
    teacher = YOLO(overrides["Distillation"])  # a module: it must travel as a file
    (tmp_path / "own_loss.py").write_text(OWN_LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FEATURE_LOSSES, "own", FEATURE_LOSSES["mimic"])  # which goes with this test
    options = {"epochs": 1, "distill_check": False, "Distillation": teacher, "loss_type": "cwd+own"}
    trainer = importlib.import_module("own_loss").OwnTrainer(overrides={**overrides, **options})
    trainer.model = trainer.get_model(weights=YOLO(str(pruned)).model, cfg=MINI)
    script = Path(generate_ddp_file(trainer))
    try:
        assert Path(trainer.args.Distillation).is_file()
        run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr[-3000:]
    finally:
        script.unlink()
        script.with_suffix(".pt").unlink()
    folder = tmp_path / "ddp"
    results = (folder / "results.csv").read_text().splitlines()
    row = dict(zip(results[0].split(","), results[1].split(",")))
    assert float(row["train/distill_loss"]) > 0
    arguments = YAML.load(folder / "args.yaml")
    assert (arguments["loss_type"], arguments["Distillation"]) == ("cwd+own", str(folder / "weights/teacher.pt"))
    assert parameters_in(folder / "weights/last.pt") == parameters_in(pruned)
    assert not Path(trainer.args.Distillation).exists()  # moved into the run's folder


def test_an_overflow_on_another_rank_is_one_on_all(monkeypatch):
    """Each rank scales its loss: with one that has backed off alone, averaged gradients would mix two scales."""
    adapter = torch.nn.Linear(2, 2)
    rank = object.__new__(Distiller)
    rank.adapter_lr = 1e-3
    rank.settings = SimpleNamespace(distill_close_mosaic=True)
    rank.trainer = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), lf=lambda epoch: 1.0, epoch=0)
    rank.losses, rank.optimizer = adapter, torch.optim.AdamW(adapter.parameters())
    before = rank.trainer.scaler.get_scale()
    rank.trainer.scaler.scale(adapter(torch.ones(2)).sum()).backward()
    monkeypatch.setattr(distiller, "average_gradients", lambda module: module.weight.grad.fill_(torch.inf))
    weight = adapter.weight.clone()
    rank.step_adapters()
    rank.trainer.scaler.update()
    assert rank.trainer.scaler.get_scale() == before / 2 and torch.equal(adapter.weight, weight)
