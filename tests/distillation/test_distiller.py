"""The distiller on one batch of a run that was only set up: scale, schedule, layers, options, and the teacher."""

import pytest
import torch
from torch import nn

from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.distillation.distiller import LOSS_ITEMS, batch_factor

from checkpoints import checkpoint
from short_runs import MINI, prepared
from task_data import make_task_data


def first_batch(trainer):
    return trainer.preprocess_batch(next(iter(trainer.train_loader)))  # augmented anew each time


def repeat(batch, times):
    """Return the batch with its images and labels repeated."""
    n = len(batch["img"])
    repeated = {k: torch.cat([batch[k]] * times) for k in ("img", "cls", "bboxes") if k in batch}
    if "batch_idx" in batch:
        repeated["batch_idx"] = torch.cat([batch["batch_idx"] + i * n for i in range(times)])
    return {**batch, **repeated}


def distil(trainer, batch, epoch=0, epoch_progress=0.0):
    """Return the distillation loss of one batch as the trainer gets it, and `loss_items`' two figures of it."""
    distiller, trainer.epoch = trainer.slim.distiller, epoch
    distiller.start_epoch()
    trainer.model.train()
    torch.manual_seed(0)
    loss, trainer.loss_items = trainer.model(batch)
    trainer.loss = loss.sum()
    try:
        return distiller.loss(batch, epoch_progress).item(), *(trainer.loss_items[name].item() for name in LOSS_ITEMS)
    finally:
        distiller.end_batches()


@pytest.fixture(scope="module")
def trainer(tiny_data, teacher_path, tmp_path_factory):
    """A run with all that a user may set about the losses set."""
    options = dict(distill_layers=[2, 5], distill_schedule="epoch", distill_tau=2.0, distill_alpha=1e-3)
    options |= dict(distill_mask=0.3, Distillation=str(teacher_path), loss_type="cwd+mgd")
    return prepared(tiny_data, tmp_path_factory.mktemp("distiller"), **options)


@pytest.mark.slow
def test_settings_reach_layers_and_losses(tiny_data, tmp_path, teacher_path, trainer):
    d = trainer.slim.distiller
    assert [(s.index, t.index) for s, t in d.pairs] == [(2, 2), (5, 5)] and d.student_taps.layers == (2, 5)
    assert [loss.tau for loss in d.losses["cwd"].losses] == [2.0, 2.0]
    assert [(loss.alpha, loss.mask_ratio) for loss in d.losses["mgd"].losses] == [(1e-3, 0.3)] * 2
    logit = prepared(tiny_data, tmp_path, Distillation=str(teacher_path), loss_type="logit", distill_tau=3.0)
    assert logit.slim.distiller.losses["logit"].tau == 3.0


def test_the_schedule_is_the_one_that_was_asked_for(trainer):
    batch = first_batch(trainer)
    start, half = distil(trainer, batch)[1], distil(trainer, batch, epoch_progress=0.5)[1]
    assert half == pytest.approx(0.55 * start, rel=1e-3)  # the cosine from 1 to 0.1, in each epoch
    assert distil(trainer, batch, epoch=1)[1] == pytest.approx(start, rel=1e-3)


def test_the_teacher_is_fused_and_runs_no_deeper_than_needed(trainer):
    teacher, ran = trainer.slim.distiller.teacher, []
    assert not any(isinstance(m, nn.BatchNorm2d) for m in teacher.modules())
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m.i)) for m in teacher.model]
    distil(trainer, first_batch(trainer))
    for hook in hooks:
        hook.remove()
    assert ran == list(range(6))  # layer 5 is the deepest that is compared, the head is 9


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_the_loss_grows_with_the_batch_where_the_tasks_own_does(tiny_data, tmp_path, teacher_path, trainer, task):
    """A batch of repeated images, which leaves the means over images as they are."""
    if task == "classify":
        data = make_task_data(tmp_path / "data", task)
        teacher = checkpoint("yolov8s-cls.yaml", tmp_path / "teacher.pt")
        options = dict(weights="yolov8n-cls.yaml", batch=2, nbs=2, Distillation=str(teacher), loss_type="cwd")
        trainer = prepared(data, tmp_path, **options)
    once, found = first_batch(trainer), []
    for times in (1, 4):
        batch = repeat(once, times)
        loss, item, ratio = distil(trainer, batch)
        factor = len(batch["img"]) if task == "detect" else 1
        assert loss == pytest.approx(factor * item, rel=1e-5) and item > 0
        assert ratio == pytest.approx(loss / trainer.loss.item(), rel=1e-4)
        found.append((item, ratio))
    if task == "classify":
        assert found[1] == pytest.approx(found[0], rel=1e-3)
    else:  # masks are drawn anew, and with next to no match the detection loss is a sum
        assert found[1][0] == pytest.approx(found[0][0], rel=0.1)


def test_rtdetr_does_not_multiply_by_the_batch(trainer):
    assert batch_factor(RTDETRDetectionLoss(nc=2), 4) == 1 and batch_factor(trainer.model.criterion, 4) == 4


def test_a_module_without_yaml_teaches_too(tiny_data, tmp_path):
    teacher = DetectionModel(MINI, nc=2, verbose=False)
    del teacher.yaml
    d = prepared(tiny_data, tmp_path, Distillation=teacher, loss_type="cwd").slim.distiller
    assert len(d.pairs) == 2
