"""A signal that Python handles ends nobody, however OpenVINO's models come and go."""

import ctypes
import importlib.util
import os
import subprocess
import sys

import pytest

from ultralytics.slim.measuring.signal_stack import _Stack, kept_signal_stack

from places import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="OpenVINO changes the stack on Linux alone")
HANDLED = """
import os, signal, sys, threading
from pathlib import Path
from ultralytics.slim.measuring.runtimes import onnx_run

weights, folder, order = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
runs = []
for name in ("first", "second"):
    (folder / name).mkdir()
    runs.append(onnx_run(weights, 64, folder / name, runtime="openvino"))
    runs[-1]()
if order == "first made, first deleted":
    del runs[0], runs[0]
else:
    thread = threading.Thread(target=runs.clear)
    thread.start()
    thread.join()
signal.signal(signal.SIGALRM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGALRM)
"""


def current() -> tuple[int, int, int]:
    stack = _Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address, stack.flags, stack.size


def test_the_stack_of_before_is_set_again():
    memory = ctypes.create_string_buffer(1 << 16)
    other = _Stack(ctypes.addressof(memory), 0, len(memory))
    before = current()
    with pytest.raises(KeyError), kept_signal_stack():
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None) == 0 and current() != before
        raise KeyError
    assert current() == before


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="needs openvino: pip install -e '.[test]'")
@pytest.mark.parametrize("order", ["first made, first deleted", "deleted by a thread"])
def test_a_signal_is_handled_after_openvino(order, weights, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HANDLED, weights, tmp_path, order],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["handled"]), done.stderr[-2000:]
