"""What the documentation says is what the code does."""

import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.slim.distillation.distiller import LOGIT_WEIGHT
from ultralytics.slim.losses import layer_losses as losses
from ultralytics.slim.losses.feature_loss import FeatureLoss
from ultralytics.slim.settings import TRAIN_ARGS, SlimSettings, distill_losses

from places import ROOT

DOCS = ROOT / "docs"


def test_every_argument_and_loss_is_documented():
    text = (DOCS / "distillation.md").read_text(encoding="utf-8")
    tables = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+)`", tables))
    assert set(TRAIN_ARGS) | set(distill_losses()) <= named


def test_the_loss_of_your_own_works_as_written():
    text = (DOCS / "distillation.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(class CosineLoss.*?)```", text, re.S).group(1)
    before = dict(losses.FEATURE_LOSSES)
    try:
        exec(code, {"nn": nn, "F": F, "LossSpec": losses.LossSpec, "FEATURE_LOSSES": losses.FEATURE_LOSSES})
        assert SlimSettings.from_args({"Distillation": "t.pt", "loss_type": "cosine+logit"}).losses == (
            "cosine",
            "logit",
        )
        loss = FeatureLoss([4], [6], "cosine")
        assert loss([torch.randn(2, 4, 3, 3)], [torch.randn(2, 6, 3, 3)]).item() > 0
    finally:
        losses.FEATURE_LOSSES.clear()
        losses.FEATURE_LOSSES.update(before)


def test_documented_weights_are_the_weights():
    text = (DOCS / "distillation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.]+) \| arXiv", text, re.M)
    expected = {name: spec.weight for name, spec in losses.FEATURE_LOSSES.items()} | {"logit": LOGIT_WEIGHT}
    assert {name: float(weight) for name, weight in rows} == expected


def test_a_registered_loss_is_a_loss_type():
    for name in distill_losses():
        assert SlimSettings.from_args({"Distillation": "t.pt", "loss_type": f"{name}+sparse"}).losses == (name,)


@pytest.mark.slow
def test_docstrings_render_as_a_reference(tmp_path):
    """With the very command of `make docs`; pdoc warns of types of other packages that it cannot look up, no more."""
    root = DOCS.parent
    line = re.search(r"^docs:.*\n\t\$\(RUN\) (.*)", (root / "Makefile").read_text(encoding="utf-8"), re.M).group(1)
    words = [str(tmp_path) if word == "docs/api" else word for word in line.split()]
    done = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    warnings = [row for row in done.stderr.splitlines() if "Warn" in row and "type annotation" not in row]
    assert not warnings
    page = (tmp_path / "prune_model.html").read_text(encoding="utf-8")
    assert 'id="PruneModel.distill"' in page and "<h6 id=" in page, "methods, and Args as a heading of its own"
    pages = {path.relative_to(tmp_path).with_suffix("").as_posix() for path in tmp_path.rglob("*.html")}
    modules = {
        path.relative_to(root).with_suffix("").as_posix() for path in (root / "ultralytics/slim").rglob("[a-z]*.py")
    }
    assert modules <= pages, f"no page for {modules - pages}"
