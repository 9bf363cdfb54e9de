"""Pruning end to end: exact, stock-loadable, to a target, never wrong in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics import YOLO, __version__
from ultralytics.cfg import get_cfg
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.pruning import prune as prune_module
from ultralytics.slim.pruning.graph import rewrite
from ultralytics.slim.pruning.prune import image_size, prune_model
from ultralytics.utils.torch_utils import get_num_params

from places import ROOT
from random_models import randomised

NAME = "yolov8n.yaml"


@pytest.fixture(scope="module")
def pruned(yolo: YOLO, tmp_path_factory: pytest.TempPathFactory):
    return prune_model(yolo, tmp_path_factory.mktemp("pruned") / "deep" / "p.pt", 0.5, imgsz=64)


def outputs(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = model.eval()(x)
    while isinstance(y, (tuple, list)):
        y = y[0]
    return y


def test_result_tells_what_was_cut(pruned) -> None:
    assert pruned.path.is_file() and pruned.error <= 1e-8
    assert pruned.ratio == pytest.approx(0.5, abs=0.05)
    assert pruned.params[1] < 0.35 * pruned.params[0] and pruned.gflops[1] < 0.35 * pruned.gflops[0]
    assert ("model.4.cv1.conv", 64, 32) in pruned.widths
    assert all("model output" in line for line in pruned.frozen) and pruned.frozen_share == 0
    assert "50.0%" in str(pruned) and str(pruned.path) in str(pruned)


def test_widths_are_multiples_of_eight(pruned) -> None:
    fixed = {line.partition(":")[0] for line in pruned.frozen}
    assert all(after % 8 == 0 for name, _, after in pruned.widths if name not in fixed)


def test_original_is_not_modified(yolo: YOLO, tmp_path: Path) -> None:
    def objects() -> dict[str, int]:
        parts = [*yolo.model.named_modules(), *yolo.model.named_parameters(), *yolo.model.named_buffers()]
        return {f"{type(part).__name__} {name}": id(part) for name, part in parts}

    before, same = {k: v.clone() for k, v in yolo.model.state_dict().items()}, objects()
    state = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in yolo.model.modules()]
    prune_model(yolo, tmp_path / "p.pt", 0.3, imgsz=64)
    after = yolo.model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items()) and after.keys() == before.keys()
    assert objects() == same
    assert state == [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in yolo.model.modules()]


def test_checkpoint_is_plain_half_precision_and_complete(pruned) -> None:
    ckpt = torch.load(pruned.path, weights_only=False)
    assert ckpt["ema"] is None and ckpt["optimizer"] is None and ckpt["epoch"] == -1
    assert {p.dtype for p in ckpt["model"].parameters()} == {torch.float16}
    assert json.loads(json.dumps(ckpt["slim"])) == ckpt["slim"]  # builtins only
    record = ckpt["slim"]
    assert record["widths"]["model.4.cv1.conv"] == [64, 32] and record["factor"] == 0.5 and record["target"] is None
    assert record["score"] == "l1" and record["tool"].endswith(__version__)
    assert all(type(m).__module__.startswith(("torch.", "ultralytics.nn.")) for m in ckpt["model"].modules())
    assert [p.name for p in pruned.path.parent.iterdir()] == ["p.pt"]  # no temporary file is left


def test_batchnorm_settings_survive(pruned) -> None:
    norms = [m for m in YOLO(pruned.path).model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


def test_the_target_is_in_the_record(yolo: YOLO, tmp_path: Path) -> None:
    path = prune_model(yolo, tmp_path / "p.pt", params=0.5, imgsz=64).path
    assert torch.load(path, weights_only=False)["slim"]["target"] == ["params", 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{"score": "random", "seed": 3}, {"images": torch.full((2, 3, 64, 64), 0.5)}])
def test_same_input_and_seed_give_the_same_file(yolo: YOLO, tmp_path: Path, keys: dict) -> None:
    """Byte for byte, whatever its name and whenever it is written."""
    first, second = (prune_model(yolo, tmp_path / name, 0.4, imgsz=64, **keys).path for name in ("a.pt", "longer.pt"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_another_process_gives_the_same_file(pruned, tmp_path: Path) -> None:
    """The order of sets and the hash seed leave no trace; the date is that of the original."""
    code = (
        "import sys; from ultralytics import YOLO; from ultralytics.slim.pruning.prune import prune_model\n"
        "prune_model(YOLO(sys.argv[1]), sys.argv[2], 0.3, imgsz=64)"
    )
    dated = torch.load(pruned.path, weights_only=False) | {"date": "2026-01-02"}
    torch.save(dated, tmp_path / "in.pt")
    for seed in "12":
        command = [sys.executable, "-c", code, str(tmp_path / "in.pt"), str(tmp_path / f"{seed}.pt")]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths})
    assert (tmp_path / "1.pt").read_bytes() == (tmp_path / "2.pt").read_bytes()
    assert torch.load(tmp_path / "1.pt", weights_only=False)["date"] == "2026-01-02"


@pytest.mark.parametrize("factor", [0.1, 0.7, 0.9, 0.99])
def test_any_factor_works(yolo: YOLO, tmp_path: Path, factor: float) -> None:
    result = prune_model(yolo, tmp_path / "p.pt", factor, imgsz=64)
    assert result.error <= 1e-8 and all(after >= 1 for _, _, after in result.widths)


def test_sizes_are_rounded_up_to_the_stride(yolo: YOLO, tmp_path: Path) -> None:
    """As when the model was trained; the neck could not join maps of 50 pixels."""
    result = prune_model(yolo, tmp_path / "p.pt", 0.5, images=torch.rand(2, 3, 64, 64), score="l1", imgsz=[50, 40])
    assert result.imgsz == 64
    assert image_size(yolo.model) == 640


def test_factor_zero_changes_nothing(yolo: YOLO, tmp_path: Path) -> None:
    result = prune_model(yolo, tmp_path / "p.pt", 0, imgsz=64)
    assert result.ratio == 0 and result.params[0] == result.params[1]


@pytest.mark.slow
@pytest.mark.parametrize("score", ["gamma", "l1", "l2", "lamp", "fpgm", "random"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_every_score_and_scope(yolo: YOLO, tmp_path: Path, score: str, scope: str) -> None:
    result = prune_model(yolo, tmp_path / "p.pt", 0.3, score=score, scope=scope, imgsz=64)
    assert result.score == score and 0.2 < result.ratio < 0.4


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"factor": 1.0}, "0 <= factor < 1, got 1.0"),
        ({"factor": -0.1}, "0 <= factor < 1"),
        ({"factor": True}, "0 <= factor < 1"),
        ({"factor": "0.3"}, "0 <= factor < 1"),
        ({"factor": 0.3, "score": "l3"}, "score should be"),
        ({"factor": 0.3, "scope": "here"}, "scope should be"),
        ({"factor": 0.3, "round_to": 0}, "round_to"),
        ({"factor": 0.3, "floor": 1}, "floor should be"),
        ({"factor": 0.3, "floor": "none"}, "floor should be"),
        ({"factor": 0.3, "floor": 0.2, "scope": "layer"}, "give scope='global', or no floor"),
        ({"factor": 0.3, "exclude": "modle.4"}, "'modle.4' matches no layer; the closest are 'model.4'"),
        ({"factor": 0.3, "exclude": ("model.22", "model.4.cv9*")}, r"'model.4.cv9\*' matches no .* 'model.4.cv"),
        ({"factor": 0.001}, "removes nothing"),
        ({"factor": 0.3, "flops": 0.5}, "one goal"),
        ({"flops": 1.5}, "share of the original"),
        ({"size_mb": -1}, "size in MB"),
        ({"flops": 0.01}, "closest is"),
        ({"score": "surgeon"}, "give images="),
    ],
)
def test_bad_arguments_write_nothing(yolo: YOLO, tmp_path: Path, keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune_model(yolo, tmp_path / "p.pt", imgsz=64, **keys)
    assert not list(tmp_path.iterdir())


def test_other_than_pytorch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="needs a PyTorch model"):
        prune_model(type("Exported", (), {"model": "yolov8n.onnx"})(), tmp_path / "p.pt", 0.3)
    with pytest.raises(ValueError, match=r"\.pt file"):
        prune_model(randomised(NAME), tmp_path, 0.3)


def test_a_failed_verification_writes_nothing(yolo: YOLO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rewrite.slice_model

    def wrong(model, graph, keep):
        real(model, graph, keep)
        if get_num_params(model) < get_num_params(yolo.model):
            model.model[1].conv.weight.data = model.model[1].conv.weight.data.flip(1)

    monkeypatch.setattr(rewrite, "slice_model", wrong)
    with pytest.raises(RuntimeError, match=r"model\.1"):
        prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        ("model.4", {"model.4.cv1.conv", "model.4.m.1.cv2.conv", "model.4.cv2.conv"}),
        ("*.cv2.conv", {"model.2.cv2.conv", "model.2.m.0.cv2.conv", "model.12.cv2.conv"}),
        ("model.[13].conv", {"model.1.conv", "model.3.conv"}),
    ],
)
def test_exclude_takes_names_and_patterns(yolo: YOLO, tmp_path: Path, pattern: str, whole: set) -> None:
    result = prune_model(yolo, tmp_path / "p.pt", 0.5, exclude=pattern, imgsz=64)
    assert whole <= {n for n, before, after in result.widths if before == after}
    assert "model.5.conv" in {n for n, before, after in result.widths if before > after}


def test_excluded_layers_keep_their_width(yolo: YOLO, tmp_path: Path) -> None:
    widths = {
        n: (a, b)
        for n, a, b in prune_model(yolo, tmp_path / "p.pt", 0.5, exclude=("model.22", "model.0*"), imgsz=64).widths
    }
    assert widths["model.0.conv"] == (16, 16) and widths["model.22.cv2.0.0.conv"] == (64, 64)
    assert widths["model.5.conv"] == (128, 64)


def test_pruning_twice(pruned, tmp_path: Path) -> None:
    again = prune_model(YOLO(pruned.path), tmp_path / "q.pt", 0.3, imgsz=64)
    assert again.params[0] == pruned.params[1] and again.params[1] < 0.75 * again.params[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images"),
    [(n, None) for n in (NAME, "yolov9t.yaml", "yolov10n.yaml", "yolo12n.yaml")]
    + [(n, torch.rand(2, 3, 64, 64)) for n in ("yolov10n.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml")],
)
def test_fused_model(tmp_path: Path, name: str, images: torch.Tensor | None) -> None:
    """YOLO26's heads lose layers that training needs when they are fused, and v10's half of the branches."""
    fused = randomised(name, nc=3)
    fused.model.eval().fuse(verbose=False)
    result = prune_model(fused, tmp_path / "p.pt", 0.3, imgsz=64, images=images)
    assert result.error <= 1e-8 and result.params[1] < 0.7 * result.params[0] and result.frozen_share < 0.001
    assert outputs(YOLO(result.path).model, torch.rand(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("keys", [{"nc": 1}, {"nc": 147}, {"channels": 1}])
def test_classes_and_channels(tmp_path: Path, keys: dict) -> None:
    yolo = randomised(NAME, **keys)
    result = prune_model(yolo, tmp_path / "p.pt", 0.3, imgsz=64)
    x = torch.rand(1, keys.get("channels", 3), 64, 64)
    assert outputs(YOLO(result.path).model, x).shape == outputs(yolo.model, x).shape


def test_untrained_model_is_said_to_be_flat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages = []
    handler = prune_module.LOGGER.warning
    prune_module.LOGGER.warning = messages.append
    try:
        prune_model(YOLO(NAME, verbose=False), tmp_path / "p.pt", 0.3, score="gamma", imgsz=64)
    finally:
        prune_module.LOGGER.warning = handler
    assert any("never trained" in m for m in messages)


def test_no_gradients_needed(tmp_path: Path) -> None:
    yolo = randomised(NAME, nc=3)
    yolo.model.requires_grad_(False)
    assert prune_model(yolo, tmp_path / "p.pt", 0.3, imgsz=64).ratio > 0.2


def test_one_training_step(pruned) -> None:
    model = YOLO(pruned.path).model.train().requires_grad_(True)
    model.args = get_cfg()
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]] * 2),
        "batch_idx": torch.tensor([0.0, 1.0]),
    }
    loss, _ = model(batch)
    loss.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.model[0].conv.weight.grad.abs().sum() > 0


def test_onnx_runtime_agrees(pruned, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    copy = tmp_path / "p.pt"
    copy.write_bytes(pruned.path.read_bytes())
    yolo = YOLO(copy)
    x = torch.rand(1, 3, 64, 64)
    expected = outputs(yolo.model.float(), x).numpy()
    path = YOLO(copy).export(format="onnx", imgsz=64, simplify=False, verbose=False)
    (got,) = runtime.InferenceSession(path).run(None, {"images": x.numpy()})
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("safe", ["0", "1"])
def test_stock_ultralytics_loads_and_runs_it(pruned, stock_ultralytics: Path, tmp_path: Path, safe: str) -> None:
    code = (
        "import sys, torch, ultralytics\n"
        "from ultralytics import YOLO\n"
        f"assert ultralytics.__file__.startswith({str(stock_ultralytics)!r}), ultralytics.__file__\n"
        "m = YOLO(sys.argv[1]).model.double().eval()\n"
        "torch.save(m(torch.ones(1, 3, 64, 64).double())[0], sys.argv[2])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(stock_ultralytics), "ULTRALYTICS_SAFE_LOAD": safe}
    out = tmp_path / "y.pt"
    subprocess.run([sys.executable, "-c", code, str(pruned.path), str(out)], check=True, cwd=tmp_path, env=env)
    here = outputs(YOLO(pruned.path).model.double(), torch.ones(1, 3, 64, 64).double())
    assert torch.allclose(torch.load(out), here, rtol=1e-10)


@pytest.mark.slow
def test_real_weights(shared: Path, tmp_path: Path) -> None:
    for name in ("diagram_yolov8n", "abd_yolov8n_147cls", "yolo11n_coco"):
        yolo = YOLO(shared / "weights" / f"{name}.pt")
        result = prune_model(yolo, tmp_path / f"{name}.pt", 0.3, imgsz=320)
        assert result.error <= 1e-8 and 0.25 < result.ratio < 0.33
        assert YOLO(result.path).names == yolo.names
        assert result.path.stat().st_size < 0.6 * (shared / "weights" / f"{name}.pt").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["s", "m", "l", "x"])
def test_larger_scales(tmp_path: Path, scale: str) -> None:
    assert prune_model(randomised(f"yolov8{scale}.yaml"), tmp_path / "p.pt", 0.5, imgsz=64).error <= 1e-8


@pytest.mark.slow
def test_peak_memory_is_at_most_three_times_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `benchmarks/prune_cost.py` measures it, in a process of its own."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import prune_cost

    cost = json.loads(prune_cost.child("s", prune_cost.environment("2")))
    assert cost["peak_mb"] <= 3 * cost["mb"]


def test_it_is_said_in_how_many_images_the_original_sees_anything(tmp_path, log):
    """Images of another kind leave nothing to choose channels by, and nothing else tells."""
    yolo = YOLO(ROOT / "weights/diagram-yolov8n.pt")
    drawn = draw_dataset(tmp_path / "drawn/diagram", train=3, val=1) / "images/train"
    prune_model(yolo, tmp_path / "p.pt", flops=0.9, images=str(drawn), imgsz=160)
    assert "detects something in 3 of 3 images" in log.text and "images only" not in log.text
    prune_model(yolo, tmp_path / "p.pt", flops=0.9, images=torch.zeros(3, 3, 160, 160), imgsz=160)
    assert "detects something in 0 of 3 images only; of the others nothing can be learned" in log.text
