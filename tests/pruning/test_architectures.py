"""Every architecture that the release ships prunes exactly, and lives on."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from patches.fetch import fetch_release, unpack
from patches.pin import load_pin
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.slim.pruning.architectures import shipped
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.graph.verify import check_equal, masking
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.result import PruneResult
from ultralytics.slim.pruning.score.magnitude import score_labels
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed, take_share
from ultralytics.slim.pruning.select.pools import make_pools

from places import SUPPORT
from random_models import randomised
from stock_loads import run
from task_data import make_batch, make_task_data

OTHER_SIZES = re.compile(r"rtdetr-(x|resnet)|yolov10[blx]\.|yolov9m\.|yolov3\.")  # of what is listed
NAMES = [name for name in shipped() if not OTHER_SIZES.match(name)]
OPEN = re.compile(r"yoloe|.*-world")  # compare with texts
FAST = re.compile(r"yolo(v8n|v8n-seg|11n|26n)\.")  # what also the quick part of the suite looks at
# Large ones, and other widths of one that is listed: a single further factor each.
LARGE = re.compile(r"yolov3-spp\.|yolov9[sce]|yolov10[sm]|resnet|rtdetr|yoloe|.*-world")
# Of these others of the same head and modules are taken further.
ONLY_PRUNED = re.compile(
    r"rtdetr-|yoloe-(v8n-seg|11n|11n-seg|26n)\.|yolov8n-world\.|yolov9(s|[ce]-seg)\.|"
    r"yolo1[12]n-(seg|pose|obb)\.|yolov8n-(seg|pose|ghost)-p6\.|.*-resnet101\."
)
# What is compared with texts stays, as does what a decoder adds up; each is listed with the reason.
FIXED = {"rtdetr": 0.31, "yoloe": 0.45, "yolov8n-worldv2": 0.25, "yolov8n-world": 0.4}
# TorchVision's classes: with safe loading no stock release loads them, pruned or not.
UNSAFE = "yolo11n-cls-resnet18.pt"
FACTORS = (0.1, 0.6, 0.9)  # besides 0.3, by which every case is pruned first


@dataclass
class Case:
    """One architecture, pruned by 0.3."""

    name: str
    yolo: YOLO
    result: PruneResult

    @property
    def task(self) -> str:
        return self.yolo.task

    @property
    def imgsz(self) -> int:
        """Return an image size that every stride divides."""
        return max(64, int(max(getattr(self.yolo.model, "stride", [32]))))

    def load(self) -> YOLO:
        return YOLO(self.result.path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("architectures")


CASES = [pytest.param(name, marks=() if FAST.match(name) else pytest.mark.slow) for name in NAMES]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, files: Path) -> Case:
    yolo = randomised(request.param)
    if request.param.startswith("yoloe"):
        embeddings = torch.randn(1, 3, 512, generator=torch.Generator().manual_seed(0))
        yolo.model.set_classes(["cat", "dog", "person"], torch.nn.functional.normalize(embeddings, dim=-1))
    return Case(request.param, yolo, prune_model(yolo, files / f"{Path(request.param).stem}.pt", 0.3, imgsz=64))


@pytest.fixture
def further(case: Case) -> Case:
    """Those that are taken further."""
    if ONLY_PRUNED.match(case.name):
        pytest.skip("another of its head is taken further")
    return case


@pytest.fixture(scope="module")
def task_data(tmp_path_factory: pytest.TempPathFactory):
    """A function that returns the data set of a task, drawn when first asked for."""
    made: dict[str, Path] = {}

    def get(task: str) -> Path:
        if task not in made:
            made[task] = make_task_data(tmp_path_factory.mktemp(task), task)
        return made[task]

    return get


def test_the_list_is_the_release() -> None:
    assert len(NAMES) == 58
    assert {"yolov3-spp.yaml", "yolov6n.yaml", "yolov9e.yaml", "yolov10m.yaml", "yolo12n.yaml", "yolo26n-obb.yaml"} <= {
        *NAMES
    }


def test_prunes_exactly_and_little_is_fixed(case: Case) -> None:
    result = case.result
    assert result.error <= 1e-8
    assert 0.2 < result.ratio < 0.4 and result.gflops[1] < 0.8 * result.gflops[0]
    assert result.frozen_share <= next((v for k, v in FIXED.items() if k in case.name), 0.06), result.frozen
    assert all(after >= 1 for _, _, after in result.widths)


def test_every_factor_from_one_trace(further: Case) -> None:
    """Float64, two image sizes, random BatchNorm statistics: equal to the masked original."""
    gone = cut(further.yolo.model, FACTORS if not LARGE.match(further.name) else FACTORS[-1:])
    assert gone == sorted(set(gone)) and gone[-1] > 0


def test_a_second_pruning_on_top(further: Case) -> None:
    (gone,) = cut(further.result.model, [0.3])
    assert gone > 0


def cut(model: torch.nn.Module, factors: Iterable[float]) -> list[int]:
    """Prune by each factor, check that it is exact and leaves something of every group; return how much went."""
    model, gone = copy.deepcopy(model).float().eval(), []
    graph = trace_channels(model)
    pools, book = make_pools(graph, score_labels(model, graph, "l1", 0))
    steps = order_narrowings(pools, "layer", 8)
    for factor in factors:
        keep = ~np.isin(book.roots(), removed(pools, take_share(pools, steps, "layer", factor)))
        pruned = copy.deepcopy(model)
        slice_model(pruned, graph, keep)
        with masking(model, graph, keep):
            assert check_equal(model, pruned) <= 1e-8
        assert all(keep[pool.units].any() for pool in pools)
        gone.append(int((~keep).sum()))
    return gone


def test_one_training_step(further: Case, task_data) -> None:
    model = further.load().model.float().train().requires_grad_(True)
    model.args = get_cfg(overrides={"task": further.task})
    if hasattr(model.model[-1], "nc"):
        model.nc = model.model[-1].nc  # as the trainer sets it
    batch = make_batch(task_data(further.task), further.task, further.imgsz)
    if hasattr(model, "txt_feats"):
        batch["txt_feats"] = model.txt_feats.expand(len(batch["img"]), -1, -1)
    loss, _ = model(batch)
    loss.sum().backward()
    assert loss.isfinite().all() and loss.sum() > 0
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(g.isfinite().all() for g in gradients.values())
    prompts = [name for name, _ in model.named_parameters() if re.search("savpe|reprta|semseg", name)]
    assert len(gradients) > 0.8 * (len(list(model.parameters())) - len(prompts if OPEN.match(further.name) else ()))


def test_validation_runs(further: Case, task_data, tmp_path: Path) -> None:
    yolo = further.load()
    keys = {"imgsz": further.imgsz, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "verbose": False}
    if OPEN.match(further.name):  # the texts that are set: their own validators download a model that makes others
        yolo, net = YOLO("yolov8n-seg.yaml" if further.task == "segment" else "yolov8n.yaml"), yolo.model
        yolo.model = net
    metrics = yolo.val(data=str(task_data(further.task)), project=str(tmp_path), **keys)
    assert np.isfinite(list(metrics.results_dict.values())).all()
    assert sum(p.numel() for p in yolo.model.parameters()) <= further.result.params[1]  # fused, where possible


def test_onnx_runtime_agrees(further: Case, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file = tmp_path / "p.pt"
    file.write_bytes(further.result.path.read_bytes())
    exported = YOLO(file).export(format="onnx", imgsz=further.imgsz, simplify=False, verbose=False)
    x = torch.rand(1, 3, further.imgsz, further.imgsz, generator=torch.Generator().manual_seed(0))
    session = runtime.InferenceSession(exported)
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    want = as_exported(further.load().model, x)
    assert len(want) == len(got)
    is_ranked = getattr(further.yolo.model, "end2end", False) or "rtdetr" in further.name
    for a, b in zip(want, got):
        if a.dtype.kind in "iu":  # a map of classes
            assert (a == b).mean() > 0.999
        elif is_ranked and a.ndim == 3:
            assert rows_alike(a[0], b[0]) > 0.99
        else:
            assert a.shape == b.shape and np.abs(a - b).max() <= 1e-4 * np.abs(a).max()


def as_exported(model: torch.nn.Module, x: torch.Tensor) -> list[np.ndarray]:
    """Return what PyTorch puts out in the form that Ultralytics exports."""
    for m in model.float().eval().modules():
        if hasattr(m, "export"):
            m.export, m.format = True, "onnx"
    with torch.no_grad():
        out = model(x)
    return [t.numpy() for t in (out if isinstance(out, (tuple, list)) else [out])]


def rows_alike(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of detections (n, values) in `b` that `a` holds too, in any order: scores may tie."""
    scale = np.abs(a).max(0) + 1e-9
    gaps = np.abs((a[None] - b[:, None]) / scale).max(2)
    return float((gaps.min(1) <= 1e-3).mean())


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(("version", "unknown"), [("8.4.190", ""), ("8.3.253", r"yoloe?-?26")])
def test_stock_ultralytics_loads_and_runs_them(files: Path, tmp_path: Path, version: str, unknown: str) -> None:
    """Two stock releases, safe loading on: every file that the tests above have written, in one process each."""
    unpack(fetch_release(version), tmp_path)
    written = {path.name for path in files.glob("*.pt")} - {UNSAFE}
    if not written:
        pytest.skip("runs on the files that the other tests of this module write")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "ULTRALYTICS_SAFE_LOAD": "1"}
    script, out = (SUPPORT / "stock_loads.py"), tmp_path / "out.pt"
    command = [sys.executable, script, tmp_path, files, out, *sorted(written)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    stock = torch.load(out)
    assert set(stock) == {name for name in written if not unknown or not re.match(unknown, name)}
    for name, (*features, prediction) in stock.items():
        *here, first = run_here(files / name)
        assert len(here) == len(features) and all(same(a, b) for a, b in zip(here, features)), name
        if version == load_pin().version or not re.match("yolov10|.*rtdetr", name):  # which older ones sort otherwise
            assert same(first, prediction), name


run_here = cache(run)  # for both releases


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-8 * float(a.abs().max()))
