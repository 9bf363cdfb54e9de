"""Which students can learn from which teachers: tasks, strides, families, channels."""

import pytest
import torch
import torch.nn.functional as F

from ultralytics import YOLO
from ultralytics.slim.distillation.matching import match_layers
from ultralytics.utils import YAML

from checkpoints import checkpoint
from short_runs import MINI, prepared, train
from task_data import make_task_data

PAIRS = {  # student, teacher, task, loss
    "segment": ("yolov8n-seg.yaml", "yolov8s-seg.yaml", "segment", "cwd+mgd+logit"),
    "pose": ("yolo11n-pose.yaml", "yolov8n-pose.yaml", "pose", "cwd+logit"),
    "obb": ("yolov8n-obb.yaml", "yolo11n-obb.yaml", "obb", "pkd+logit"),
    "p2": ("yolov8n-p2.yaml", "yolov8s-p2.yaml", "detect", "cwd+logit"),
    "p6": ("yolov8n-p6.yaml", "yolov8n-p6.yaml", "detect", "cwd+mimic"),
    "p5 from p6": ("yolov8n.yaml", "yolov8n-p6.yaml", "detect", "cwd+logit"),
    "p5 from p6 at 96": (str(MINI), "yolov8n-p6.yaml", "detect", "cwd+logit"),  # no multiple of the teacher's stride 64
    "p6 from p5": ("yolov8n-p6.yaml", "yolov8n.yaml", "detect", "mgd+logit"),
    "task": ("yolov8n.yaml", "yolov8n-seg.yaml", "detect", "cwd"),  # a teacher of another task, by its features
    "classify": ("yolov8n-cls.yaml", "yolov8s-cls.yaml", "classify", "cwd"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_every_task_distils(tmp_path, name):
    student, teacher, task, loss_type = PAIRS[name]
    data = make_task_data(tmp_path / "data", task)
    nc = {} if task == "classify" else {"nc": len(YAML.load(data)["names"])}
    teacher = checkpoint(teacher, tmp_path / "teacher.pt", **nc)
    imgsz = 96 if "at 96" in name else 128 if "p6" in name else 64
    _, trainer = train(
        data,
        tmp_path,
        weights=student,
        epochs=1,
        imgsz=imgsz,
        batch=2,
        nbs=2,
        Distillation=str(teacher),
        loss_type=loss_type,
    )
    assert float(trainer.tloss["distill_loss"]) > 0 and float(trainer.tloss["loss_ratio"]) > 0


@pytest.mark.slow
def test_grayscale(tiny_data, tmp_path):
    data = tmp_path / "gray.yaml"
    YAML.save(data, {**YAML.load(tiny_data), "channels": 1})
    teacher = checkpoint("yolov8s.yaml", tmp_path / "teacher.pt", channels=1, nc=2)
    _, trainer = train(data, tmp_path, epochs=1, Distillation=str(teacher), loss_type="cwd+logit")
    assert next(trainer.model.parameters()).shape[1] == 1 and float(trainer.tloss["loss_ratio"]) > 0
    with pytest.raises(ValueError, match="the student takes images of 3 channels, the teacher .* of 1"):
        train(tiny_data, tmp_path, epochs=1, Distillation=str(teacher), loss_type="cwd", name="colour")


def test_a_p2_teacher_is_compared_where_the_strides_agree(tmp_path):
    student, teacher = (YOLO(c, verbose=False).model for c in ("yolov8n-p2.yaml", "yolov8s-p2.yaml"))
    pairs = match_layers(student, teacher)
    assert {s.stride for s, _ in pairs} == {4, 8, 16, 32} and all(s.stride == t.stride for s, t in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"multi_scale": 0.5, "imgsz": 128}], ids=["one size", "multi-scale"])
def test_a_teacher_at_a_higher_resolution(tiny_data, tmp_path, options):
    """The teacher sees the loader's large images, the student scaled ones; maps meet on the student's grid."""
    large, seen = 2 * options.get("imgsz", 64), []
    teacher = checkpoint("yolov8s.yaml", tmp_path / "teacher.pt", nc=2)

    def look(trainer):
        d = trainer.slim.distiller
        d.teacher.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
        trainer.model.register_forward_pre_hook(
            lambda m, x: seen.append(x[0]["img"]) if isinstance(x[0], dict) else None
        )

    _, trainer = train(
        tiny_data, tmp_path, on_train_start=look, Distillation=str(teacher), loss_type="cwd+mgd", distill_imgsz=large,
        close_mosaic=1, val=True, **options,
    )  # fmt: skip
    pairs = [(s, t) for s, t in zip(seen[::2], seen[1::2]) if len(s) == len(t)]
    assert len(pairs) == len(seen) / 2 == 4 and float(trainer.tloss["loss_ratio"]) > 0
    assert {t.shape[-1] for _, t in pairs} == {large} and trainer.args.imgsz == large // 2
    assert trainer.test_loader.dataset.imgsz == large // 2
    for student, teacher in pairs:
        if not options:
            assert torch.equal(student, F.interpolate(teacher, size=student.shape[-2:], mode="area"))
        else:
            assert student.shape[-1] < large


def test_a_size_that_is_the_teachers_is_trained_too(tiny_data, tmp_path, teacher_path, monkeypatch):
    """Multi-scale training may choose just the teacher's size: the student then sees what the teacher sees."""
    options = dict(Distillation=str(teacher_path), loss_type="cwd", distill_imgsz=96, multi_scale=0.5, imgsz=64)
    trainer = prepared(tiny_data, tmp_path, **options)
    for size in (32, 64, 96):
        monkeypatch.setattr("random.randrange", lambda low, high, size=size: size)
        batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
        assert batch["img"].shape[-1] == size and batch["img_teacher"].shape[-1] == 96
        assert torch.equal(batch["img"], batch["img_teacher"]) == (size == 96)
    assert trainer.args.multi_scale == 0.5


def test_a_classifiers_teacher_sees_the_images_as_the_student_does(tmp_path):
    """Its images come from the loader as numbers in 0..1, and multi_scale= does nothing to them."""
    data = make_task_data(tmp_path / "data", "classify")
    teacher = checkpoint("yolov8s-cls.yaml", tmp_path / "teacher.pt")
    options = dict(Distillation=str(teacher), loss_type="cwd", distill_imgsz=128, batch=2, multi_scale=0.5)
    trainer = prepared(data, tmp_path, weights="yolov8n-cls.yaml", **options)
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    assert batch["img_teacher"].max() > 0.5 and batch["img_teacher"].shape[-1] == 128
    assert torch.equal(batch["img"], F.interpolate(batch["img_teacher"], size=(64, 64), mode="area"))


def test_the_teachers_size_is_checked(tiny_data, tmp_path, teacher_path):
    options = dict(Distillation=str(teacher_path), epochs=1)
    with pytest.raises(ValueError, match="at least the student's imgsz=64 and a multiple of the stride 32, got 32"):
        train(tiny_data, tmp_path, loss_type="cwd", distill_imgsz=32, **options)
    with pytest.raises(ValueError, match="distill_imgsz= cannot be combined with loss_type=logit"):
        train(tiny_data, tmp_path, loss_type="cwd+logit", distill_imgsz=128, **options)
