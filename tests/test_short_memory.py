"""A stage that runs out of memory says so in one line, and leaves nothing half-written."""

import errno
import os
import subprocess
import sys

import cv2
import pytest
import torch

from ultralytics.slim.errors import is_out_of_memory

from places import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's RLIMIT_AS")
RUNNER = """
import resource, sys
import prune_model, torch, torchvision, matplotlib.pyplot, numpy
from ultralytics.slim.runs import stage_work
torch.zeros(8, 3, 64, 64).requires_grad_().sum().backward()
numpy.ones((64, 64)) @ numpy.ones((64, 64))  # OpenBLAS takes its memory once a thread; without any it ends the process
limit = int(float(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()) + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(prune_model.main(sys.argv[2:]))
"""


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
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(room), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "out of memory; a smaller batch= or imgsz=" in done.stderr, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name or path.name == "out.pt"]
