"""A run of stages: what is kept, what is done again, and what is refused."""

import json
import logging
import os
import shlex
import time
from pathlib import Path

import pytest
import torch

from ultralytics.slim.errors import InputError
from ultralytics.slim.files import fingerprint, write_whole
from ultralytics.slim.logs import quiet
from ultralytics.slim.runs import record as pipeline
from ultralytics.slim.runs.record import Run, is_whole, training_state
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.utils import LOGGER, downloads

from killing import FORKS


def write(text: str):
    """Return the work of a stage that writes this text."""

    def work(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return work


def start(folder, given=None) -> Run:
    """Start the next run of a folder, from a file that stands for a checkpoint unless `given` names another."""
    weights = folder / "original.pt"
    weights.write_bytes(b"weights")
    return Run.start(folder, "run", RunSettings.of_record({"weights": str(weights), "data": "a.yaml", **(given or {})}))


def own(run: Run) -> dict:
    """Return what is recorded of a run's settings besides those that every one of them has."""
    return {key: value for key, value in run.settings.recorded.items() if key not in ("weights", "data")}


def fail(path):
    raise RuntimeError("out of luck")


def never(path):
    raise AssertionError("this stage is done already")


def test_runs_are_numbered(tmp_path):
    assert [start(tmp_path).folder.name for _ in range(3)] == ["run", "run-2", "run-3"]


def test_a_finished_stage_is_not_done_again(tmp_path):
    path = start(tmp_path, {"epochs": 3}).stage("one", write("1"))
    resumed = Run.resume(tmp_path, "run", {})
    assert own(resumed) == {"epochs": 3}
    assert resumed.stage("one", never) == path and path.read_text() == "1"


def test_a_failing_stage_leaves_the_others_and_says_how_to_go_on(tmp_path, caplog):
    run = start(tmp_path)
    LOGGER.addHandler(caplog.handler)
    with pytest.raises(RuntimeError), run:
        kept = run.stage("one", write("1"))
        run.stage("two", fail)
    LOGGER.removeHandler(caplog.handler)
    assert kept.read_text() == "1" and list(json.loads(run.record.read_text())["stages"]) == ["one"]
    assert "finished: one" in caplog.text and f"resume={run.folder}" in caplog.text


def test_stopped_after_the_last_stage_only_the_report_is_missing(tmp_path, caplog):
    run = start(tmp_path)
    LOGGER.addHandler(caplog.handler)
    with pytest.raises(KeyboardInterrupt), run:
        run.stage("one", write("1"))
        run.measured({})
        raise KeyboardInterrupt
    LOGGER.removeHandler(caplog.handler)
    assert f"report folder={run.folder}" in caplog.text and "resume=" not in caplog.text


def hold(folder, ready):
    with Run.resume(folder, "run", {}):
        ready.put(os.getpid())
        time.sleep(60)


def test_a_run_belongs_to_one_process_until_that_ends_or_dies(tmp_path):
    start(tmp_path)
    ready = FORKS.SimpleQueue()
    other = FORKS.Process(target=hold, args=(str(tmp_path), ready))
    other.start()
    holder = ready.get()
    with pytest.raises(InputError, match=f"run is being worked on by process {holder} on "):
        Run.resume(tmp_path, "run", {}).__enter__()
    other.kill()
    other.join()
    with Run.resume(tmp_path, "run", {}) as run:
        assert (run.folder / ".run.holder").is_file()
    assert not (run.folder / ".run.holder").exists()


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    run = start(tmp_path)
    halves = "weights/.prune.partial.pt .report.partial.md weights/.export-abc/x.onnx sparse/weights/.saving/last.pt"
    for name in halves.split():
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_text("half")
    kept = run.folder / "weights/sparse.pt"
    kept.write_text("whole")
    with Run.resume(tmp_path, "run", {}):
        left = {path.name for path in run.folder.rglob("*") if path.is_file()}
    assert left == {"run.json", "sparse.pt", ".run.lock", ".run.holder"}


def test_stages_that_another_process_finished_meanwhile_are_done(tmp_path):
    start(tmp_path)
    early = Run.resume(tmp_path, "run", {})
    with Run.resume(tmp_path, "run", {}) as run:
        run.stage("one", write("1"))
    with early:
        assert early.stage("one", never).read_text() == "1"


def test_a_damaged_best_is_not_taken_up(tmp_path, weights):
    """The last epoch's checkpoint stands in; where that is damaged, too, the stage is trained again."""
    for damaged, wanted in ((("best.pt",), "last"), (("best.pt", "last.pt"), "new"), ((), "best")):
        project = tmp_path / wanted
        project.mkdir()
        folder = start(project).folder / "train/weights"
        folder.mkdir(parents=True)
        for name in ("best.pt", "last.pt"):
            checkpoint = {**torch.load(weights, weights_only=False), "epoch": 1, "optimizer": {}, "name": name[:4]}
            torch.save({**checkpoint, "train_args": {"epochs": 2}}, folder / name)
            if name in damaged:
                os.truncate(folder / name, 1000)
        run = Run.resume(project, "run", {})
        path = run.stage("train", lambda out: write_whole(out, lambda partial: torch.save({"name": "new"}, partial)))
        assert torch.load(path, weights_only=False)["name"] == wanted
        assert wanted == "new" or torch.load(path, weights_only=False)["optimizer"] is None  # stripped


def test_an_interrupted_training_with_a_damaged_best_goes_on_without_it(tmp_path, weights, log):
    folder = start(tmp_path).folder / "train/weights"
    folder.mkdir(parents=True)
    checkpoint = {**torch.load(weights, weights_only=False), "epoch": 0, "optimizer": {}}
    torch.save({**checkpoint, "train_args": {"epochs": 2}}, folder / "last.pt")
    (folder / "best.pt").write_bytes(b"half of a fi")
    run = Run.resume(tmp_path, "run", {})
    resumed = {}
    run.stage("train", lambda out: (resumed.update(run.training("train")), write("1")(out)))
    assert resumed["resume"] == str(folder / "last.pt") and not (folder / "best.pt").exists()
    assert "best.pt is damaged" in log.text


def test_a_changed_file_is_made_again_and_all_that_follows(tmp_path):
    run = start(tmp_path)
    one, two = run.stage("one", write("1")), run.stage("two", write("2"))
    one.write_text("tampered")
    resumed = Run.resume(tmp_path, "run", {})
    resumed.stage("one", write("1 again"))
    resumed.stage("two", write("2 again"))
    assert (one.read_text(), two.read_text()) == ("1 again", "2 again")


def test_settings_are_not_mixed(tmp_path):
    start(tmp_path, {"epochs": 3, "device": None})
    with pytest.raises(ValueError, match=r"epochs=3 \(now 5\)"):
        Run.resume(tmp_path, "run", {"epochs": 5})
    with pytest.raises(ValueError, match=r"epochs=3 \(now many\)"):
        Run.resume(tmp_path, "run", {"epochs": "many"})
    with pytest.raises(ValueError, match="lr0"):
        Run.resume(tmp_path, "run", {"lr0": 0.1})
    assert own(Run.resume(tmp_path, "run", {"device": 0, "epochs": 3})) == {"epochs": 3, "device": 0}


def test_the_same_settings_in_other_words(tmp_path, monkeypatch):
    """JSON knows no tuples, and a run records whole paths."""
    start(tmp_path, {"data": str(tmp_path / "my.yaml"), "distill_layers": (15, 18)})
    monkeypatch.chdir(tmp_path)
    Run.resume(tmp_path, "run", {"data": "my.yaml", "distill_layers": (15, 18)})
    with pytest.raises(ValueError, match="data="):
        Run.resume(tmp_path, "run", {"data": "other.yaml"})


def test_the_original_weights_are_the_same_file(tmp_path):
    weights = tmp_path / "best.pt"
    weights.write_text("1")
    start(tmp_path, {"weights": str(weights)})
    Run.resume(tmp_path, "run", {})
    weights.write_text("2")
    with pytest.raises(ValueError, match="best.pt has changed"):
        Run.resume(tmp_path, "run", {})
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="best.pt, from which .*run was started, is gone"):
        Run.resume(tmp_path, "run", {}, never)  # before anything opens them


