"""Every recipe of CONTRIBUTING.md does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.slim import FEATURE_LOSSES, FeatureLoss, prune_model
from ultralytics.slim.errors import MissingPackageError
from ultralytics.slim.exporting.formats import NEEDS, check_packages
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.operations import RULES
from ultralytics.slim.pruning.score.magnitude import FILTER_SCORES
from ultralytics.slim.settings import SlimSettings

from places import ROOT
from short_runs import MINI

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def recipe(title: str, language: str = "python") -> str:
    """Return the code of the chapter with this title."""
    chapter = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S).group(1)
    return re.search(rf"```{language}\n(.*?)```", chapter, re.S).group(1)


@pytest.fixture
def follow(monkeypatch):
    """Return a function that runs a recipe; what it registers is gone after the test."""
    for registry in (FEATURE_LOSSES, FILTER_SCORES, RULES, NEEDS):
        for name, value in registry.items():
            monkeypatch.setitem(registry, name, value)
    before = [(registry, set(registry)) for registry in (FEATURE_LOSSES, FILTER_SCORES, RULES, NEEDS)]
    yield lambda title: exec(recipe(title), {})
    for registry, names in before:
        for name in set(registry) - names:
            del registry[name]


def test_a_loss(follow):
    follow("Add a loss")
    assert SlimSettings.from_args({"Distillation": "t.pt", "loss_type": "huber+logit"}).losses == ("huber", "logit")
    loss = FeatureLoss([4], [6], "huber")
    assert loss([torch.randn(2, 4, 3, 3)], [torch.randn(2, 6, 3, 3)]).item() > 0


def test_a_score(follow, tmp_path):
    """It ranks: of two channels that differ in their largest weight alone, the one with the smaller goes."""
    yolo = YOLO("yolov8n.yaml")
    with pytest.raises(ValueError, match="peak"):
        prune_model(yolo, tmp_path / "no.pt", 0.3, score="peak")
    follow("Add a score")
    convolution = yolo.model.model[0].conv.weight
    nn.init.constant_(convolution, 0.01)
    for channel in range(0, 16, 2):
        convolution.data[channel, 0, 0, 0] = 0.05
    result = prune_model(yolo, tmp_path / "small.pt", 0.5, score="peak")
    assert result.score == "peak"
    kept = result.model.model[0].conv.weight.flatten(1).amax(1)
    assert len(kept) == 8 and kept.min().item() == pytest.approx(0.05, abs=1e-4)


class Rolled(nn.Module):
    """A convolution whose output is rolled along the image, which another one reads."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 8, 1)

    def forward(self, x):
        return self.last(torch.roll(self.first(x), (2, 2), (2, 3)))


def test_an_operation(follow):
    frozen = lambda: {reason for reason in trace_channels(Rolled()).book.frozen().values() if "roll" in reason}
    assert frozen(), "without a rule the channels are fixed"
    follow("Add an operation")
    assert not frozen()


def test_an_export_format(follow):
    follow("Add an export format")
    with pytest.raises(MissingPackageError, match="format=mnn needs MNN: pip install MNN"):
        check_packages(["mnn"])


def edited(folder: Path, patch: str) -> None:
    """Make the edits of a recipe: lines with a minus, which stand in the file once, give way to those with a plus."""
    for name, edits in re.findall(r"^\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", patch, re.M | re.S):
        text = (folder / name).read_text(encoding="utf-8")
        for edit in edits.split("@@\n")[1:]:
            old, new = ("\n".join(line[1:] for line in edit.splitlines() if line[0] == sign) for sign in "-+")
            assert text.count(old) == 1, f"{name}: {old!r} stands there {text.count(old)} times"
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_stage(tiny_data, tmp_path):
    """In a copy of the tree: it is planned, run, recorded and reported, and may be left out."""
    (tmp_path / "ultralytics").mkdir()
    for path in (ROOT / "ultralytics").iterdir():
        if path.name not in ("slim", "__pycache__"):
            (tmp_path / "ultralytics" / path.name).symlink_to(path)
    for name in ("ultralytics/slim", "connectors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prune_model.py", "relation.py"):
        shutil.copy(ROOT / name, tmp_path)
    edited(tmp_path, recipe("Add a stage", "diff"))
    YOLO(MINI).save(tmp_path / "start.pt")
    code = f"""
import prune_model
from ultralytics.slim.measuring.timing import few_rounds
from ultralytics.slim.runs.run_settings import RunSettings
assert "polishing (3 epochs)" in RunSettings.read({{}}).plan
assert "polishing" not in RunSettings.read({{"polish.epochs": 0}}).plan
small = dict(imgsz=64, batch=4, epochs=1, device="cpu", workers=0, format="torchscript", verbose=True)
small |= {{"sparse.epochs": 0, "retrain.epochs": 0, "prune.repair": "fold"}}
left_out = RunSettings.read({{"polish.epochs": 0}})
assert left_out.stages[-1].makes == "distilled" and RunSettings.read({{}}).stages[-1].makes == "polished"
with few_rounds(3):
    table = prune_model.compress(weights="start.pt", data={str(tiny_data)!r}, **small)
assert [row.name for row in table] == ["original", "pruned", "distilled", "polished"]
"""
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs/slim/run/weights/polish.pt").is_file()
    assert "polished" in (tmp_path / "runs/slim/run/report.md").read_text(encoding="utf-8")
