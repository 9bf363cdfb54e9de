"""On how many cores a command computes, whoever calls it, and how it is stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ultralytics.slim.command.running import message, run_command
from ultralytics.slim.errors import InputError, as_slim_error

from places import ROOT

CODE = """
import {first}
import prune_model, torch
from ultralytics.utils import torch_utils
assert prune_model.main(["export", "weights=nope.pt"]) == 1
print(torch.get_num_threads(), torch_utils.NUM_THREADS)
"""
ALL = min(8, os.cpu_count() or 1)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["prune_model", "ultralytics"])
@pytest.mark.parametrize(("asked", "count"), [(None, ALL), ("1", 1), ("3", 3)])
def test_main_from_python_uses_the_cores_of_the_command(first, asked, count):
    """Ultralytics' import asks for one thread; what the user set holds, unless that import came first and hid it."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    expected = ALL if first == "ultralytics" and asked == "1" else count
    assert done.stdout.split()[-2:] == [str(expected)] * 2, done.stderr


class Interrupted:
    """Something that is thrown away just when Ctrl-C is pressed."""

    def __del__(self):
        raise KeyboardInterrupt


def test_an_interrupt_while_something_is_thrown_away_is_not_lost(capsys):
    rounds, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

    def work():
        thrown_away = Interrupted()
        del thrown_away  # Python prints what a __del__ raises, and goes on
        for number in range(300):
            rounds.append(number)
            time.sleep(0.01)

    try:
        assert run_command("program", work) == 130 and 0 < len(rounds) < 300
    finally:
        signal.signal(signal.SIGINT, before)
    assert "program: stopped" in capsys.readouterr().err


def test_what_nobody_expected_is_shown_whole_and_asked_for(capsys):
    def breaks():
        raise ZeroDivisionError("of ours")

    with pytest.raises(ZeroDivisionError, match="of ours"):
        run_command("program", breaks)
    said = capsys.readouterr().err
    assert said.startswith("\nprogram: what follows was not expected") and "please report it" in said


def test_what_a_user_can_mend_is_one_line(capsys):
    def refuses():
        raise InputError("mend\nthis")

    assert run_command("program", refuses) == 1
    assert capsys.readouterr().err == "\nprogram: mend this\n"
    assert message(as_slim_error(KeyError("no 'names:' there"))) == "no 'names:' there", "without Python's quotes"
