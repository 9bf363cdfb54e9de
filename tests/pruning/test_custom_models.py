"""A user's own block in an Ultralytics model: ordinary operations prune, what is not understood stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim.pruning import once
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.verify import advice
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.result import PruneResult
from ultralytics.slim.pruning.score.ranking import rank
from ultralytics.slim.pruning.select.pools import exclude_layers

from random_models import randomised, shake
from small_modules import AAttn, Counted, Demanding, Grouped, Ordinary, Strange

AT = 4  # the layer that is replaced: 64 channels in and out, read by the next layer and by the neck


class Idle(nn.Module):
    """A branch that runs only when it is asked for, and so never in a trace."""

    def __init__(self, c: int):
        super().__init__()
        self.cv, self.aside, self.asked = nn.Conv2d(c, c, 1), nn.Conv2d(c, 7, 1), False

    def forward(self, x):
        return self.cv(x) + (self.aside(x).mean() if self.asked else 0)


class Passing(nn.Module):
    """A buffer of one value a channel that no state dict holds, as experts count their use."""

    def __init__(self, c: int):
        super().__init__()
        self.cv = nn.Conv2d(c, c, 1)
        self.register_buffer("use", torch.rand(1, c, 1, 1), persistent=False)

    def forward(self, x):
        return self.cv(x) * self.use


class Attending(nn.Module):
    """An attention of strong contrasts, as a trained one has, in its first form."""

    def __init__(self, c: int):
        super().__init__()
        self.attn = AAttn(c)

    def forward(self, x):
        return x + self.attn(x)


def with_block(block: type) -> YOLO:
    """Return a YOLOv8n whose fourth layer is a plain `nn.Module`."""
    yolo = randomised("yolov8n.yaml", nc=3)
    old, new = yolo.model.model[AT], block(64)
    new.i, new.f, new.type, new.np = old.i, old.f, block.__name__, 0
    yolo.model.model[AT] = new
    shake(yolo.model)
    return yolo


def pruned(block: type, folder: Path) -> tuple[PruneResult, dict[str, tuple[int, int]]]:
    result = prune_model(with_block(block), folder / "p.pt", 0.5, imgsz=64)
    with torch.no_grad():
        YOLO(result.path).model.float().eval()(torch.rand(1, 3, 64, 96))
    return result, {name: (before, after) for name, before, after in result.widths}


def test_a_block_of_ordinary_operations_prunes(tmp_path: Path) -> None:
    result, widths = pruned(Ordinary, tmp_path)
    assert result.error <= 1e-8 and result.frozen_share == 0
    assert widths[f"model.{AT}.up"] == widths[f"model.{AT}.down"] == widths["model.3.conv"] == (64, 32)
    assert result.model.model[AT].dw.groups == 32 and result.model.model[AT].scale.shape == (1, 32, 1, 1)


def test_a_buffer_that_is_not_kept_with_a_checkpoint_is_cut_with_its_channels(tmp_path: Path) -> None:
    result, widths = pruned(Passing, tmp_path)
    assert result.error <= 1e-8 and result.frozen_share == 0
    assert widths[f"model.{AT}.cv"] == (64, 32) and result.model.model[AT].use.shape == (1, 32, 1, 1)


@pytest.mark.parametrize(
    ("block", "why", "fixed"),
    [(Strange, "cumsum", {"model.3.conv"}), (Grouped, "grouped convolution", {"model.3.conv", f"model.{AT}.cv"})],
)
def test_an_unknown_operation_fixes_its_own_channels_only(tmp_path: Path, block: type, why: str, fixed: set) -> None:
    result, widths = pruned(block, tmp_path)
    assert result.error <= 1e-8
    reasons = dict(line.split(": ", 1) for line in result.frozen if "model output" not in line)
    assert set(reasons) == fixed and all(why in reason for reason in reasons.values())
    assert all(widths[name] == (64, 64) for name in fixed)
    predictions = {line.split(": ")[0] for line in result.frozen if "model output" in line}
    assert all(after < before for name, (before, after) in widths.items() if name not in fixed | predictions)


def test_a_layer_that_never_ran_stays_with_what_it_may_read(tmp_path: Path) -> None:
    result, widths = pruned(Idle, tmp_path)
    reasons = dict(line.split(": ", 1) for line in result.frozen if "model output" not in line)
    assert set(reasons) == {"model.3.conv", f"model.{AT}.cv", f"model.{AT}.aside"}
    assert all("never ran" in reason for reason in reasons.values())
    assert widths["model.2.cv2.conv"] == (32, 16)


# -- code that counts on widths which no tensor shows ------------------------------------------------------------------
@pytest.mark.slow
def test_attention_in_its_first_form_is_cut_exactly_whatever_its_contrasts(tmp_path: Path) -> None:
    """Scaled in float32, the queries would differ by a hundred times as much."""
    yolo = with_block(Attending)
    yolo.model.model[AT].attn.qk.bn.weight.data *= 30
    result = prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64)
    block = YOLO(result.path).model.model[AT].attn
    assert result.error <= 2e-15 and result.frozen_share == 0
    assert block.head_dim == 16 and block.qk.conv.out_channels == 2 * block.v.conv.out_channels == 64


@pytest.mark.parametrize(("block", "why"), [(Counted, "outputs differ by"), (Demanding, "expected 64 channels")])
def test_a_block_that_counts_on_its_widths_stays_whole_and_the_rest_is_pruned(
    tmp_path: Path, block: type, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        result, widths = pruned(block, tmp_path)
    assert result.error <= 1e-8
    assert widths["model.2.cv2.conv"] == (32, 16) and widths[f"model.{AT}.cv"] == (64, 64)
    reasons = [line for line in result.frozen if line.startswith(f"model.{AT}.cv: ")]
    assert f"model.{AT} ({block.__name__}): kept whole" in reasons[0] and why in reasons[0]
    assert f"model.{AT} ({block.__name__})" in caplog.text and "planned again" in caplog.text
    assert result.record(8, None)["frozen"][f"model.{AT}.cv"] in reasons[0]


def test_all_blocks_of_a_class_stay_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more plan for each of them would soon be more than are made."""
    monkeypatch.setattr(once, "PLANS", 2)
    yolo = with_block(Demanding)
    for name, c in ((6, 128), (9, 256)):
        old, new = yolo.model.model[name], Demanding(c)
        new.i, new.f, new.type, new.np = old.i, old.f, "Demanding", 0
        yolo.model.model[name] = new
    result = prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64)
    kept = {name for name, before, after in result.widths if before == after and name.endswith(".cv")}
    assert kept == {"model.4.cv", "model.6.cv", "model.9.cv"} and result.error <= 1e-8


