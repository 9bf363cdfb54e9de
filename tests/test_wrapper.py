"""The wrapper outside this project's own installation: its second door, and what a patched checkout has not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import prune_model
import ultralytics
from ultralytics import slim
from ultralytics.slim import wrapper
from ultralytics.slim.command.commands import help_text
from ultralytics.slim.command.main import main_of
from ultralytics.slim.command.running import asked_cores
from ultralytics.slim.front.page import _further
from ultralytics.slim.installation import MODULE, SCRIPT
from ultralytics.slim.runs.run_settings import RunSettings


@pytest.fixture
def patched(monkeypatch):
    """Let this Ultralytics be a release that was patched; everything else of the fork stays in its place."""
    monkeypatch.setattr(ultralytics, "__version__", "8.4.190")


def module(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ultralytics.slim", *words]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a command ends."""
    assert main_of(wrapper.PruneModel, wrapper.METHODS, words, "1", MODULE) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"{MODULE}: ")
    return line


def test_both_doors_lead_to_the_same_class():
    assert prune_model.PruneModel is slim.PruneModel is wrapper.PruneModel
    assert prune_model.METHODS is wrapper.METHODS


@pytest.mark.slow
def test_the_module_is_a_command_with_the_same_help(tmp_path):
    """But for its name; and what it says of bad input begins with that name."""
    done = module("--help", cwd=tmp_path)
    expected = help_text(SCRIPT).replace(SCRIPT, MODULE).replace("  (installed: prune-model)", "")
    assert done.returncode == 0 and done.stdout.rstrip("\n") == expected.rstrip("\n")
    done = module("prune", "weights=nope.pt", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.strip().startswith(f"{MODULE}: weights=nope.pt: no such file")
    assert not list(tmp_path.iterdir())


def test_help_in_a_patched_checkout_says_what_is_not_there(patched):
    own = help_text(MODULE).splitlines()
    assert "predict and evaluate are not here" in own[1] and max(map(len, own)) <= 80 and len(own) <= 24


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the environment at the start is Linux' to tell")
@pytest.mark.parametrize("asked", [None, "1", "3"])
def test_the_cores_that_were_asked_for_are_known_after_the_import(asked, tmp_path):
    """Ultralytics' import sets one, in older releases whatever the user set."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": asked} if asked else {}
    code = "import os; os.environ['OMP_NUM_THREADS'] = '1'; from ultralytics.slim.command.running import asked_cores; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(asked_cores())"], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == str(asked), done.stderr


def test_the_cores_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    for value, expected in (("1", None), ("3", "3")):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert asked_cores() == expected


@pytest.mark.parametrize("words", [["predict", "source=photos"], ["evaluate", "data_path=data"]])
def test_what_needs_the_relations_is_named_in_a_line(words, weights, patched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = fails([*words, f"weights={weights}"], capsys)
    assert f"{words[0]} needs relation.py" in line and str(Path(ultralytics.__file__).parent) in line
    assert not list(tmp_path.iterdir())


def test_the_demonstration_is_the_forks(patched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = fails([], capsys)
    assert "give weights= (a trained checkpoint) with data=" in line and "demo" not in line
    monkeypatch.undo()
    assert RunSettings.read({}).data == "diagram.yaml"


@pytest.mark.parametrize("command", ["train", "sparse", "analyse"])
def test_data_must_be_given_where_none_is_shipped(command, weights, patched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.slim.inputs.data.find_file", lambda name, beside: None)
    monkeypatch.setattr("ultralytics.utils.checks.check_file", lambda name, hard: [])
    assert "give data=, a data YAML with train:, val: and names:" in fails([command, f"weights={weights}"], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("version", "called"), [("8.4.190+slim.0.1.0", SCRIPT), ("8.1.34", MODULE)])
def test_a_page_names_the_command_that_is_there(version, called, monkeypatch):
    monkeypatch.setattr(ultralytics, "__version__", version)
    told = _further(Path("folder"), SimpleNamespace(images="photos"), {"a": {"share": 0.5}})
    assert f"with: {called} front resume=folder train=0.5" in told
