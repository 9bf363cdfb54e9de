"""What only a GPU shows: real mixed precision, real memory, and models that cross devices."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import prune_model
from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.pruning.prune import prune_model as prune
from ultralytics.slim.pruning.select.stopwatch import Stopwatch
from ultralytics.utils.torch_utils import unwrap_model

from places import ROOT
from short_runs import SHORT, Interrupt, hooks_in, losses_of, stop_at, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU; run it where there is one")
CPU, FP32, BF16, FP16 = ({"device": d, "amp": amp} for d, amp in (("cpu", False), (0, False), (0, "bf16"), (0, True)))
PLACES = {"cpu": CPU, "fp32": FP32, "fp16": FP16}


@pytest.fixture(autouse=True)
def no_amp_check(monkeypatch):
    """Ultralytics downloads a model to see whether this GPU computes in half precision; here it is to be taken so."""
    monkeypatch.setattr("ultralytics.engine.trainer.check_amp", lambda model: True)


@pytest.fixture
def image(tiny_data) -> str:
    return str(next((tiny_data.parent / "images/val").iterdir()))


@pytest.mark.parametrize("loss_type", ["cwd", "pkd", "mimic", "mgd", "logit", "mgd+logit"])
def test_the_loss_is_that_of_the_cpu(tiny_data, tmp_path, teacher_path, loss_type):
    """Of the first batch: random masks of mgd aside, only rounding differs."""
    options = dict(Distillation=str(teacher_path), loss_type=loss_type, epochs=1)
    first = {name: losses_of(tiny_data, tmp_path / name, **options, **where)[1] for name, where in PLACES.items()}
    assert first["fp32"][0] == pytest.approx(first["cpu"][0], rel=0.1 if "mgd" in loss_type else 0.01)
    assert first["fp16"][0] == pytest.approx(first["cpu"][0], rel=0.1)
    assert all(math.isfinite(x) for losses in first.values() for x in losses)


def test_half_precision_trains_student_and_adapters_and_leaves_a_stock_checkpoint(tiny_data, tmp_path, teacher_path):
    before = {}

    def note(trainer):
        distiller = trainer.slim.distiller
        assert {p.device.type for p in distiller.teacher.parameters()} == {"cuda"} and not distiller.teacher.training
        before.update({k: v.clone() for k, v in distiller.losses.state_dict().items()})

    options = dict(Distillation=str(teacher_path), loss_type="mgd+cwd+sparse", sparsity=0.5, epochs=6, val=True)
    model, trainer = train(tiny_data, tmp_path, on_train_start=note, **options, **FP16)
    assert trainer.amp and trainer.scaler.is_enabled() and trainer.scaler.get_scale() > 1
    after = trainer.slim.distiller.losses.state_dict()
    assert any(not torch.equal(v, before[k]) for k, v in after.items())
    assert all(v.isfinite().all() for v in after.values())
    assert trainer.slim.moved > 0 and not hooks_in(unwrap_model(trainer.model))
    saved = torch.load(trainer.last, weights_only=False, map_location="cpu")
    assert type(saved["model"]).__name__ == "DetectionModel" and not hooks_in(saved["model"])
    assert all(p.isfinite().all() for p in saved["model"].parameters())


def test_the_penalty_moves_gamma_as_far_as_on_the_cpu(tiny_data, tmp_path):
    """In bfloat16 nothing is scaled, so no step is left out."""
    options = dict(loss_type="sparse", sparsity=0.3, epochs=3)
    places = enumerate((CPU, FP32, BF16))
    moved = [train(tiny_data, tmp_path / str(i), **options, **where)[1].slim.moved for i, where in places]
    assert moved[0] > 0 and moved[1:] == pytest.approx([moved[0]] * 2, rel=1e-3)


def test_a_run_in_half_precision_is_resumed(tiny_data, tmp_path, teacher_path):
    options = dict(Distillation=str(teacher_path), loss_type="mgd+sparse", sparsity=0.5, epochs=4)
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), **options, **FP16)
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.train(resume=True)
    assert model.trainer.start_epoch == 2 and model.trainer.epoch == 3 and model.trainer.amp
    assert model.trainer.slim.moved > 0


def test_out_of_memory_halves_the_batch_and_the_run_goes_on(tiny_data, tmp_path, teacher_path):
    """The GPU is made so small that half the batch fits, with the teacher, and the whole does not."""
    options = dict(Distillation=str(teacher_path), loss_type="mgd", imgsz=640, epochs=2, device=0)
    peaks = []
    for batch in (4, 8):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        train(tiny_data, tmp_path / str(batch), batch=batch, **options)
        peaks.append(torch.cuda.max_memory_reserved())
    assert peaks[1] > 1.2 * peaks[0]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(sum(peaks) / 2 / total)
    try:
        _, trainer = train(tiny_data, tmp_path / "small", batch=8, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert trainer.batch_size == 4 and trainer.epoch == 1


def test_a_teacher_that_lies_on_the_gpu_and_a_student_that_predicted_there(tiny_data, tmp_path, teacher_path, image):
    teacher, student = YOLO(teacher_path), YOLO(teacher_path)
    for model in (teacher, student):
        model.predict(image, imgsz=64, device=0, verbose=False)
        model.model.to("cuda")
    options = dict(Distillation=teacher, loss_type="cwd", epochs=1)
    trainer, losses = losses_of(tiny_data, tmp_path, weights=student, **options, **FP16)
    assert all(math.isfinite(x) for x in losses) and trainer.device.type == "cuda"


def test_a_model_on_the_gpu_is_pruned_as_on_the_cpu(tiny_data, tmp_path, teacher_path):
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for device in ("cpu", "cuda"):
        yolo = YOLO(teacher_path)
        yolo.model.to(device)
        prune(yolo, tmp_path / f"{device}.pt", flops=0.5, images=images.to(device), imgsz=64)
        assert {p.device.type for p in yolo.model.parameters()} == {device}
    with torch.no_grad():
        one, other = (YOLO(tmp_path / f"{d}.pt").model.float().eval()(images)[0] for d in ("cpu", "cuda"))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_latency_target_is_met_on_the_gpu(tmp_path, teacher_path):
    """With a batch that keeps the GPU busy: single small images take as long as it takes to start their kernels."""
    watch = Stopwatch(YOLO(teacher_path).model.float(), "torch", 640, 32, 0)
    wanted = 0.7 * watch.original_ms
    result = prune(YOLO(teacher_path), tmp_path / "p.pt", latency_ms=wanted, batch=32, device=0, imgsz=640)
    assert result.latency["device"] == "cuda:0" and 0.8 * wanted < result.latency["after_ms"] < 1.1 * wanted


def test_every_step_of_prune_model_on_the_gpu(tiny_data, tmp_path, teacher_path, image):
    """One model through all methods, as in a notebook, where it stays on the GPU between them."""
    common = {"data": str(tiny_data), **SHORT, **FP16, "project": str(tmp_path), "epochs": 1}
    model = PruneModel(teacher_path)
    model.predict(image, save_dir=tmp_path / "drawn", device=0, imgsz=64)
    model.sparse_train(tmp_path / "sparse.pt", **common)
    model.prune(0.5, tmp_path / "prune.pt", images=str(tiny_data), imgsz=64)
    model.predict(image, save_dir=tmp_path / "drawn", device=0, imgsz=64)
    seen = {"imgsz": 320, "iterations": 3, "device": 0}
    drawn = draw_dataset(tmp_path / "drawn/diagram", train=12, val=1) / "images/train"
    diagrams = PruneModel(ROOT / "weights/diagram-yolov8n.pt")
    diagrams.prune(flops=0.5, images=str(drawn), imgsz=320, save_dir=tmp_path / "small.pt")
    recovered = diagrams.recover(str(drawn), save_dir=tmp_path / "recovered.pt", **seen)
    assert recovered.after.value >= recovered.before.value
    model.train(tmp_path / "retrain.pt", **common)
    model.distill(str(teacher_path), "mgd", tmp_path / "distill.pt", **common)
    names = {"whole": teacher_path, "small": tmp_path / "distill.pt"}
    tables = [PruneModel.compare(names, str(tiny_data), 64, device) for device in ("cpu", 0)]
    found = [[row["map50_95"] for row in table.to_dicts()] for table in tables]
    assert found[1] == pytest.approx(found[0], abs=0.02) and torch.cuda.get_device_name(0) in str(tables[1])
    assert Path(model.export("torchscript", imgsz=64, device=0)).is_file()


def test_the_pipeline_on_the_gpu(tiny_data, tmp_path, teacher_path):
    given = {"weights": teacher_path, "data": str(tiny_data), **SHORT, **FP16, "epochs": 2, "format": "torchscript"}
    table = prune_model.compress(str(tmp_path / "runs"), "run", loss_type="mgd", **given)
    assert torch.cuda.get_device_name(0) in str(table)
    assert torch.cuda.get_device_name(0) in (tmp_path / "runs/run/report.md").read_text()
    estimate = prune_model.compress(str(tmp_path / "runs"), dry_run=True, loss_type="mgd", **given)
    assert estimate.seconds > 0
