"""Distillation over two processes with gloo, launched by torch's own launcher, and through Ultralytics' worker file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim import distiller
from ultralytics.slim.distiller import Distiller
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.utils.dist import generate_ddp_file

HERE = Path(__file__).resolve().parent
OPTIONS = dict(imgsz=64, epochs=2, batch=4, nbs=4, workers=0, amp=False, plots=False, device="cpu", verbose=False)
OPTIONS |= dict(optimizer="SGD", lr0=0.01, warmup_epochs=0, val=False, distill_check=False)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Paths of a yolov8n teacher of two classes and of the same model pruned."""
    folder = tmp_path_factory.mktemp("ddp")
    model = YOLO("yolov8n.yaml", verbose=False)
    model.model.args = {"imgsz": 64}
    model.save(folder / "teacher.pt")
    prune_model(model, folder / "pruned.pt", factor=0.4, score="l1")
    return folder


def launch(arguments: list[str], processes: int = 2, **env) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **env}
    return subprocess.run(command + arguments, capture_output=True, text=True, timeout=300, env=env)


def test_each_rank_distils_and_all_agree(tiny_data, tmp_path, checkpoints):
    overrides = {
        **OPTIONS,
        "model": str(checkpoints / "pruned.pt"),
        "data": str(tiny_data),
        "project": str(tmp_path),
        "name": "ddp",
        "Distillation": str(checkpoints / "teacher.pt"),
        "loss_type": "cwd+mgd+sparse",
    }
    run = launch([str(HERE / "ddp_worker.py"), json.dumps(overrides), str(tmp_path)])
    assert run.returncode == 0, run.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)]
    pruned = YOLO(str(checkpoints / "pruned.pt")).model
    # The pruned widths are kept; only the data's two classes replace the YAML's eighty.
    kept = sum(p.numel() for p in pruned.parameters())
    kept -= sum((80 - 2) * (branch[-1].in_channels + 1) for branch in pruned.model[-1].cv3)
    for rank in ranks:
        assert rank["ddp"] == "DistributedDataParallel"
        assert len(rank["losses"]) == 4 and all(x > 0 for x in rank["losses"])
        assert rank["teacher"] == rank["teacher_at_end"]
        assert rank["adapters_at_start"] != rank["adapters_at_end"]
        assert rank["hooks"] == 0
        assert rank["parameters"] == kept
    for what in ("teacher", "adapters_at_start", "adapters_at_end", "parameters", "weights"):
        assert ranks[0][what] == ranks[1][what], what
    assert ranks[0]["losses"] != ranks[1]["losses"]  # each rank saw its own images


def test_the_launcher_file_carries_teacher_and_loss(tiny_data, tmp_path, checkpoints):
    """The worker script that Ultralytics writes for its DDP processes rebuilds a trainer that distils.

    The script runs here as a single process on the CPU: what it loads is what every rank loads.
    """
    pytest.importorskip("cloudpickle", reason="Ultralytics installs cloudpickle on the first multi-GPU run")
    from ultralytics.models.yolo.detect import DetectionTrainer

    teacher = YOLO(str(checkpoints / "teacher.pt"))
    trainer = DetectionTrainer(
        overrides={
            **OPTIONS,
            "epochs": 1,
            "model": str(checkpoints / "pruned.pt"),
            "data": str(tiny_data),
            "project": str(tmp_path),
            "name": "launched",
            "Distillation": teacher,  # a module: it must travel as a file
            "loss_type": "cwd",
        }
    )
    trainer.model = trainer.get_model(weights=YOLO(str(checkpoints / "pruned.pt")).model, cfg="yolov8n.yaml")
    script = Path(generate_ddp_file(trainer))
    try:
        assert Path(trainer.args.Distillation).is_file()
        run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr[-3000:]
    finally:
        script.unlink()
        script.with_suffix(".pt").unlink()
    results = next(tmp_path.glob("launched*/results.csv")).read_text().splitlines()
    row = dict(zip(results[0].split(","), results[1].split(",")))
    assert float(row["train/distill_loss"]) > 0
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"{Path(trainer.args.Distillation).name}"))


def test_an_overflow_on_another_rank_is_one_on_all(monkeypatch):
    """Each rank scales its loss: with one that has backed off alone, averaged gradients would mix two scales."""
    adapter = torch.nn.Linear(2, 2)
    rank = object.__new__(Distiller)
    rank.settings = SimpleNamespace(distill_close_mosaic=True)
    rank.trainer = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), lf=lambda epoch: 1.0, epoch=0)
    rank.losses, rank.optimizer = adapter, torch.optim.AdamW(adapter.parameters())
    before = rank.trainer.scaler.get_scale()
    rank.trainer.scaler.scale(adapter(torch.ones(2)).sum()).backward()
    monkeypatch.setattr(distiller, "_average_gradients", lambda module: module.weight.grad.fill_(torch.inf))
    weight = adapter.weight.clone()
    rank.step_adapters()
    rank.trainer.scaler.update()
    assert rank.trainer.scaler.get_scale() == before / 2 and torch.equal(adapter.weight, weight)


def test_gradients_over_two_ranks_equal_those_of_one_process(tmp_path):
    """Averaged over ranks that each see half the batch, times the number of ranks as the trainer scales the loss."""
    run = launch([str(HERE / "ddp_gradients.py"), str(tmp_path)])
    assert run.returncode == 0, run.stderr[-3000:]
    two = [torch.load(tmp_path / f"two{i}.pt") for i in range(2)]
    one = torch.load(tmp_path / "one.pt")
    for name, expected in one.items():
        scale = expected.abs().max().item() + 1e-12
        for rank in two:
            assert (rank[name] - expected).abs().max().item() / scale < 1e-4, name
