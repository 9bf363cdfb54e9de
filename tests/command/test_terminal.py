"""The command line as a shell sees it: plain output in a pipe, and Ctrl-C at any moment."""

import io
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import prune_model
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.slim.command.terminal import PlainStream, plain_where_piped
from ultralytics.utils import LOGGER, TQDM, colorstr

from short_runs import MINI

PROGRAM = Path(prune_model.__file__)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "plain"), [(io.StringIO, True), (Terminal, False)])
def test_output_is_plain_in_a_pipe_alone(monkeypatch, stream, plain):
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    handler = logging.StreamHandler(out)
    LOGGER.addHandler(handler)
    try:
        with plain_where_piped():
            for _ in TQDM(range(5), desc=colorstr("scanning")):
                pass
            LOGGER.info(colorstr("done"))
    finally:
        LOGGER.removeHandler(handler)
    written = out.getvalue()
    assert ("\x1b" not in written and "\r" not in written) == plain
    assert [line.partition(":")[0] for line in written.splitlines()] == ["scanning", "done"] or not plain
    assert sys.stdout is out and handler.stream is out and not TQDM(range(1), disable=True).noninteractive


def test_a_plain_stream_is_the_stream_but_for_colours():
    out = io.StringIO()
    assert PlainStream(out).write("\x1b[1mbold\x1b[0m") == 12 and out.getvalue() == "bold"
    assert PlainStream(out).isatty() is False and not PlainStream(out).closed


def test_an_interrupted_training_says_what_is_kept(tiny_data, tmp_path, monkeypatch, caplog):
    YOLO(MINI).save(tmp_path / "start.pt")
    save = BaseTrainer.save_model

    def save_and_stop(trainer):
        save(trainer)
        if trainer.epoch == 1:  # written, and not yet in place
            raise KeyboardInterrupt

    monkeypatch.setattr(BaseTrainer, "save_model", save_and_stop)
    monkeypatch.setattr(LOGGER, "propagate", True)
    settings = {"data": str(tiny_data), "imgsz": 64, "batch": 4, "epochs": 3, "device": "cpu", "workers": 0}
    with pytest.raises(KeyboardInterrupt):
        prune_model.PruneModel(tmp_path / "start.pt").train(project=str(tmp_path), name="fit", **settings)
    assert f"kept in {tmp_path / 'fit/weights/last.pt'}" in caplog.text
    assert YOLO(tmp_path / "fit/weights/last.pt").ckpt["epoch"] == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_stops_cleanly_and_resume_goes_on(tiny_data, tmp_path):
    """The signal reaches the whole group of processes, workers too, as from a terminal."""
    YOLO(MINI).save(tmp_path / "start.pt")
    words = [sys.executable, str(PROGRAM)]
    keys = f"weights=start.pt data={tiny_data} imgsz=64 batch=4 epochs=2 retrain.epochs=6 workers=1 device=cpu".split()
    last = tmp_path / "runs/slim/run/retrain/weights/last.pt"
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*words, *keys, "format=torchscript"], start_new_session=True, **options) as run:
        deadline = time.monotonic() + 90
        while not last.exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 130 and err.strip() == "prune_model.py: stopped", out + err
    assert f"finished: sparse, prune; to go on from there: resume={tmp_path / 'runs/slim/run'}" in out
    assert "\x1b" not in out and "\r" not in out
    before = (last.parent.parent / "results.csv").read_text().splitlines()
    assert 2 <= len(before) < 7, "stopped in the midst of the training"

    done = subprocess.run([*words, "resume=True", "retrain.epochs=6"], timeout=120, check=False, **options)
    assert done.returncode == 0, done.stderr
    assert "sparse: done earlier" in done.stdout and "going on from the last whole epoch" in done.stdout
    rows = (last.parent.parent / "results.csv").read_text().splitlines()
    assert rows[: len(before)] == before, "the epochs before are kept"
    assert [row.split(",")[0].strip() for row in rows[1:]] == [str(epoch) for epoch in range(1, 7)]
    assert (tmp_path / "runs/slim/run/report.html").is_file()
