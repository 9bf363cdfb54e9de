"""The benchmark beside other tools: what could be wrong there without being seen."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.pruning.architectures import shake
from ultralytics.utils.torch_utils import get_flops

from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import bench
import common

from peers import measure, narrow, ports, row, table, torch_pruned
from peers.bisect import nearest
from peers.methods import METHODS, SHARES, Task
from peers.split_c2f import SplitC2f, split_c2f
from peers.widen import widened

TASK = Task(Path("o.pt"), "d.yaml", 0.5, 0, 8, 320, 1.0, 0.001)


@pytest.fixture(scope="module")
def yolo() -> YOLO:
    """A YOLOv8 of random weights and statistics; 64 px in its arguments, as a checkpoint has."""
    torch.manual_seed(0)
    made = YOLO("yolov8n.yaml", verbose=False)
    shake(made.model)
    made.model.args = {"imgsz": 64}
    return made


def maps(model: nn.Module) -> torch.Tensor:
    """Return what all branches of the head put out for two images, in double precision: that shows any difference."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        return torch.cat([m.flatten(1) for m in torch_pruned.raw_maps(copy.deepcopy(model).double().eval(), images)], 1)


def difference(a: nn.Module, b: nn.Module) -> float:
    """Return the largest difference of two models' outputs, in units of the second's spread."""
    return float((maps(a) - maps(b)).abs().max() / maps(b).std())


@pytest.mark.parametrize("described", ["by a scale", "by factors"])
def test_a_widened_model_is_trained_at_its_width(yolo: YOLO, described: str, tmp_path: Path):
    """A checkpoint may name no scale; once the training made a model of the old width, at random, of the wide one."""
    model = copy.deepcopy(yolo.model)
    if described == "by factors":
        model.yaml = {name: value for name, value in model.yaml.items() if name not in ("scales", "scale")}
        model.yaml |= {"depth_multiple": 0.33, "width_multiple": 0.25}
    larger = widened(model)
    built = DetectionModel(larger.yaml, nc=len(model.names), verbose=False)
    assert all((a >= b).all() for a, b in zip(shapes(built), shapes(larger)))


def shapes(model: nn.Module) -> list[torch.Tensor]:
    return [torch.tensor(parameter.shape) for parameter in model.parameters()]


def test_a_widened_model_puts_out_the_same_with_twice_the_channels(yolo: YOLO):
    larger = widened(yolo.model, noise=0)
    assert difference(larger, yolo.model) < 1e-9
    assert larger.model[0].conv.out_channels == 2 * yolo.model.model[0].conv.out_channels
    assert difference(widened(yolo.model), yolo.model) > 1e-6  # the copies part


def test_a_split_c2f_puts_out_what_the_block_does(yolo: YOLO):
    split = split_c2f(yolo.model)
    assert sum(isinstance(m, SplitC2f) for m in split.modules()) == 8
    assert difference(split, yolo.model) < 1e-12
    for part in ("passed", "processed"):
        changed = copy.deepcopy(split)
        getattr(changed.model[15], part).conv.weight.data += 1
        assert difference(changed, yolo.model) > 1e-9


def test_the_head_without_its_decoding_is_the_head(yolo: YOLO):
    images = torch.rand(1, 3, 64, 64)
    model = copy.deepcopy(yolo.model).eval()
    with torch.no_grad():
        found, (_, raw) = torch_pruned.raw_maps(model, images), model(images)
    for kind, branch in (("boxes", found[:3]), ("scores", found[3:])):
        torch.testing.assert_close(torch.cat([m.flatten(2) for m in branch], 2), raw[kind])


def test_the_narrower_model_has_the_wanted_gflops_and_no_other_depth(yolo: YOLO, tmp_path: Path):
    yolo.save(tmp_path / "o.pt")
    made = YOLO(narrow.narrow(tmp_path / "o.pt", tmp_path / "n.pt", 0.5, 64)).model
    assert get_flops(made, 64) == pytest.approx(0.5 * get_flops(yolo.model, 64), rel=0.1)
    assert len(list(made.modules())) == len(list(yolo.model.modules()))


def test_slices_of_all_channels_are_the_original(yolo: YOLO):
    same = narrow.narrower(yolo.model, narrow.width_of(yolo.model.yaml))
    assert difference(same, yolo.model) > 1e-3
    narrow.take_slices(same, yolo.model)
    assert difference(same, yolo.model) < 1e-12


