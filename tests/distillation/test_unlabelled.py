"""Images without labels in a training: how they are mixed in, what they teach, and what is refused."""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from ultralytics.slim.distillation.distiller import LOSS_ITEMS
from ultralytics.slim.distillation.unlabelled import UNLABELLED
from ultralytics.slim.errors import SlimError

from checkpoints import checkpoint
from short_runs import Interrupt, prepared, stop_at, train
from task_data import make_task_data

ITEMS = ("box_loss", "cls_loss", "dfl_loss")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eleven images, with labels beside one of them that must not be read, and one file that is no image."""
    folder = tmp_path_factory.mktemp("photos") / "images"
    folder.mkdir()
    for number in range(11):
        random = np.random.default_rng(number)
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (90, 120, 3), dtype=np.uint8))
    (folder / "notes.txt").write_text("no image\n")
    labels = folder.parent / "labels"
    labels.mkdir()
    (labels / "0.txt").write_text("nonsense\n")
    return folder


@pytest.fixture(scope="module")
def taught(teacher_path, photos):
    return {"Distillation": str(teacher_path), "loss_type": "logit", "unlabelled": str(photos)}


def gradients(trainer, batch):
    """Return (the gradients of one batch as the trainer sums its loss, that loss, the shown parts of it)."""
    trainer.model.zero_grad()
    trainer.epoch = 0
    trainer.slim.start_epoch()
    trainer.model.train()
    trainer.loss, trainer.loss_items = trainer.model(batch)
    trainer.loss = trainer.loss.sum()
    trainer.loss += trainer.slim.distillation_loss(batch, 0.0)
    trainer.loss.backward()
    trainer.slim.end_batches()
    return [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None], trainer.loss, trainer.loss_items


def test_every_image_comes_once_an_epoch_and_labelled_batches_first(tiny_data, tmp_path, taught, photos, log):
    trainer = prepared(tiny_data, tmp_path, **taught)
    loader, trainer.epoch = trainer.train_loader, 0
    batches = list(loader)
    kinds = [UNLABELLED in batch for batch in batches]
    labelled = len(loader.labelled)
    assert len(loader) == len(batches) == labelled + 3 and sum(kinds) == 3 and not kinds[0]
    assert all(set(batch) - {UNLABELLED} == set(batches[0]) for batch in batches)
    for batch in batches:
        if UNLABELLED in batch:
            assert batch["img"].shape == (4, 3, 64, 64) and batch["img"].dtype == torch.uint8
            assert [len(batch[key]) for key in ("cls", "bboxes", "batch_idx")] == [0, 0, 0]
    assert f"11 unlabelled images beside {len(loader.dataset)} labelled ones, 3 of {len(loader)} batches" in log.text
    assert not list(photos.parent.rglob("*.cache"))


def test_the_order_is_that_of_the_epoch_and_the_seed(tiny_data, tmp_path, taught):
    def unlabelled(trainer, epoch):
        trainer.epoch = epoch
        return torch.cat([batch["img"] for batch in trainer.train_loader if UNLABELLED in batch])

    once, again = (prepared(tiny_data, tmp_path / str(number), **taught) for number in range(2))
    first = unlabelled(once, 0)
    assert torch.equal(first, unlabelled(again, 0))
    assert not torch.equal(first, unlabelled(again, 1))


def test_an_unlabelled_batch_teaches_what_the_teacher_says_and_nothing_else(tiny_data, tmp_path, taught):
    trainer = prepared(tiny_data, tmp_path, **taught)
    trainer.epoch = 0
    batches = list(trainer.train_loader)
    labelled = trainer.preprocess_batch(next(batch for batch in batches if UNLABELLED not in batch))
    unlabelled = trainer.preprocess_batch(next(batch for batch in batches if UNLABELLED in batch))
    _, _, before = gradients(trainer, labelled)
    found, loss, items = gradients(trainer, unlabelled)
    distiller = trainer.slim.distiller
    trainer.model.zero_grad()
    distiller.start_epoch()
    trainer.model.train()
    trainer.model(unlabelled)
    alone = distiller._per_image(unlabelled["img"], 0.0) * len(unlabelled["img"])
    alone.backward()
    distiller.end_batches()
    expected = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    assert loss.item() == pytest.approx(alone.item(), rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(found, expected))
    assert [items[name] for name in ITEMS] == [before[name] for name in ITEMS]
    assert items[LOSS_ITEMS[1]] == before[LOSS_ITEMS[1]] and items[LOSS_ITEMS[0]] != before[LOSS_ITEMS[0]]


def test_training_images_stay_labelled(tiny_data, tmp_path, taught, photos, log):
    labelled = tiny_data.parent / "images/train"
    prepared(tiny_data, tmp_path, **{**taught, "unlabelled": [str(labelled), str(photos)]})
    assert "11 unlabelled images beside 8 labelled ones" in log.text
    with pytest.raises(SlimError, match="all images there are training images"):
        prepared(tiny_data, tmp_path, **{**taught, "unlabelled": str(labelled)})


def test_a_folder_that_is_called_by_a_number_is_one(tiny_data, tmp_path, taught, photos, monkeypatch, log):
    """As `yolo` hands it over; what cannot be read in it is told by the argument's name."""
    shutil.copytree(photos, tmp_path / "2024")
    (tmp_path / "2024/broken.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    for given in (2024, [2024]):
        trainer = prepared(tiny_data, tmp_path, **{**taught, "unlabelled": given})
        assert len(trainer.train_loader.images) == 11 and "unlabelled: 1 of 12 cannot be read" in log.text


def test_images_of_another_kind_are_told(tiny_data, tmp_path, taught, log):
    """What this hardly trained teacher sees in noise is nothing."""
    prepared(tiny_data, tmp_path, **{**taught, "distill_check": True})
    assert "the teacher detects something in 0 of 11 images only" in log.text


def test_a_teacher_that_is_the_student_teaches_nothing_on_them(tiny_data, tmp_path, photos):
    weights = checkpoint("yolov8n.yaml", tmp_path / "same.pt", nc=2)
    options = {"Distillation": str(weights), "loss_type": "logit", "unlabelled": [photos]}
    trainer = prepared(tiny_data, tmp_path, weights=weights, **options)
    trainer.epoch = 0
    batch = trainer.preprocess_batch(next(batch for batch in trainer.train_loader if UNLABELLED in batch))
    distiller = trainer.slim.distiller
    distiller.start_epoch()
    trainer.model.eval()  # BatchNorm's own statistics, as the teacher's
    trainer.model.model[-1].train()
    trainer.model(batch["img"])
    assert distiller._per_image(batch["img"], 0.0).item() == pytest.approx(0.0, abs=1e-4)
    distiller.end_batches()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_a_training_of_each_task_that_finds_boxes(tmp_path, task, photos, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)  # batches are drawn by other means
    suffix = {"detect": "", "segment": "-seg"}.get(task, f"-{task}")
    data = make_task_data(tmp_path / "data", task)
    teacher = checkpoint(f"yolov8n{suffix}.yaml", tmp_path / "teacher.pt", nc=1 if task == "pose" else 2)
    options = {"Distillation": str(teacher), "loss_type": "cwd+logit", "unlabelled": str(photos), "plots": True}
    _, trainer = train(data, tmp_path, f"yolo11n{suffix}.yaml", batch=2, **options)
    rows = (trainer.save_dir / "results.csv").read_text().splitlines()
    assert len(rows) == 3 and "nan" not in rows[-1] and trainer.best.exists()
    assert list(trainer.save_dir.glob("train_batch*.jpg")), "with what has no label"


@pytest.mark.slow
def test_a_resumed_training_has_them_again(tiny_data, tmp_path, taught, photos, monkeypatch):
    """From another folder than that in which teacher and images were named."""
    monkeypatch.chdir(photos.parent)
    options = {**taught, "Distillation": os.path.relpath(taught["Distillation"]), "unlabelled": [photos.name]}
    with pytest.raises(Interrupt):
        train(tiny_data, tmp_path, on_train_epoch_start=stop_at(2), epochs=3, **options)
    monkeypatch.chdir(tmp_path)
    _, resumed = train(tiny_data, tmp_path, weights=next(tmp_path.rglob("last.pt")), resume=True)
    assert resumed.args.unlabelled == [str(photos)] and resumed.train_loader.added == 3
    assert len((resumed.save_dir / "results.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"unlabelled": "no/such/folder"}, "no such folder"),
        ({"loss_type": "sparse", "Distillation": None}, "a teacher alone can teach"),
        ({"distill_imgsz": 128, "loss_type": "cwd"}, "distill_imgsz= cannot be combined"),
        ({"distill_close_mosaic": False, "close_mosaic": 1}, "needs distill_close_mosaic=True"),
        ({"unlabelled": 2024}, "unlabelled: 2024: no such folder of images"),
        ({"unlabelled": 0.5}, "must be a folder of images"),
        ({"unlabelled": np.zeros((2, 8, 8, 3), np.uint8)}, "must be a folder of images"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tiny_data, tmp_path, taught, options, told):
    with pytest.raises(SlimError, match=told):
        train(tiny_data, tmp_path, **{**taught, **options})
    assert not (tmp_path / "run").exists()


def test_models_without_boxes_at_anchor_points_are_refused(tmp_path, photos):
    data = make_task_data(tmp_path / "data", "classify")
    teacher = checkpoint("yolov8s-cls.yaml", tmp_path / "teacher.pt")
    with pytest.raises(SlimError, match="recover teaches classifiers"):
        options = {"Distillation": str(teacher), "loss_type": "cwd", "unlabelled": str(photos)}
        prepared(data, tmp_path, weights="yolov8n-cls.yaml", batch=2, **options)
