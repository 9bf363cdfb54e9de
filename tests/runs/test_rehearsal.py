"""The dry run: how a time is reckoned, that it comes near the truth, and that nothing is left of it."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import prune_model
from ultralytics.slim.runs import pace, rehearsal
from ultralytics.slim.runs.pace import Clock, Enough, Pace
from ultralytics.slim.runs.rehearsal import Attempt, Estimate, StageTime, in_words, split_devices
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.stages import RETRAIN, TRAININGS
from ultralytics.utils import LOGGER


def test_a_training_is_its_epochs_and_a_last_validation():
    one = Pace(setup=5, batch=2, validation=7, save=1)
    assert one.training(epochs=3, batches=4) == 5 + 3 * (4 * 2 + 1 + 7) + 7
    assert one.training(epochs=3, batches=4, validate=False) == 5 + 3 * (4 * 2 + 1) + 2 * 7


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (7500, "2 h 05 min")],
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("device", "devices"),
    [(None, [None]), ("cpu", ["cpu"]), (0, [0]), ("0,1", ["0", "1"]), ([0, 1], ["0", "1"]), ((2, 3), ["2", "3"])],
)
def test_several_devices_are_told_apart(device, devices):
    assert split_devices(device) == devices


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the time of day."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now.seconds)
    return lambda seconds: setattr(now, "seconds", seconds)


class Scripted:
    """Stands for a model whose training takes the times of a script."""

    def __init__(self):
        self.callbacks, self.stop, self.dataloader = {}, False, range(10)

    def add_callback(self, event, callback):
        self.callbacks[event] = callback

    def tell(self, *events: str) -> None:
        for event in events:
            self.callbacks[event](self)


def test_a_training_is_timed_by_its_events(at):
    def train():
        at(4), model.tell("on_train_start", "on_train_epoch_start")
        for moment in (7, 8, 9, 10):  # the first batch takes 3 s, the others 1 s
            at(moment), model.tell("on_train_batch_end")
        at(10.5), model.tell("on_train_epoch_end", "on_val_start")
        at(11.5), model.tell("on_val_batch_end")
        at(12.5), model.tell("on_val_end")
        at(12.75), model.tell("on_fit_epoch_end")

    model = Scripted()
    assert Clock().time(model, train) == Pace(setup=4 + 2, batch=1, validation=2, save=0.25)
    assert model.stop, "four batches in more than three seconds are enough"


def test_a_long_validation_is_cut_short_and_reckoned_up(at):
    def validate():
        model.tell("on_val_start")
        for moment in (2, 4, 6, 8, 10):
            at(moment), model.tell("on_val_batch_end")
        raise AssertionError("not cut short")

    model = Scripted()
    assert Clock().time(model, validate).validation == 10 * 2


def test_an_error_of_the_training_is_not_hidden():
    def train():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Clock().time(Scripted(), train)
    assert not issubclass(Enough, RuntimeError)


def test_the_table_adds_up():
    table = Estimate([StageTime("sparse", 3, 100.0), StageTime("prune", None, 20.0)])
    assert table.seconds == 120 and "2 min" in str(table).splitlines()[-2] and "estimate" in repr(table)
    assert "| all |  | 2 min |" in table.to_markdown()


def test_an_export_that_cannot_work_fails_in_the_rehearsal(weights, tiny_data, tmp_path):
    given = {"weights": weights, "data": str(tiny_data), "imgsz": 64, "device": "cpu", "format": "engine"}
    attempt = Attempt(RunSettings.read(given), str(tiny_data), tmp_path)
    attempt.pruned = weights
    with pytest.raises(Exception, match="(?i)tensorrt|gpu|cuda"):
        attempt.export()


def test_a_pruning_is_reckoned_for_the_images_of_the_run_labelled_or_not(weights, tiny_data, tmp_path, monkeypatch):
    pruned = []
    monkeypatch.setattr(rehearsal, "prune_model", lambda *given: pruned.append(given[-1].images))
    monkeypatch.setattr(rehearsal, "_seconds", lambda work: work() or 1.0)
    for source in ({"images": [str(tiny_data.parent / "images")] * 2}, {"data": str(tiny_data)}):
        attempt = Attempt(RunSettings.read({"weights": weights, "imgsz": 64, **source}), str(tiny_data), tmp_path)
        monkeypatch.setattr(rehearsal, "IMAGES", 4)
        assert attempt.pruning() == (3.0 if "images" in source else 2.0) and len(pruned.pop()) == 4  # of 12, of 8


def test_a_dry_run_of_a_resumed_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        prune_model.compress(str(tmp_path), resume=True, dry_run=True)


def test_a_rehearsed_training_leaves_no_workers(weights, tiny_data, tmp_path, monkeypatch):
    given = {"weights": weights, "data": str(tiny_data), "imgsz": 64, "device": "cpu", "workers": 1, "batch": 4}
    given["fraction"] = 2  # a number of images, for Ultralytics
    counted = []
    monkeypatch.setattr(Pace, "training", lambda pace, epochs, batches, validate: counted.append(batches) or 1.0)
    attempt = Attempt(RunSettings.read(given), str(tiny_data), tmp_path)
    before = set(psutil.Process().children(recursive=True))
    attempt.pruned = weights
    assert attempt.stage(RETRAIN) > 0 and counted == [1]
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.slow
def test_the_estimate_comes_near_the_truth(weights, tiny_data, tmp_path, monkeypatch):
    """Within a factor of two; measured anew where the machine was busy with something else in the meantime."""
    monkeypatch.chdir(tmp_path)
    settings = {"weights": weights, "data": str(tiny_data), "imgsz": 64, "batch": 4, "epochs": 4, "device": "cpu"}
    settings |= {"format": "torchscript", "workers": 0, "plots": False}
    for attempt in range(3):
        level = LOGGER.level
        estimate = prune_model.compress("project", dry_run=True, **settings)
        assert LOGGER.level == level and not list(Path().iterdir()), "nothing is started or kept"
        started = time.perf_counter()
        prune_model.compress("project", **settings)
        taken = time.perf_counter() - started
        stages = json.loads(Path("project/run/run.json").read_text())["stages"]
        trainings = [
            (s.seconds, stages[s.stage]["seconds"]) for s in estimate if s.stage in {t.name for t in TRAININGS}
        ]
        pairs = [(estimate.seconds, taken), tuple(map(sum, zip(*trainings)))]
        if all(0.5 < guess / truth < 2 for guess, truth in pairs):
            return
        Path("project").rename(tmp_path.with_name(f"{tmp_path.name}-{attempt}"))
    pytest.fail(f"estimated and taken, whole run and trainings: {pairs}")