def test_slices_are_the_original_without_the_other_channels(yolo: YOLO):
    """Where every channel that a narrower model lacks puts out zero, that model computes what the original does."""
    original, small = copy.deepcopy(yolo.model), narrow.narrower(yolo.model, 0.125)
    marked = copy.deepcopy(original)
    for m in marked.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data[:] = torch.arange(len(m.weight)) + 1.0  # a channel's number, counted from 1
    narrow.take_slices(small, marked)
    norms = dict(original.named_modules())
    for name, m in small.named_modules():
        if isinstance(m, nn.BatchNorm2d):
            gone = torch.ones(len(norms[name].weight), dtype=torch.bool)
            gone[m.weight.long() - 1] = False
            norms[name].weight.data[gone] = norms[name].bias.data[gone] = 0.0
    narrow.take_slices(small, original)
    assert difference(small, yolo.model) > 1e-3
    assert difference(small, original) < 1e-12


def test_the_threshold_takes_the_same_from_all_layers_and_spares_tied_ones():
    pools = [
        ports.Pool(("a",), torch.arange(1, 21).numpy(), torch.linspace(0.05, 1.0, 20).numpy(), 1),
        ports.Pool(("b",), torch.arange(21, 31).numpy(), torch.zeros(10).numpy(), 1),
        ports.Pool(("c", "d"), torch.arange(31, 51).numpy(), torch.zeros(20).numpy(), 1),
    ]
    gone = [of_pool.tolist() for of_pool in ports.below(pools, 0.475)]
    assert gone == [list(range(1, 10)), [21, 22]]  # below 0.475 in a; eight of b stay; c and d are tied


def test_torch_pruning_meets_the_goal_and_keeps_the_outputs_form(yolo: YOLO, tmp_path: Path):
    pytest.importorskip("torch_pruning", reason="a peer of the benchmark alone: pip install '.[bench]'")
    yolo.save(tmp_path / "o.pt")
    made = YOLO(torch_pruned.prune(tmp_path / "o.pt", tmp_path / "p.pt", "l2", 0.5, 64)).model.float()
    assert get_flops(made, 64) == pytest.approx(0.5 * get_flops(yolo.model, 64), rel=0.03)
    assert maps(made).shape == maps(yolo.model).shape


def test_a_bisection_ends_at_the_nearest_step():
    assert nearest(lambda x: x, lambda x: round(10 * x), 3, (0, 1)) == pytest.approx(0.3, abs=0.05)
    assert nearest(lambda x: x, lambda x: round(10 * (1 - x)), 3, (1, 0)) == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("total", (4, 7, 16))
def test_the_epochs_of_all_trainings_together_are_those_of_every_method(name: str, total: int):
    counts = [count for _, count in METHODS[name].epochs(total)]
    assert sum(counts) == total and min(counts) >= 1
    assert sum(stage.share for stage in (*METHODS[name].before, *METHODS[name].after)) == pytest.approx(1)


def test_smaller_images_save_what_is_asked_for():
    method = METHODS["smaller images"]
    assert [method.image_size(replace(TASK, share=s)) for s in (1.0, 0.5, 0.35)] == [320, 224, 192]
    assert METHODS["ours"].image_size(TASK) == 320


def test_what_has_no_share_is_measured_once_a_seed():
    settings = {**bench.FULL, "seeds": "0,1"}
    done = bench.tasks(["ours", "unpruned, trained on"], settings, "real")
    shares = [(name, task.share, task.seed) for name, task in done if task.seed == 1]
    assert shares == [("ours", 0.5, 1), ("unpruned, trained on", 1.0, 1), ("ours", 0.35, 1)]


def test_quick_is_little_of_everything():
    quick = [task for _, task in bench.tasks(bench.chosen("main"), bench.QUICK, "real")]
    assert len(quick) == len(bench.MAIN)
    assert {(t.seed, t.epochs, t.imgsz, t.fraction) for t in quick} == {(0, 4, 160, 0.1)}
    full = bench.tasks(bench.chosen("main"), bench.FULL, "real")
    assert len(full) == 3 * sum(len(method.shares) for method in bench.MAIN.values())
    assert {task.share for _, task in full} == {1.0, *SHARES}


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "source", lambda wanted: "real")
    asked = []

    def measured(methods, task, root):
        (method,) = methods
        asked.append((method, task.share))
        if len(asked) == 2:
            return {}  # this one fails, and is tried again next time
        return {method: {key: 0.5 for key in bench.FIGURES if key != "torch_ms"}}

    monkeypatch.setattr(bench, "measured", measured)
    options = {"methods": "ours;narrower", "seeds": "0", "epochs": "5"}
    assert bench.main(**options) == 1
    assert "failed, their errors are above: narrower at 0.5" in capsys.readouterr().out
    assert bench.main(**options) == 0
    assert asked == [("ours", 0.5), ("narrower", 0.5), ("ours", 0.35), ("narrower", 0.35), ("narrower", 0.5)]
    assert bench.main(**{**options, "epochs": "6"}) == 0  # other settings are other rows
    assert len(asked) == 9 and len(common.read_rows("bench")) == 8
    assert (tmp_path / "bench_gflops.svg").is_file()