def test_resume_finds_the_newest_unfinished_run(tmp_path):
    start(tmp_path, {"n": 1})
    start(tmp_path, {"n": 2})
    done = start(tmp_path, {"n": 3})
    done.measured({"table": []})
    done.finish()
    assert own(Run.resume(tmp_path, None, {})) == {"n": 2}


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no unfinished run"):
        Run.resume(tmp_path, None, {})
    with pytest.raises(FileNotFoundError, match="other"):
        Run.resume(tmp_path, "other", {})


def test_a_checkpoint_that_is_not_there_is_not_looked_for_online(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(downloads, "get_github_assets", lambda *args: asked.append(args) or ("", []))
    assert training_state(tmp_path / "last.pt") == "missing" and not is_whole(tmp_path / "best.pt")
    assert not asked


def test_an_interrupted_training_goes_on(tmp_path):
    run = start(tmp_path)
    last = run.folder / "train/weights/last.pt"
    last.parent.mkdir(parents=True)
    torch.save({"epoch": 4, "optimizer": {"state": {}}}, last)
    resumed = Run.resume(tmp_path, "run", {})
    arguments = {}
    resumed.stage("train", lambda path: (arguments.update(resumed.training("train")), write("x")(path)))
    assert arguments == {"resume": str(last)}  # whose folder is where it goes on


def test_a_training_that_finished_is_kept(tmp_path, weights):
    run = start(tmp_path)
    for name in ("last", "best"):
        (run.folder / "train/weights").mkdir(parents=True, exist_ok=True)
        checkpoint = {**torch.load(weights, weights_only=False), "epoch": -1, "optimizer": None}
        torch.save({**checkpoint, "name": name}, run.folder / f"train/weights/{name}.pt")
    path = Run.resume(tmp_path, "run", {}).stage("train", never)
    assert torch.load(path, weights_only=False)["name"] == "best"


def test_leftovers_of_other_settings_are_not_taken_up(tmp_path):
    """The stage before was made anew, so the half-trained checkpoint started from other weights."""
    run = start(tmp_path)
    last = run.folder / "train/weights/last.pt"
    last.parent.mkdir(parents=True)
    torch.save({"epoch": 4, "optimizer": {}}, last)
    resumed = Run.resume(tmp_path, "run", {})
    resumed.stage("before", write("new"))
    arguments = {}
    resumed.stage("train", lambda path: (arguments.update(resumed.training("train")), write("x")(path)))
    assert "resume" not in arguments and not last.exists()


@pytest.mark.parametrize(
    ("checkpoint", "state"),
    [
        ({"epoch": 0, "optimizer": {}}, "interrupted"),
        ({"epoch": 0, "optimizer": {}, "train_args": {"epochs": 2}}, "interrupted"),
        ({"epoch": 1, "optimizer": {}, "train_args": {"epochs": 2}}, "trained"),
        ({"epoch": -1, "optimizer": None}, "finished"),
        (None, "missing"),
    ],
)
def test_training_state(tmp_path, checkpoint, state):
    last = tmp_path / "last.pt"
    assert training_state(last) == "missing"
    torch.save(checkpoint, last) if checkpoint else last.write_bytes(b"half of a fi")
    assert training_state(last) == state


def test_fingerprint_tells_contents_apart(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    a.write_text("1"), b.write_text("1"), c.write_text("2")
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)


def test_quiet_keeps_warnings_and_results(caplog):
    LOGGER.addHandler(caplog.handler)
    try:
        with quiet():
            LOGGER.info("\x1b[34m\x1b[1mengine/trainer: \x1b[0magnostic_nms=False, amp=False")
            LOGGER.info("  0   -1  1   464  ultralytics.nn.modules.conv.Conv   [3, 16, 3, 2]")
            LOGGER.info("YOLOv8n summary (fused): 73 layers, 3,132,950 parameters, 0 gradients, 8.6 GFLOPs")
            LOGGER.info("all 4 8 0.5")
            for word in ("wrong", "wrong", "wrong, too"):
                LOGGER.warning(f"engine/trainer: {word}")
            LOGGER.error("failed")
            LOGGER.error("failed")
        LOGGER.info("Model summary: 73 layers")
        LOGGER.warning("engine/trainer: wrong")
    finally:
        LOGGER.removeHandler(caplog.handler)
    levels = [logging.INFO, *[logging.WARNING] * 2, *[logging.ERROR] * 2, logging.INFO, logging.WARNING]
    assert [r.levelno for r in caplog.records] == levels, "a warning once, in each time that is quiet"
    assert "all 4 8" in caplog.text and "summary" in caplog.text and "agnostic_nms" not in caplog.text


def test_run_json_is_whole_or_absent(tmp_path, monkeypatch):
    run = start(tmp_path, {"epochs": 1})
    before = run.record.read_text()

    def broken(path, value):
        raise OSError("disk full")

    monkeypatch.setattr(pipeline, "write_json", broken)
    with pytest.raises(OSError):
        run.stage("one", write("1"))
    assert run.record.read_text() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "not ours"}', "\xff"])
