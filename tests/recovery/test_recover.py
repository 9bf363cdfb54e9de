"""Recovery without labels: better or as it was, the same after an interruption, clear words for bad input."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.compat import has_bfloat16
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.errors import InputError, KindError, MissingFileError
from ultralytics.slim.loading import load_checkpoint, read_checkpoint
from ultralytics.slim.recovery import recover as module
from ultralytics.slim.recovery.options import RecoverOptions
from ultralytics.slim.recovery.recover import recover_model
from ultralytics.slim.stored import plain_copy

from photos import draw_photos
from places import ROOT
from random_models import randomised, seeing
from short_runs import MINI

pytestmark = pytest.mark.filterwarnings("error:Converting a tensor")  # a step's loss, shown in the bar
TEACHER = ROOT / "weights/diagram-yolov8n.pt"
SHORT = {"imgsz": 160, "batch": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return draw_photos(tmp_path_factory, 40)


@pytest.fixture(scope="module")
def pruned(images, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pruned") / "prune.pt"
    PruneModel(TEACHER).prune(flops=0.25, images=str(images), imgsz=160, save_dir=path)
    return path


@pytest.fixture
def mini() -> YOLO:
    """A small network whose scores are lifted, as if it saw something."""
    yolo = randomised(str(MINI))
    for branch in yolo.model.model[-1].cv3:
        branch[-1].bias.data[0] += 12
    return yolo


@pytest.fixture
def noise() -> list[np.ndarray]:
    dice = np.random.default_rng(0)
    return [dice.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(12)]


@pytest.mark.parametrize("lr0", ["auto", 1e-4])
def test_the_maps_of_features_are_fitted_whatever_the_learning_rate(mini, noise, tmp_path, lr0):
    """Nothing of a model's features is missing from its own."""
    settings = RecoverOptions.read({"lr0": lr0, "imgsz": 64, "device": "cpu"})
    models = [plain_copy(mini.model).float().eval() for _ in range(2)]
    recovering = module._Recovering(*models, noise, settings, tmp_path / "r.pt")
    recovering.gap.attach()
    with torch.no_grad():
        gaps = [float(recovering.gap()) for _ in recovering._passes(*models)]
    recovering.gap.detach()
    assert gaps and max(gaps) < 0.01


@pytest.mark.slow
def test_it_agrees_more_and_keeps_its_widths(pruned, tmp_path):
    images = draw_dataset(tmp_path / "drawn/diagram", train=60, val=1) / "images/train"
    model = PruneModel(pruned)
    recovered = model.recover(str(images), teacher=TEACHER, save_dir=tmp_path / "r.pt", iterations=60, **SHORT)
    assert recovered.after.value > recovered.before.value + 0.02 and recovered.step > 0
    assert model.weights == str(tmp_path / "r.pt") and not list(tmp_path.glob(".*"))
    before, after = (load_checkpoint(path)[0] for path in (pruned, tmp_path / "r.pt"))
    assert [p.shape for p in before.parameters()] == [p.shape for p in after.parameters()]
    record = read_checkpoint(tmp_path / "r.pt")["slim"]
    assert record["widths"] and record["recovery"]["agreement"][1] == recovered.after.value
    assert "agreement mAP50-95" in str(recovered)


def test_it_is_never_made_worse(images, pruned, tmp_path):
    """A rate that destroys: what it came with is saved."""
    recovered = recover_model(
        YOLO(pruned), YOLO(TEACHER), str(images), tmp_path / "r.pt", iterations=6, lr0=0.3, **SHORT
    )
    assert recovered.step == 0 and recovered.after == recovered.before
    before, after = (load_checkpoint(path)[0].state_dict() for path in (pruned, tmp_path / "r.pt"))
    assert all(before[name].equal(after[name]) for name in before)
    assert "nothing was better" in str(recovered)


@pytest.mark.slow
def test_interrupted_and_gone_on_with_it_ends_the_same(images, tmp_path, monkeypatch):
    teacher, cut = seeing(images, tmp_path / "teacher.pt"), tmp_path / "pruned.pt"
    PruneModel(teacher).prune(flops=0.3, images=str(images), imgsz=160, repair="fold,bn", save_dir=cut)

    def recover(name, iterations=12, **more):
        settings = {"iterations": iterations, "lr0": 3e-4, **SHORT, **more}
        return recover_model(YOLO(cut), YOLO(teacher), str(images), tmp_path / f"{name}.pt", **settings)

    assert recover("whole").step > 0, "it learned nothing"
    step, count = module._Recovering._one_step, []

    def stopped(self, batch):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(module._Recovering, "_one_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        recover("cut")
    assert (tmp_path / "cut.pt").is_file(), "the best so far is kept"
    with pytest.raises(InputError, match=r"had .*iterations=12 \(now 13\)"):
        recover("cut", iterations=13, resume=True)
    recover("cut", resume=True)
    whole, again = (load_checkpoint(tmp_path / f"{name}.pt")[0].state_dict() for name in ("whole", "cut"))
    assert all(whole[name].equal(again[name]) for name in whole)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(InputError, match="no interrupted recovery"):
        recover("cut", resume=True)


@pytest.mark.slow
def test_what_was_interrupted_over_its_own_file_goes_on_with_the_same_weights(mini, noise, tmp_path, monkeypatch):
    """They are known by what they are, not by an agreement, which is another on another device."""
    path, other = tmp_path / "r.pt", tmp_path / "other.pt"
    mini.save(path)
    randomised(str(MINI), seed=1).save(other)
    before = path.read_bytes()

    def recover(weights, **more):
        settings = {"iterations": 4, "imgsz": 64, "batch": 2, "device": "cpu", **more}
        return recover_model(YOLO(weights), mini, noise, path, **settings)

    def stop(recovering):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module._Recovering, "_measure", stop)
        with pytest.raises(KeyboardInterrupt):
            recover(path)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="had start="):
        recover(other, resume=True)
    measured = module.Reference.agreement
    monkeypatch.setattr(
        module.Reference, "agreement", lambda *a: replace(measured(*a), value=measured(*a).value + 1e-7)
    )
    assert recover(path, resume=True).steps == 4 and path.read_bytes() != before