def test_the_reference_is_trained_once_for_itself_and_its_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    for module in (common, bench):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "source", lambda wanted: "real")
    for name in (names := ["unpruned, trained on", "int8, ONNX Runtime", "int8, OpenVINO"]):
        monkeypatch.setitem(bench.METHODS, name, replace(METHODS[name], needs=None))
    groups = bench.together(bench.tasks(list(bench.MAIN), {**bench.FULL, "seeds": "0"}, "real"))
    assert [asked for asked, _ in groups if len(asked) > 1] == [names]
    assert sum(len(asked) for asked, _ in groups) == sum(len(method.shares) for method in bench.MAIN.values())
    asked = []

    def measured(methods, task, root):
        asked.append(list(methods))
        return {method: {key: 0.5 for key in bench.FIGURES} for method in methods[:2]}  # the last one's export fails

    monkeypatch.setattr(bench, "measured", measured)
    assert bench.main(methods=";".join(names), seeds="0") == 1
    assert "failed, their errors are above: int8, OpenVINO at 1.0, seed 0" in capsys.readouterr().out
    assert [row["method"] for row in common.read_rows("bench")] == names[:2]
    assert bench.main(methods=";".join(names), seeds="0") == 0
    assert asked == [names, names[2:]]


@pytest.mark.parametrize("method", ["ours", "int8, OpenVINO"])
@pytest.mark.parametrize("device", ["cpu", "0"])
def test_only_rows_trained_on_a_cpu_are_timed(
    method: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = row.Made(tmp_path / "cut.pt", tmp_path / "final.pt", 12.0, 34.0)
    monkeypatch.setattr(row, "make", lambda *_: made)
    monkeypatch.setattr(row, "export_model", lambda *_, **__: tmp_path / "exported")
    monkeypatch.setattr(measure, "sizes", lambda *_: {"gflops": 1.0})
    for name, figure in {
        "accuracy": "map50_95",
        "of_file": "size_mb",
        "latencies": "ms",
        "file_latencies": "ms",
    }.items():
        monkeypatch.setattr(measure, name, lambda *_, figure=figure: {figure: 0.5})
    where = []
    monkeypatch.setattr(measure, "relation_f1", lambda *given: where.append(given[-1]) or 0.5)
    ((_, found),) = row.rows([method], replace(TASK, device=device), tmp_path)
    costs = {key: found[key] for key in ("seconds", "peak_mb", "ms") if key in found}
    assert costs == ({"seconds": 12.0, "peak_mb": 34.0, "ms": 0.5} if device == "cpu" else {})
    assert where == [device] and found["map50_95"] == 0.5 and ("size_mb" in found) == (method != "ours")


def test_means_are_those_over_the_seeds_of_one_method_and_share():
    def row(method: str, share: str, value: float, ratio: str = "0.6") -> dict[str, str]:
        return {"method": method, "share": share, "map50_95": str(value), "onnx_ratio": ratio}

    rows = [row("a", "0.5", 0.6), row("a", "0.5", 0.7), row("a", "0.35", 0.9), row("b", "0.5", 0.68, "")]
    found = [(r["method"], r["share"], round(r["map50_95"], 6), r["spread"]) for r in table.means(rows)]
    assert found == [
        ("b", "0.5", 0.68, "0.6800 to 0.6800 (1)"),
        ("a", "0.5", 0.65, "0.6000 to 0.7000 (2)"),
        ("a", "0.35", 0.9, "0.9000 to 0.9000 (1)"),
    ]
    drawn = table.points(table.means(rows), ("onnx_ratio", "openvino_ratio"), {"a": "ours", "b": "others"})
    assert {name: [(p[0], p[1]) for p in of] for name, of in drawn.items()} == {"ours": [("a", 0.6), ("a", 0.6)]}