def test_every_name_that_a_message_advises_is_one_that_exclude_takes() -> None:
    """Whatever module is at fault: an activation, a BatchNorm or what reads predictions is none."""
    model = with_block(Attending).model
    graph, advised = trace_channels(model), set()
    for name, _ in model.named_modules():
        advised |= set(re.findall(r"exclude=\['(.+)'\]", advice(graph.layers, name)))
    assert {f"model.{AT}.attn", f"model.{AT}.attn.qk.conv", "model.0", "model.0.conv"} <= advised
    assert "model.0.act" not in advised and "model.22.dfl" not in advised
    for name in advised:
        exclude_layers(graph, (name,))


@pytest.mark.slow
def test_an_error_that_stays_advises_what_exclude_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "PLANS", 1)
    yolo = with_block(Demanding)
    with pytest.raises(RuntimeError, match="does not run") as raised:
        prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64)
    assert not list(tmp_path.iterdir())
    (name,) = re.findall(r"exclude=\['(.+)'\]", str(raised.value))
    assert prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64, exclude=("model.3", name)).error <= 1e-8


def test_an_analysis_counts_on_what_can_be_proved() -> None:
    model = with_block(Demanding).model.float().eval()
    graph = trace_channels(model)
    ranking = once.proved(model, graph, rank(model, graph, "l1", "layer"), 8)
    assert not any(f"model.{AT}.cv" in pool.layers for pool in ranking.pools)
    assert any("model.2.cv2.conv" in pool.layers for pool in ranking.pools)
