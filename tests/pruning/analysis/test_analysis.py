"""The analysis of a model before pruning: its figures, its tables, and how it is stopped."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.analysis.findings import Analysis, Factor, Group
from ultralytics.slim.pruning.analysis.scan import analyse_model, search_factor
from ultralytics.slim.pruning.gamma_check import GammaCheck, check_gammas
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.labelled import LabelledImages, with_loss


def norm(*gammas: float) -> nn.Module:
    bn = nn.BatchNorm2d(len(gammas))
    bn.weight.data = torch.tensor(gammas)
    return bn


def test_gammas_by_hand() -> None:
    model = nn.Sequential(norm(0.0, 0.001, -0.009, 1.0), norm(0.5, -0.5))
    found = check_gammas(model, 0.5)
    assert found.enough and found.near_zero == 0.5 and found.ready == 0.5
    assert found.lost == pytest.approx(0.010 / 2.010, rel=1e-5)
    more = check_gammas(model, 4 / 6)
    assert not more.enough and more.lost == pytest.approx(0.51 / 2.01, rel=1e-5)
    assert "channels by gamma? yes" in str(found) and "no: the weakest 67% hold 25.4%" in str(more)


def test_gammas_that_say_nothing() -> None:
    assert "never trained" in str(check_gammas(norm(1.0, 1.0), 0.5))
    assert not check_gammas(nn.Conv2d(3, 3, 1), 0.5).enough


def found(metric: str, base: float, values: dict[str, list[float]]) -> Analysis:
    out = Analysis(metric, 0.9, 4, GammaCheck(0.5), "l1", (), base)
    out.groups = [Group((name,), 16, s, v) for name, row in values.items() for s, v in zip((0.25, 0.5), row)]
    return out


def test_sensitive_groups_are_those_beyond_what_is_allowed() -> None:
    by_loss = found("loss", 2.0, {"a": [2.1, 9.0], "b": [2.5, 2.6], "c": [3.0, 3.0]})
    assert by_loss.exclude == ("c", "b")  # more than 2 / 0.9 at the smallest share
    by_map = found("map", 0.5, {"a": [0.5, 0.1], "b": [0.0, 0.0], "c": [0.44, 0.4], "d": [0.46, 0.4]})
    assert by_map.exclude == ("b", "c")


def test_safe_factor_is_the_largest_that_kept_its_promise() -> None:
    out = found("loss", 1.0, {})
    assert out.safe_factor is None
    out.factors = [Factor(0.0, 1, 0.5), Factor(0.5, 0.5, 0.2), Factor(0.25, 0.7, 0.46), Factor(0.35, 0.6, 0.44)]
    assert out.safe_factor == 0.25 and "0.25 keeps 0.4600 of 0.5000 (92.0%; asked 90%)" in str(out)


def test_a_model_that_finds_nothing_has_no_safe_factor() -> None:
    """Any share of an accuracy of 0 is kept by any factor."""
    out, model = found("loss", 1.0, {}), nn.Conv2d(3, 3, 1)
    search_factor(out, model, lambda share: model, SimpleNamespace(accuracy=lambda net: 0.0), 64)
    assert out.safe_factor is None and "the whole model finds nothing right" in str(out)


@pytest.mark.slow
def test_a_whole_analysis(yolo_of_two, tiny_data: Path, tmp_path: Path, monkeypatch) -> None:
    accuracies = iter([0.8, 0.79, 0.1, 0.78, 0.1])  # of the whole model, then as bisection asks
    monkeypatch.setattr(LabelledImages, "accuracy", lambda self, net: next(accuracies))
    out = analyse_model(yolo_of_two, tiny_data, tmp_path, shares=0.5, limit=2, imgsz=64, score="l1", repair="fold")
    assert out.complete and out.safe_factor == 0.6 and [f.factor for f in out.factors] == [0, 0.5, 0.75, 0.6, 0.65]
    assert out.factors[1].gflops < 0.6 and out.factors[2].gflops < out.factors[1].gflops
    with open(tmp_path / "layers.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(out.groups) > 30 and {r["share_cut"] for r in rows} == {"0.5"}
    assert all((tmp_path / name).read_text().startswith("<svg") for name in ("layers.svg", "factors.svg"))
    first = out.groups[0]
    assert first.layers[0] == "model.0.conv" and prune_at(yolo_of_two, first, tiny_data) == pytest.approx(
        first.value, rel=1e-4
    )


def prune_at(yolo_of_two, group: Group, data: Path) -> float:
    """Return the loss of a model from which half of one group was really cut."""
    names = [n for n, m in yolo_of_two.model.named_modules() if isinstance(m, nn.Conv2d)]
    others = tuple(n for n in names if n not in group.layers and ".dfl" not in n)
    path = data.parent / "cut.pt"
    keys = {"score": "l1", "scope": "layer", "imgsz": 64, "round_to": 1}
    cut = prune_model(yolo_of_two, path, 0.5, exclude=others, repair="none", **keys).model
    cut.names = yolo_of_two.model.names
    return LabelledImages(yolo_of_two.model, data, "val", 64, limit=2).loss(with_loss(cut))


def test_interrupted_it_keeps_what_is_measured(yolo_of_two, tiny_data: Path, tmp_path: Path, monkeypatch) -> None:
    losses = iter([1.0, 2.0, 3.0])

    def loss(self, net):
        if (value := next(losses, None)) is None:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(LabelledImages, "loss", loss)
    out = analyse_model(yolo_of_two, tiny_data, tmp_path / "a", limit=2, imgsz=64, score="l1", repair="fold")
    assert not out.complete and out.base == 1 and [g.value for g in out.groups] == [2, 3]
    assert out.safe_factor is None and "stopped before the end" in str(out)
    assert (tmp_path / "a/layers.csv").read_text().count("\n") == 3 and not (tmp_path / "a/factors.csv").exists()


@pytest.mark.parametrize("keys", [{"shares": (0.5, 1.0)}, {"metric": "mAP"}, {"keep": 0}, {"factor": True}])
def test_wrong_arguments_are_named(yolo_of_two, tiny_data: Path, keys: dict) -> None:
    (name,) = keys
    with pytest.raises(ValueError, match=f"{name} should be"):
        analyse_model(yolo_of_two, tiny_data, **keys)
