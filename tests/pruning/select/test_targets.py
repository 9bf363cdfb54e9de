"""A pruning ends at its target or at most 2 % under it, or says what the closest is."""

from __future__ import annotations

import copy
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.errors import InputError
from ultralytics.slim.measuring.runtimes import onnx_run
from ultralytics.slim.measuring.timing import ROUNDS, few_rounds
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.rounds import factor_due
from ultralytics.slim.pruning.score.magnitude import score_labels
from ultralytics.slim.pruning.select import stopwatch as latency
from ultralytics.slim.pruning.select.goals import read_goal
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed
from ultralytics.slim.pruning.select.pools import make_pools
from ultralytics.slim.pruning.select.stopwatch import Reading, Stopwatch
from ultralytics.slim.pruning.select.targets import amount, make_target, take_target

from random_models import randomised
from short_runs import MINI


@pytest.fixture(scope="module")
def small() -> YOLO:
    """A detector of a few layers, of three classes."""
    return randomised(str(MINI), nc=3)


def test_goal_defaults_to_the_issue_factor() -> None:
    assert read_goal(None, flops=None) == (0.7, None)
    assert read_goal(None, flops=0.5) == (None, ("flops", 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scope"), [(str(MINI), "layer"), (str(MINI), "global"), ("yolo11n.yaml", "global")])
def test_every_target_is_met_or_its_neighbours_are_named(name: str, scope: str) -> None:
    """For random values of each target: what is left is at most 2 % under it, or no value named is."""
    model, random, met = randomised(name, nc=3).model.eval(), np.random.default_rng(0), 0
    graph = trace_channels(model)
    pools, book = make_pools(graph, score_labels(model, graph, "l1"))
    wholes = {"flops": 1, "params": 1, "size_mb": amount(model, "size_mb", 64)}
    for round_to in (8, 16):
        steps = order_narrowings(pools, scope, round_to)
        for what, whole in wholes.items():
            target = make_target(what, whole * float(random.uniform(0.15, 0.95)), model, 64)
            try:
                taken, reached = take_target(model, graph, pools, book, steps, target, Reading(target.whole))
            except ValueError as error:
                *under, over = (float(n) for n in re.findall(r"([\d.]+) (?:of the|MB)", str(error)))
                assert all(u < 0.98 * target.value for u in under) and over > target.value
                continue
            cut = copy.deepcopy(model)
            slice_model(cut, graph, ~np.isin(book.roots(), removed(pools, taken)))
            assert target.measure(cut) == reached and 0.98 * target.goal <= reached.value <= target.goal
            met += 1
    assert met >= 4


@pytest.mark.parametrize(("what", "value"), [("flops", 0.5), ("params", 0.4), ("size_mb", 3.0)])
def test_the_file_is_at_its_target(yolo: YOLO, tmp_path: Path, what: str, value: float) -> None:
    result = prune_model(yolo, tmp_path / "p.pt", imgsz=64, **{what: value})
    reached = {
        "flops": result.gflops[1] / result.gflops[0],
        "params": result.params[1] / result.params[0],
        "size_mb": result.path.stat().st_size / 1e6,
    }[what]
    assert 0.98 * value <= reached <= value * 1.005
    assert result.factor is None and torch.load(result.path, weights_only=False)["slim"]["target"] == [what, value]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_no_layer_goes_below_the_floor_where_others_can(yolo: YOLO, tmp_path: Path, steps: int) -> None:
    """The default floor follows the goal; without one the same goal leaves some layers far narrower."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    keys = dict(flops=0.5, imgsz=64, images=images, repair="none", round_to=1, steps=steps)
    free, held = (prune_model(yolo, tmp_path / "p.pt", floor=floor, **keys) for floor in (0, "auto"))
    assert held.floor == pytest.approx(0.57 * 0.5**0.5)

    def least(result) -> float:
        return min(after / before for _, before, after in result.widths if before >= 32)

    assert least(held) >= held.floor - 0.01 and least(free) < held.floor - 0.1


@pytest.mark.slow
def test_the_floor_puts_no_goal_out_of_reach(small: YOLO, tmp_path: Path) -> None:
    """At a tenth of the GFLOPs every layer is below 0.9 of its width: the floor gives way, and the goal is met."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    result = prune_model(small, tmp_path / "p.pt", flops=0.1, floor=0.9, imgsz=64, images=images, repair="none")
    assert 0.098 <= result.gflops[1] / result.gflops[0] <= 0.1


@pytest.mark.parametrize("target", [{"size_mb": 50}, {"latency_ms": 1e9}])
def test_a_target_above_the_model_is_an_error(yolo: YOLO, tmp_path: Path, target: dict) -> None:
    with pytest.raises(ValueError, match=r"has no more than [\d.]+ (MB|ms)"):
        prune_model(yolo, tmp_path / "p.pt", imgsz=64, **target)


# ------------------------------------------------------------------------------------------------------------- latency


class Machine:
    """A clock and a runtime in which 100,000 parameters take 1 ms, more in busy moments, and never exactly."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, noise: float = 0.02):
        self.now, self.random, self.noise, self.runs = 0.0, np.random.default_rng(0), noise, count(1)
        monkeypatch.setattr(latency, "time_sync", lambda device: self.now)
        monkeypatch.setattr("ultralytics.slim.pruning.select.stopwatch.torch_run", self.runner)

    @staticmethod
    def milliseconds(model: torch.nn.Module) -> float:
        return sum(p.numel() for p in model.parameters()) / 1e5

    def runner(self, model: torch.nn.Module, *how):
        exact = self.milliseconds(model)

        def run() -> None:
            busy = 1 + 2 * (next(self.runs) // 2 % 200 > 120)  # other work, for 80 of every 200 rounds
            self.now += 1e-3 * exact * busy * self.random.lognormal(0, self.noise)

        return run


def fused_ms(model: torch.nn.Module) -> float:
    return Machine.milliseconds(copy.deepcopy(model).float().fuse(verbose=False))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_latency_is_met_on_a_busy_machine(small: YOLO, tmp_path: Path, monkeypatch, share: float) -> None:
    Machine(monkeypatch)
    wanted = share * fused_ms(small.model)
    result = prune_model(small, tmp_path / "p.pt", latency_ms=wanted, imgsz=64)
    assert 0.97 * wanted <= fused_ms(result.model) <= 1.01 * wanted
    told = torch.load(result.path, weights_only=False)["slim"]["latency"]
    assert told == result.latency and told["runtime"] == "torch" and told["batch"] == 1 and 0 < told["error"] < 0.01
    assert 0.98 * wanted <= told["after_ms"] <= wanted < told["before_ms"]
    assert f"-> {told['after_ms']:.2f} ms" in str(result)


def test_a_latency_that_leaps_over_its_goal_ends_under_it_with_a_warning(
    small: YOLO, tmp_path: Path, monkeypatch, log
) -> None:
    """On a machine where a model takes as long as the whole one until it has lost a third, 0.8 cannot be had to 2 %."""
    exactly, whole = Machine.milliseconds, fused_ms(small.model)
    leaping = staticmethod(lambda model: whole if exactly(model) > 0.7 * whole else exactly(model))
    monkeypatch.setattr(Machine, "milliseconds", leaping)
    Machine(monkeypatch)
    result = prune_model(small, tmp_path / "p.pt", latency_ms=0.8 * whole, imgsz=64)
    assert 0.6 * whole < result.latency["after_ms"] < 0.71 * whole
    under, over = re.search(
        r"no widths end just under [\d.]+ ms: the closest are ([\d.]+) ms and ([\d.]+) ms", log.text
    ).groups()
    assert float(under) == pytest.approx(result.latency["after_ms"], rel=0.01)
    assert float(over) == pytest.approx(whole, rel=0.01)


def test_a_latency_out_of_reach_names_the_closest(yolo: YOLO, tmp_path: Path, monkeypatch) -> None:
    Machine(monkeypatch)
    with pytest.raises(ValueError, match=r"latency_ms=0.1 cannot be met: the closest is [\d.]+ ms \(the floor"):
        prune_model(yolo, tmp_path / "p.pt", latency_ms=0.1, imgsz=64)
    assert not list(tmp_path.iterdir())


def test_a_far_candidate_is_timed_briefly_and_a_near_one_exactly(yolo: YOLO, monkeypatch) -> None:
    Machine(monkeypatch, noise=0.01)
    with few_rounds(ROUNDS):
        watch = Stopwatch(yolo.model, "torch", 64, seconds=(0.0, 1e9))
    near, far = (
        watch(yolo.model, share * watch.original_ms, (share + 0.02) * watch.original_ms) for share in (0.99, 0.5)
    )
    assert far.rounds == 15 < near.rounds and near.error < 0.0025
    assert near.value == pytest.approx(watch.original_ms, rel=4 * near.error)


def test_slack_grows_with_the_spread_of_a_timing(yolo: YOLO) -> None:
    target = make_target("params", 1.0, yolo.model, 64)
    under = 0.97 * target.goal
    assert not target.is_met(Reading(under, 0.01)) and target.is_met(Reading(under, 0.02))
    assert not target.is_met(Reading(1.001 * target.goal, 0.02))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_real_runtimes_are_timed(yolo: YOLO, tmp_path: Path, runtime: str) -> None:
    """The same model takes as long as itself; one with a fifth of the GFLOPs is faster."""
    if missing := latency.missing_packages(runtime):
        pytest.skip(f"needs {', '.join(missing)}")
    small = prune_model(yolo, tmp_path / "p.pt", flops=0.2, imgsz=64).model
    watch = Stopwatch(yolo.model.float().eval(), runtime, 256, batch=2, device="cpu", seconds=(0.3, 2.0))
    same, less = (watch(m, 0, 1e-9).value / watch.original_ms for m in (yolo.model, small))
    assert 0.7 < same < 1.4 and less < 0.8 * same


def test_models_timed_in_one_runtime_have_the_same_threads(tmp_path: Path) -> None:
    """Ultralytics' export sets PyTorch's threads, where a session's come from: the first had more than those after it.

    Threads that wait by spinning take the cores from the model that is timed next.
    """
    pytest.importorskip("onnxruntime")
    path, before = tmp_path / "small.pt", torch.get_num_threads()
    YOLO("yolov8n-cls.yaml", verbose=False).save(path)
    try:
        torch.set_num_threads(3)
        options = [onnx_run(path, 32, tmp_path).func.__self__.get_session_options() for _ in range(2)]
        assert [o.intra_op_num_threads for o in options] == [3, 3]
        assert [o.get_session_config_entry("session.intra_op.allow_spinning") for o in options] == ["0", "0"]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"runtime": "tensorrt"}, "one of torch, onnx, openvino, got 'tensorrt'"),
        ({"batch": 0}, "from 1, got 0"),
        ({"latency_ms": 0}, "milliseconds above 0"),
        ({"latency_ms": 5, "flops": 0.5}, "one goal"),
    ],
)
def test_bad_latency_arguments(yolo: YOLO, tmp_path: Path, keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune_model(yolo, tmp_path / "p.pt", imgsz=64, **{"latency_ms": None, **keys})


def test_a_missing_runtime_says_what_to_install(yolo: YOLO, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(latency, "missing_packages", lambda runtime: [f"{runtime}runtime"])
    with pytest.raises(ValueError, match="needs onnxruntime: pip install onnxruntime"):
        prune_model(yolo, tmp_path / "p.pt", latency_ms=5, runtime="onnx", imgsz=64)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["7", "cuda", "gpu"])
def test_a_device_that_is_not_there_is_told_in_one_line(yolo: YOLO, tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"device={device}: there is no GPU here; leave it out, or give device=cpu"):
        prune_model(yolo, tmp_path / "p.pt", latency_ms=5, device=device, imgsz=64)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------------- steps


def test_what_is_due_on_the_way_falls_geometrically(yolo: YOLO) -> None:
    target = make_target("flops", 0.125, yolo.model, 64)
    assert [target.on_the_way(i / 3).goal / target.whole for i in (1, 2, 3)] == pytest.approx([0.5, 0.25, 0.125])
    assert [target.on_the_way(i / 3).is_last for i in (1, 2, 3)] == [False, False, True]
    assert [factor_due(0.875, i / 3) for i in (1, 2, 3)] == pytest.approx([0.5, 0.75, 0.875])


@pytest.mark.slow
@pytest.mark.parametrize(
    "goal", [{"factor": 0.6}, {"factor": 0.6, "scope": "global"}, {"flops": 0.4}, {"params": 0.3}, {"size_mb": 0.6}]
)
def test_steps_end_at_the_goal_of_the_first_model(small: YOLO, tmp_path: Path, goal: dict) -> None:
    once, thrice = (prune_model(small, tmp_path / f"{n}.pt", imgsz=64, steps=n, **goal) for n in (1, 3))
    (what, value), size = next(iter(goal.items())), thrice.path.stat().st_size / 1e6
    parts = {"flops": thrice.gflops, "params": thrice.params, "size_mb": (1, size), "factor": (1, 1 - thrice.ratio)}
    reached, wanted = parts[what][1] / parts[what][0], 1 - value if what == "factor" else value
    assert abs(reached / wanted - 1) < 0.03 and thrice.params[0] == once.params[0]
    assert [n for n, _, _ in thrice.widths] == [n for n, _, _ in once.widths]
    assert [before for _, before, _ in thrice.widths] == [before for _, before, _ in once.widths]
    record = torch.load(thrice.path, weights_only=False)["slim"]
    left = [step["params"] for step in record["steps"]]
    assert len(left) == 3 and once.params[0] > left[0] > left[1] > left[2] == thrice.params[1]
    state = YOLO(thrice.path).model.state_dict()
    assert all(
        len(state[f"{name}.weight"]) == after for name, (_, after) in record["widths"].items() if "dfl" not in name
    )


@pytest.mark.slow
def test_even_steps_find_the_widths_of_one(yolo: YOLO, tmp_path: Path) -> None:
    """The same share of every layer, counted from the first model: where they are cut on the way changes nothing."""
    once, thrice = (prune_model(yolo, tmp_path / f"{n}.pt", 0.6, scope="layer", imgsz=64, steps=n) for n in (1, 3))
    assert once.widths == thrice.widths


def test_floors_are_those_of_the_first_model(tmp_path: Path) -> None:
    """A tenth of 256 channels is 32, rounded to 8; a tenth of what a first step leaves would be less."""
    wide = randomised("yolov8n.yaml", nc=3)
    once, many = (prune_model(wide, tmp_path / f"{n}.pt", 0.99, imgsz=64, steps=n) for n in (1, 4))
    widest = {name: after for name, before, after in many.widths if before == 256 and after < before}
    assert widest and set(widest.values()) == {32} and once.widths == many.widths


@pytest.mark.slow
def test_training_between_the_steps_is_gone_on_from(yolo: YOLO, tmp_path: Path) -> None:
    trained = []

    def retrain(checkpoint: Path) -> None:
        net = YOLO(checkpoint)
        net.model.model[0].bn.bias.data.fill_(len(trained) + 1.0)
        net.save(checkpoint)
        trained.append(sum(p.numel() for p in net.model.parameters()))

    result = prune_model(yolo, tmp_path / "p.pt", flops=0.4, imgsz=64, steps=3, retrain=retrain, score="l1")
    assert trained == [step["params"] for step in result.steps[:2]]
    assert (result.model.model[0].bn.bias == 2).all() and [f.name for f in tmp_path.iterdir()] == ["p.pt"]


@pytest.mark.parametrize("fails", [KeyboardInterrupt, RuntimeError])
def test_a_stop_between_the_steps_writes_nothing(yolo: YOLO, tmp_path: Path, fails: type) -> None:
    def retrain(checkpoint: Path) -> None:
        raise fails

    with pytest.raises(fails):
        prune_model(yolo, tmp_path / "p.pt", flops=0.4, imgsz=64, steps=2, retrain=retrain)
    assert not list(tmp_path.iterdir())


def test_a_training_that_loses_the_widths_is_found_out(yolo: YOLO, tmp_path: Path) -> None:
    def retrain(checkpoint: Path) -> None:
        net = YOLO(checkpoint)
        net.model = randomised("yolov8n.yaml", nc=3).model
        net.save(checkpoint)

    with pytest.raises(RuntimeError, match="widths were not kept"):
        prune_model(yolo, tmp_path / "p.pt", flops=0.4, imgsz=64, steps=2, retrain=retrain)


def test_an_unreachable_target_is_told_before_the_first_step(yolo: YOLO, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the floor of every layer"):
        prune_model(yolo, tmp_path / "p.pt", flops=0.02, imgsz=64, steps=3, retrain=lambda checkpoint: 1 / 0)


@pytest.mark.parametrize(("keys", "message"), [({"steps": 0}, "from 1, got 0"), ({"retrain": print}, "give steps=2")])
def test_bad_steps(yolo: YOLO, tmp_path: Path, keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64, **keys)
