"""Reading `STAGE key=value ...`."""

import errno
import re

import pytest

import prune_model
from ultralytics.slim.command.parsing import parse, require
from ultralytics.slim.command.running import run_command
from ultralytics.slim.errors import FailedError, InputError, MissingFileError, UsageError
from ultralytics.slim.hints import split_list

# `prune` is also a key of the first stage, as `compare` is of `run`: the word alone is the stage
STAGES = {"run": {"data", "epochs", "resume", "dry_run", "plots", "name", "prune"}, "prune": {"factor", "weights"}}
PARTS = {"sparse": {"epochs", "lr0"}}


@pytest.mark.parametrize(
    ("line", "stage", "keys"),
    [
        ("", "run", {}),
        ("data=my.yaml epochs=3", "run", {"data": "my.yaml", "epochs": 3}),
        ("run epochs=3", "run", {"epochs": 3}),
        ("prune factor=0.3 weights=a b.pt", "prune", None),
        ("prune factor = 0.3", "prune", {"factor": 0.3}),
        ("--epochs=3 --data=my.yaml", "run", {"epochs": 3, "data": "my.yaml"}),
        ("resume", "run", {"resume": True}),
        ("dry_run", "run", {"dry_run": True}),
        ("epochs=3 resume", "run", {"epochs": 3, "resume": True}),
        ("name=007", "run", {"name": "007"}),
        ("name=2 data=2024 epochs=2", "run", {"name": "2", "data": "2024", "epochs": 2}),
        ("sparse.epochs=2 sparse.lr0=1e-3", "run", {"sparse.epochs": 2, "sparse.lr0": 0.001}),
        ("data=None", "run", {"data": None}),
        ("prune=a.pt", "run", {"prune": "a.pt"}),
    ],
)
def test_lines(line, stage, keys):
    if keys is None:
        with pytest.raises(UsageError, match=r"'b.pt' is not key=value"):
            parse(line.split(), STAGES, PARTS)
    else:
        assert parse(line.split(), STAGES, PARTS) == (stage, keys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prun factor=0.3", "no stage 'prun' (did you mean 'prune'"),
        ("epoch=3", "'epoch' is not a key of run (did you mean 'epochs'"),
        ("prune model=a.pt", "did you mean 'weights'"),
        ("epochs=", "'epochs=' lacks a value; write epochs=VALUE"),
        ("epochs", "'epochs' lacks a value"),
        ("sparse.epoch=3", "'epoch' is not a key of sparse (did you mean 'epochs'"),
        ("spars.epochs=3", "'spars.epochs': no part 'spars' (did you mean 'sparse'?); the parts of run are sparse"),
        ("prune sparse.epochs=3", "'sparse.epochs' is for run, which has parts; for prune alone write epochs=VALUE"),
    ],
)
def test_mistakes_are_named_with_a_hint(line, message):
    with pytest.raises(UsageError) as caught:
        parse(line.split(), STAGES, PARTS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "value", ["a.pt,b.pt", "[a.pt,b.pt]", "['a.pt', 'b.pt']", ["a.pt", "b.pt"], dict.fromkeys(["a.pt", "b.pt"])]
)
def test_lists_of_paths(value):
    assert split_list(value) == ["a.pt", "b.pt"]


def test_a_name_may_end_in_a_bracket():
    assert split_list("car,traffic light (red)") == ["car", "traffic light (red)"]


def test_missing_keys_are_named():
    def predict(self, source, mode="containment", **kwargs): ...

    require("predict", {"source": 1}, predict)
    with pytest.raises(UsageError, match="predict needs source="):
        require("predict", {}, predict)


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("bad\n value"), 1, "me: bad value\n"),
        (MissingFileError("no file"), 1, "me: no file\n"),
        (UsageError("what?"), 2, "me: what?\n"),
        (KeyboardInterrupt(), 130, "me: stopped\n"),
        (FailedError(), 1, "me: FailedError\n"),
        (PermissionError(errno.EACCES, "not permitted", "a.pt"), 1, "me: [Errno 13] not permitted: 'a.pt'\n"),
    ],
)
def test_errors_are_one_line_and_a_status(error, status, says, capsys):
    assert run_command("me", raising(error)) == status
    assert capsys.readouterr().err == f"\n{says}"


@pytest.mark.parametrize("words", ["prune images=", "prune save_dir=", "predict source=", "evaluate data_path="])
def test_a_path_that_the_system_refuses_is_one_line(words, weights, capsys):
    assert prune_model.main([*(words + "a" * 300 + ".pt").split(), f"weights={weights}"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"\n\S+: .*File name too long: .*\n", said), said


def test_success_is_status_0(capsys):
    assert run_command("me", lambda: None) == 0 and capsys.readouterr().err == ""


FAULTS = [kind("a bug") for kind in (ZeroDivisionError, TypeError, ValueError, RuntimeError, AssertionError, OSError)]


@pytest.mark.parametrize("fault", [*FAULTS, FileNotFoundError(errno.ENOENT, "not there", "a.pt")])
def test_faults_of_the_program_keep_their_traceback(fault):
    """Also of kinds that users' errors have: a bug is not to look like the user's."""
    with pytest.raises(type(fault)):
        run_command("me", raising(fault))


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, monkeypatch, capsys):
    """As in `prune-model --help | head -1`; what is still to be flushed goes nowhere."""

    def work():
        raise BrokenPipeError

    with (tmp_path / "pipe").open("w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert run_command("p", work) == 1
        pipe.write("more")
    assert (tmp_path / "pipe").read_text() == "" and capsys.readouterr().err == ""


def test_traceback_on_request(monkeypatch, capsys):
    monkeypatch.setenv("TRACEBACK", "1")
    run_command("me", raising(InputError("bad")))
    assert "Traceback" in capsys.readouterr().err
