"""A stage that runs out of memory says so in one line, and leaves nothing half-written."""

import errno
import os
import sys

import cv2
import numpy
import pytest
import torch
from memory import limit_memory

import prune_model
from ultralytics.slim.errors import is_out_of_memory

from killing import FORKS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's RLIMIT_AS")


def limited(words: list[str], folder: str, said: str, room: int) -> None:
    """Do a command in this process, with so many MB more than it has, and what it says in a file."""
    import matplotlib.pyplot  # noqa: F401  (what it takes is no part of the room)
    import torchvision  # noqa: F401

    os.chdir(folder)
    stream = os.open(said, os.O_CREAT | os.O_WRONLY)
    os.dup2(stream, 1), os.dup2(stream, 2)
    torch.set_num_threads(1)
    torch.zeros(8, 3, 64, 64).requires_grad_().sum().backward()
    numpy.ones((64, 64)) @ numpy.ones((64, 64))  # OpenBLAS takes its memory once a thread; without it the process ends
    limit_memory(room)
    sys.exit(prune_model.main(words))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory", "/tmp/some"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        cv2.error("OpenCV(4.12.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
)
def test_every_library_is_understood(error):
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "command"),
    [
        (300, "sparse data={data} imgsz=1280 batch=8 epochs=1 workers=0 save_dir=new/out.pt"),
        (300, "distill t_weight={weights} data={data} imgsz=1280 batch=8 epochs=1 workers=0 save_dir=new/out.pt"),
        (300, "prune images={images} imgsz=4096 save_dir=new/out.pt"),
        (300, "analyse data={data} imgsz=4096 save_dir=new"),
        (300, "compare weights={weights} data={data} imgsz=4096 batch=8"),
        (300, "predict source={images} imgsz=8192 save=False"),
        (300, "export format=torchscript imgsz=8192"),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_stage_says_so(room, command, weights, tiny_data, tmp_path):
    places = {"weights": weights, "data": tiny_data, "images": tiny_data.parent / "images/val"}
    words = command.format(**places).split()
    words += [] if words[0] == "analyse" else ["device=cpu"]
    words += [] if words[0] == "compare" else [f"weights={weights}"]
    words += ["plots=False"] if "epochs=1" in words else []  # or a thread that plots needs such memory of its own
    said = tmp_path.with_suffix(".txt")
    child = FORKS.Process(target=limited, args=(words, str(tmp_path), str(said), room))
    child.start()
    child.join()
    text = said.read_text()
    assert child.exitcode == 1 and "out of memory; a smaller batch= or imgsz=" in text, text[-2000:]
    assert "Traceback" not in text
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name or path.name == "out.pt"]
