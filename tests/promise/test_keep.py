"""keep=: the smallest model that keeps enough, both goals or the truth, and an interruption that costs nothing."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from prune_model import PruneModel
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.errors import InputError, KindError, SlimError
from ultralytics.slim.loading import load_checkpoint, read_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.promise import keep as module
from ultralytics.slim.promise.options import Promise
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.utils.torch_utils import get_flops

from photos import draw_photos
from places import ROOT
from random_models import seeing

SHIPPED = ROOT / "weights/diagram-yolov8n.pt"
QUICK = {"imgsz": 160, "score": "l1", "repair": "none", "device": "cpu"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return str(draw_photos(tmp_path_factory, 24))


@pytest.fixture(scope="module")
def teacher(images, tmp_path_factory):
    return seeing(Path(images), tmp_path_factory.mktemp("teacher") / "seeing.pt")


@dataclass
class Pretended:
    """A recovery that changes nothing, after which so much is kept as a curve over the share of the GFLOPs says."""

    keeps: object
    calls: int = 0
    stop_at: int = 99

    def __call__(self, student, teacher, images, path, **options):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        shutil.copy(student.ckpt_path, path)
        share = get_flops(student.model, 160) / get_flops(teacher.model, 160)
        return SimpleNamespace(after=SimpleNamespace(value=self.keeps(share)))


@pytest.fixture
def pretend(monkeypatch):
    """Return a function that puts a pretended recovery in place; the original agrees with itself wholly."""

    def put(keeps, close=1.3, **more):
        recovery = Pretended(keeps, **more)
        monkeypatch.setattr("ultralytics.slim.promise.search.CLOSE", close)
        monkeypatch.setattr(module, "recover_model", recovery)
        monkeypatch.setattr(module._Trials, "_measured_original", lambda self: 1.0)
        return recovery

    return put


def test_the_smallest_that_keeps_enough_is_saved(teacher, images, tmp_path, pretend):
    recovery = pretend(lambda share: 1 - 0.05 / share, close=1.05)
    result = PruneModel(teacher).prune(keep=0.9, images=images, save_dir=tmp_path / "k.pt", **QUICK)
    share = result.gflops[1] / result.gflops[0]
    assert 0.5 <= share <= 0.56 and recovery.calls <= 8  # 1 - 0.05 / 0.5 is 0.9
    record = read_checkpoint(tmp_path / "k.pt")["slim"]
    assert record["promise"]["kept"] == pytest.approx(1 - 0.05 / share) and record["promise"]["short"]["kept"] < 0.9
    saved, _ = load_checkpoint(tmp_path / "k.pt")
    assert [p.shape for p in saved.parameters()] == [p.shape for p in result.model.parameters()]
    assert "of the original's agreement" in str(result) and [p.name for p in tmp_path.iterdir()] == ["k.pt"]


def test_an_interrupted_search_goes_on(teacher, images, tmp_path, pretend):
    whole = PruneModel(teacher)
    pretend(lambda share: share)
    expected = whole.prune(keep=0.6, images=images, save_dir=tmp_path / "whole.pt", **QUICK)
    first = pretend(lambda share: share, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        PruneModel(teacher).prune(keep=0.6, images=images, save_dir=tmp_path / "k.pt", **QUICK)
    assert not (tmp_path / "k.pt").exists() and (tmp_path / ".k.keeping").is_dir()
    again = pretend(lambda share: share)
    result = PruneModel(teacher).prune(keep=0.6, images=images, save_dir=tmp_path / "k.pt", **QUICK)
    assert result.widths == expected.widths and first.calls - 1 + again.calls <= 8
    records = [read_checkpoint(tmp_path / name)["slim"] for name in ("whole.pt", "k.pt")]
    assert records[0] == records[1]
    assert not (tmp_path / ".k.keeping").exists()


def test_what_cannot_be_kept_is_told_with_the_closest(teacher, images, tmp_path, pretend):
    pretend(lambda share: 0.7 * share)
    with pytest.raises(InputError, match=r"keep=0\.99 cannot be met: the closest of \d models keeps \d\d\.\d% of"):
        PruneModel(teacher).prune(keep=0.99, images=images, save_dir=tmp_path / "k.pt", **QUICK)
    assert not (tmp_path / "k.pt").exists()


def test_two_goals_are_both_met_or_told_apart(teacher, images, tmp_path, pretend):
    pretend(lambda share: share)
    one = {"images": images, "save_dir": tmp_path / "k.pt", **QUICK}
    result = PruneModel(teacher).prune(keep=0.3, size_mb=0.7, **one)
    assert (tmp_path / "k.pt").stat().st_size / 1e6 == pytest.approx(0.7, rel=0.05) and result.promise
    (tmp_path / "k.pt").unlink()
    words = r"keep=0\.5 and size_mb=0\.5 cannot both be met: with .* MB the model keeps .*%.*, and .* take .* MB"
    with pytest.raises(InputError, match=words):
        PruneModel(teacher).prune(keep=0.5, size_mb=0.5, **one)
    assert not (tmp_path / "k.pt").exists()


def test_a_run_trains_what_keeps_too_little_at_its_second_goal(teacher, images, tmp_path, pretend, caplog):
    pretend(lambda share: share)
    options = module.PruneOptions(images=images, flops=0.4, **QUICK)
    result = module.prune_to_keep(teacher, tmp_path / "k.pt", Promise(0.9), options, is_last=False)
    assert result.gflops[1] / result.gflops[0] == pytest.approx(0.4, abs=0.02) and (tmp_path / "k.pt").exists()


@pytest.mark.slow
def test_accuracy_is_kept_for_real(tmp_path, monkeypatch):
    """On labels: what the record says is kept is what the saved model has."""
    monkeypatch.setattr("ultralytics.slim.promise.search.TRIES", 2)
    drawn = draw_dataset(tmp_path / "drawn/diagram", train=12, val=6)
    names = json.dumps(load_checkpoint(SHIPPED)[0].names)
    data = tmp_path / "drawn.yaml"
    data.write_text(f"path: {drawn.as_posix()}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    path = tmp_path / "k.pt"
    result = PruneModel(SHIPPED).prune(keep=0.7, images=str(data), save_dir=path, keep_iterations=2, imgsz=160)
    told = read_checkpoint(path)["slim"]["promise"]
    measured = [accuracy(one, str(data), 160) for one in (SHIPPED, path)]
    assert told["kept"] == pytest.approx(measured[1] / measured[0]) and told["kept"] >= 0.7
    assert told["original"] == pytest.approx(measured[0]) and "of the original's accuracy" in result.promise


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"keep": 1.2}, InputError, "keep should be the share of the accuracy to keep, 0 < keep <= 1, got 1.2"),
        ({"keep": True}, InputError, "got True"),
        ({"keep": 0.9, "keep_iterations": 0}, InputError, "keep_iterations=0: expected a whole number from 1"),
        ({"keep_iterations": 9}, KindError, "keep_iterations= is of keep="),
        ({"keep": 0.9, "images": None}, InputError, "keep= measures what is kept: give images="),
        ({"keep": 0.9, "steps": 2}, InputError, "it takes no steps="),
        ({"keep": 0.9, "flops": 0.5, "params": 0.5}, InputError, "give one goal"),
        ({"keep": 0.9, "mosaic": 1}, KindError, "prune takes no mosaic"),
        ({"keep": 0.9, "device": 7}, Exception, "(?i)cuda|device"),
        ({"keep": 0.9, "latency_ms": 1e-6, "rounds": 1}, KindError, "rounds"),
    ],
)
def test_bad_arguments_are_told(teacher, keys, error, words, images, tmp_path):
    keys = {"images": images, **QUICK, **keys}
    with pytest.raises(error, match=words):
        PruneModel(teacher).prune(save_dir=tmp_path / "k.pt", **keys)
    assert not (tmp_path / "k.pt").exists()


def test_a_run_takes_the_promise_as_its_goal():
    settings = RunSettings.read({"weights": "a.pt", "data": "a.yaml", "keep": 0.98, "prune.latency_ms": 20})
    assert settings.prune.promise == Promise(0.98, "a.yaml") and settings.prune.factor is None
    assert "pruning (keep=0.98, latency_ms=20)" in settings.plan
    unlabelled = RunSettings.read({"weights": "a.pt", "images": "a.yaml", "keep": 0.9})
    assert unlabelled.prune.promise == Promise(0.9, "")  # its labels are not looked at
    assert RunSettings.of_record(settings.recorded) == settings
    with pytest.raises(InputError, match="leave factor= out"):
        RunSettings.read({"weights": "a.pt", "data": "a.yaml", "keep": 0.98, "factor": 0.5})


def test_the_truth_is_told_at_the_end():
    promise = Promise(0.99, "a.yaml")
    assert promise.verdict(0.6, 0.58) == (
        "keep=0.99 is missed: the last model has 96.7% of the original's accuracy, 0.5800 of 0.6000; "
        "ask for less, or train for longer"
    )
    assert promise.verdict(0.6, 0.5941).startswith("keep=0.99 is kept: the last model has 99.0%")
    assert "a smaller one may do" in promise.verdict(0.6, 0.62)


def test_a_search_goes_on_with_another_device_and_says_what_it_throws_away(teacher, images, tmp_path, pretend, log):
    path, given = tmp_path / "k.pt", {"images": images, **QUICK}
    pretend(lambda share: share, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        module.prune_to_keep(teacher, path, Promise(0.5), module.PruneOptions(**given))
    kept = module._Trials(teacher, path, Promise(0.5), module.PruneOptions(**{**given, "device": None}))
    assert len(kept.tries) == 1 and "going on after 1" in log.text
    other = module._Trials(teacher, path, Promise(0.5), module.PruneOptions(**{**given, "score": "l2"}))
    assert not other.tries and ".k.keeping is of a search with other settings" in log.text


def test_a_search_needs_a_folder_and_layers(teacher, images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SlimError, match="file"):
        PruneModel(teacher).prune(keep=0.9, images=images, save_dir=tmp_path / "file/k.pt", **QUICK)
    (tmp_path / "m.torchscript").touch()
    with pytest.raises(KindError, match="prune needs a PyTorch model"):
        PruneModel(tmp_path / "m.torchscript").prune(keep=0.9, images=images, save_dir=tmp_path / "k.pt", **QUICK)


def test_what_the_search_finds_counts_where_it_meets_the_second_goal(teacher, images, tmp_path, pretend, monkeypatch):
    """The cut for the second goal itself may keep less than one for GFLOPs that meets it, too."""
    pretend(lambda share: 0.4 if share > 0.8 else 0.9)
    monkeypatch.setattr(module._Trials, "search", lambda self: self._try(0.5))
    result = PruneModel(teacher).prune(keep=0.8, params=0.9, images=images, save_dir=tmp_path / "k.pt", **QUICK)
    assert result.params[1] < 0.9 * result.params[0] and (tmp_path / "k.pt").is_file()
