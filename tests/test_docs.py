"""What the documentation says is what the code does."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.slim import losses
from ultralytics.slim.distill import FeatureLoss
from ultralytics.slim.distiller import LOGIT_WEIGHT
from ultralytics.slim.settings import TRAIN_ARGS, SlimSettings, distill_losses

DOCS = Path(__file__).resolve().parent.parent / "docs"


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
        assert SlimSettings.from_args({"Distillation": "t.pt", "loss_type": "cosine+logit"}).losses == ("cosine", "logit")
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