def test_a_record_that_is_none_is_passed_over_or_named(tmp_path, content):
    start(tmp_path, {"n": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/run.json").write_bytes(content.encode("latin-1"))
    assert own(Run.resume(tmp_path, None, {})) == {"n": 1}
    with pytest.raises(ValueError, match=r"other.run\.json: expected the record of a pipeline run"):
        Run.resume(tmp_path, "other", {})


def test_what_is_given_on_resuming_is_compared_as_it_was_recorded(tmp_path):
    start(tmp_path, {"imgsz": 64})
    rounded = lambda settings: settings.replaced(imgsz=-(-settings.imgsz // 32) * 32)
    assert own(Run.resume(tmp_path, "run", {"imgsz": 50}, rounded)) == {"imgsz": 64}
    with pytest.raises(ValueError, match=r"imgsz=64 \(now 96\)"):
        Run.resume(tmp_path, "run", {"imgsz": 70}, rounded)


def test_the_way_to_go_on_can_be_copied_from_the_terminal(tmp_path, caplog):
    (tmp_path / "my disk").mkdir()
    run = start(tmp_path / "my disk")
    LOGGER.addHandler(caplog.handler)
    with pytest.raises(RuntimeError), run:
        run.stage("one", fail)
    LOGGER.removeHandler(caplog.handler)
    (word,) = [word for word in shlex.split(caplog.text.replace("\n", " ")) if word.startswith("resume=")]
    folder = Path(word.removeprefix("resume="))
    assert Run.resume(folder.parent, folder.name, {}).folder == run.folder