def test_unreadable_images_are_left_out_and_named(images, pruned, tmp_path, log):
    mixed = tmp_path / "mixed"
    shutil.copytree(images, mixed)
    (mixed / "broken.png").write_bytes(b"no image")
    recover_model(YOLO(pruned), YOLO(TEACHER), str(mixed), tmp_path / "r.pt", iterations=1, **SHORT)
    assert "1 of 41 cannot be read and are left out" in log.text and "broken.png" in log.text
    for image in mixed.glob("*.webp"):
        image.unlink()
    for image in [*mixed.glob("*.jpg"), *mixed.glob("*.png")]:
        image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of \d+ images can be read"):
        recover_model(YOLO(pruned), YOLO(TEACHER), str(mixed), tmp_path / "r2.pt", iterations=1, **SHORT)
    assert not (tmp_path / "r2.pt").exists()


def test_images_of_another_kind_and_few_ones_are_said(pruned, tmp_path, log):
    blank = [np.full((64, 64, 3), shade, np.uint8) for shade in range(0, 240, 20)]
    with pytest.raises(InputError, match="detects nothing in any of 1 images, so it cannot teach"):
        recover_model(YOLO(pruned), YOLO(TEACHER), blank, tmp_path / "r.pt", iterations=1, **SHORT)
    assert not (tmp_path / "r.pt").exists()


def test_a_single_image_is_said_to_be_few(images, pruned, tmp_path, log):
    one = [cv2.imread(str(next(images.iterdir())))]
    recover_model(YOLO(pruned), YOLO(TEACHER), one, tmp_path / "r.pt", iterations=1, **SHORT)
    assert "only 1 to learn from" in log.text


def test_bad_arguments_are_told(images, pruned, tmp_path):
    model = PruneModel(TEACHER)
    with pytest.raises(InputError, match="give teacher="):
        model.recover(str(images))
    for wrong, words in (
        ({"iterations": 0}, "iterations=0: expected a whole number from 1"),
        ({"batch": 1.5}, "batch=1.5"),
        ({"lr0": 2}, "lr0=2"),
        ({"lr0": "fast"}, "lr0=fast"),
        ({"lr0": None}, "lr0=None"),
        ({"lr0": [0.1]}, r"lr0=\[0.1\]: expected 'auto', or a learning rate"),
        ({"holdout": True}, "holdout=True"),
    ):
        with pytest.raises(InputError, match=words):
            model.recover(str(images), teacher=TEACHER, save_dir=tmp_path / "r.pt", **wrong)
    with pytest.raises(KindError, match="recover takes no iteration=.*iterations"):
        model.recover(str(images), teacher=TEACHER, iteration=3)
    with pytest.raises(MissingFileError, match="nowhere"):
        model.recover(str(tmp_path / "nowhere"), teacher=TEACHER, save_dir=tmp_path / "r.pt")
    with pytest.raises(InputError, match=r"expected the path of the \.pt file"):
        model.recover(str(images), teacher=TEACHER, save_dir=tmp_path / "folder")


def test_a_damaged_state_is_told(images, pruned, tmp_path):
    (tmp_path / ".r.recovering.pt").write_bytes(b"half")
    with pytest.raises(InputError, match="is damaged"):
        recover_model(YOLO(pruned), YOLO(TEACHER), str(images), tmp_path / "r.pt", resume=True, iterations=1, **SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo26n-pose.yaml", "yolov8n-obb.yaml", "yolov8n-cls.yaml"])
def test_other_tasks_are_recovered_too(name, tmp_path):
    """An untrained teacher whose scores are lifted stands for a trained one."""
    teacher = randomised(name)
    head = teacher.model.model[-1]
    for branches in (getattr(head, "cv3", ()), getattr(head, "one2one_cv3", None) or ()):
        for branch in branches:
            branch[-1].weight.data *= 30
            branch[-1].bias.data += 4
    torch.manual_seed(0)
    student = randomised(name)
    student.model.load_state_dict(teacher.model.state_dict())
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.add_(0.05 * parameter.abs().mean() * torch.randn_like(parameter))
    photos = [np.random.default_rng(n).integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in range(12)]
    recovered = recover_model(student, teacher, photos, tmp_path / "r.pt", iterations=4, imgsz=64, batch=4)
    assert recovered.after.value >= recovered.before.value
    assert YOLO(tmp_path / "r.pt").task == student.task


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16, or torch cannot say")
def test_mixed_precision_on_the_cpu_learns_alike(images, pruned, tmp_path, monkeypatch):
    halved, run_raw = [], module.run_raw
    monkeypatch.setattr(module, "run_raw", lambda *a: halved.append(torch.is_autocast_enabled("cpu")) or run_raw(*a))
    models, found = (YOLO(pruned), YOLO(TEACHER), str(images)), []
    for amp in (True, False):
        found.append(recover_model(*models, tmp_path / f"{amp}.pt", amp=amp, iterations=12, **SHORT))
        assert any(halved) == amp and not all(halved)  # the distance before the first step is measured in full
        halved.clear()
    assert found[0].after.value == pytest.approx(found[1].after.value, abs=0.02)
