"""Every architecture that the release ships prunes exactly, keeps few channels fixed, and runs again from its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from random_models import randomised

from ultralytics import YOLO
from ultralytics.slim.pruning.architectures import reason_against, shipped
from ultralytics.slim.pruning.prune import prune_model

NAMES = [name for name in shipped() if reason_against(name) is None]
FAST = re.compile(
    r"^(yolov5n|yolov8n(-ghost|-seg|-pose|-obb|-cls)?|yolov9t|yolov10n|yolo1[12]n|yolo26n(-seg|-pose)?)\.yaml$"
)
CASES = [pytest.param(name, marks=[] if FAST.match(name) else [pytest.mark.slow]) for name in NAMES]


def test_the_list_is_the_release() -> None:
    assert len(NAMES) >= 45
    assert {"yolov3.yaml", "yolov6n.yaml", "yolov9e.yaml", "yolov10x.yaml", "yolo12n.yaml", "yolo26n-obb.yaml"} <= set(
        NAMES
    )


@pytest.mark.parametrize("name", CASES)
def test_prunes_exactly(name: str, tmp_path: Path) -> None:
    yolo = randomised(name)
    result = prune_model(yolo, tmp_path / "p.pt", 0.3, imgsz=64)
    assert result.error <= 1e-8
    assert 0.2 < result.ratio < 0.4 and result.gflops[1] < 0.75 * result.gflops[0]
    assert result.frozen_share <= 0.06, result.frozen
    assert all(after >= 1 for _, _, after in result.widths)
    size = 2 * max(64, int(yolo.model.stride.max()))
    loaded = YOLO(result.path).model.float().eval()
    with torch.no_grad():
        loaded(torch.rand(1, 3, size, size))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolov9t.yaml"])
def test_attention_at_every_factor_and_twice(name: str, factor: float, tmp_path: Path) -> None:
    first = prune_model(randomised(name), tmp_path / "p.pt", factor, imgsz=64)
    assert first.error <= 1e-8
    if factor == 0.5:
        assert prune_model(YOLO(first.path), tmp_path / "q.pt", 0.3, imgsz=64).error <= 1e-8
