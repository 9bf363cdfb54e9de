"""Costs that are measured: which widths are worth having, what a narrowing saves, and times that are kept."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.devices import find_device
from ultralytics.slim.measuring import layer_times
from ultralytics.slim.measuring.layer_times import LayerShape, LayerTimes
from ultralytics.slim.measuring.runtimes import missing_packages
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.rewrite import sliced
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.magnitude import score_labels
from ultralytics.slim.pruning.select.narrowing import Narrowing, kept, order_narrowings, worthwhile
from ultralytics.slim.pruning.select.pools import Pool, make_pools
from ultralytics.slim.pruning.select.times import TimeCosts, layer_shapes

CPU = torch.device("cpu")
SHAPE = LayerShape((3, 3), (1, 1), (1, 1), (1, 1), False, False, "silu", (8, 8), 1)


class Multiplications(LayerTimes):
    """Layers that take as long as they multiply, or what else a function of them says."""

    def __init__(self, ms=lambda shape, ins, outs: multiplications(shape, ins, outs)):
        self._ms = ms

    def measure(self, wanted):
        self.seen = [*wanted]

    def ms(self, shape, ins, outs):
        return self._ms(shape, ins, outs)


def multiplications(shape, ins, outs):
    high, wide = (n // s for n, s in zip(shape.size, shape.stride))
    return outs * (1 if shape.depthwise else ins) * shape.kernel[0] * shape.kernel[1] * high * wide


def of_model(model, imgsz):
    """Multiplications of a whole model's convolutions, from what runs in it."""
    total = 0
    for name, shape in layer_shapes(model, imgsz, 1):
        conv = model.get_submodule(name)
        total += multiplications(shape, conv.in_channels, conv.out_channels)
    return total


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolov10n.yaml"])
def test_what_a_narrowing_saves_is_what_the_narrower_model_lacks(name):
    """With every other pool whole the estimate is exact, for each pool: ties, splits, concatenations, depthwise."""
    from random_models import randomised

    model = randomised(name, nc=2).model.eval()
    graph = trace_channels(model)
    pools, book = make_pools(graph, score_labels(model, graph, "l1", 0))
    roots = book.roots()
    costs = TimeCosts(model, graph, pools, roots, Multiplications(), 64, 1, 8, even=1.0)
    whole = of_model(model, 64)
    for number in range(0, len(pools), 3):
        widths = pools[number].widths(8)
        if len(widths) < 3:
            continue
        narrow = sliced(model, graph, kept(roots, pools, [Narrowing(0, number, widths[0], widths[2])]))
        assert costs.saved(number, widths[0], widths[2]) == pytest.approx(whole - of_model(narrow, 64))


def test_the_widths_that_are_worth_having_are_the_lower_hull():
    random = np.random.default_rng(0)
    for _ in range(50):
        widths = [*range(80, 0, -8)]
        saved = [0.0, *np.cumsum(random.choice([0.0, 1.0, 3.0], 9))]
        lost = [0.0, *np.cumsum(random.random(9))]
        found = worthwhile(widths, saved, lost)
        assert found[0] == 80 and found[-1] == 8 and found == sorted(found, reverse=True)
        at = [widths.index(width) for width in found]
        inner = at[:-1] if saved[at[-1]] <= saved[at[-2]] else at
        slopes = [(lost[b] - lost[a]) / (saved[b] - saved[a]) for a, b in pairwise(inner)]
        assert slopes == sorted(slopes)
        for i in range(len(widths)):  # none lies below the line through those that are kept
            if saved[i] <= saved[inner[-1]]:
                assert lost[i] >= np.interp(saved[i], [saved[j] for j in inner], [lost[j] for j in inner]) - 1e-9


def test_widths_that_save_nothing_are_left_out():
    """A runtime that computes 32 channels at once: nobody stops at 40 on the way to 32."""
    pools = [Pool((), np.arange(64), np.linspace(0, 1, 64) ** 2, 1)]
    blocks = lambda units: -(-units // 32) * 32  # noqa: E731
    saved = lambda pool, before, after: blocks(before) - blocks(after)  # noqa: E731
    steps = order_narrowings(pools, "global", 8, saved=saved)
    assert [(s.before, s.after, s.saves) for s in steps] == [(64, 32, 32), (32, 8, 0)]


def test_a_pruning_by_time_stops_at_widths_that_the_runtime_likes(yolo, tmp_path, monkeypatch):
    whole = lambda width: -(-width // 32) * 32  # noqa: E731
    in_blocks = Multiplications(lambda shape, ins, outs: multiplications(shape, whole(ins), whole(outs)))
    monkeypatch.setattr("ultralytics.slim.pruning.once.LayerTimes", lambda runtime, device: in_blocks)
    images = torch.rand(4, 3, 64, 64)
    results = {
        cost: prune_model(
            yolo, tmp_path / "s.pt", flops=0.6, images=images, imgsz=64, cost=cost, repair="none", floor=0.0
        )
        for cost in ("time", "flops")
    }
    liked = {cost: np.mean([after % 32 == 0 for _, before, after in r.widths if after < before and before > 32])
             for cost, r in results.items()}  # fmt: skip
    assert liked["time"] > liked["flops"] + 0.3
    assert results["time"].gflops[1] / results["time"].gflops[0] == pytest.approx(0.6, abs=0.02)


def test_times_are_kept_by_machine_and_not_measured_again(tmp_path, monkeypatch):
    file = tmp_path / "times.json"
    file.write_text(json.dumps({"another machine": {"a": 1.0}}))
    times = LayerTimes("torch", CPU, file)
    times.measure([(SHAPE, 8, 16), (SHAPE, 16, 8), (SHAPE, 8, 16)])
    assert times.ms(SHAPE, 8, 16) > 0
    kept = json.loads(file.read_text())
    assert kept["another machine"] == {"a": 1.0} and len(kept[times.machine]) == 2
    monkeypatch.setattr(LayerTimes, "_time", lambda *args: pytest.fail("timed again"))
    again = LayerTimes("torch", CPU, file)
    again.measure([(SHAPE, 8, 16)])
    assert again.ms(SHAPE, 8, 16) == times.ms(SHAPE, 8, 16)


@pytest.mark.parametrize("content", ["", "[1]", '{"m": 3}', "\x00"])
def test_damaged_times_are_measured_anew(content, tmp_path):
    file = tmp_path / "times.json"
    file.write_text(content)
    times = LayerTimes("torch", CPU, file)
    times.measure([(SHAPE, 8, 8)])
    assert json.loads(file.read_text())[times.machine]


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.Conv2d(8, 8, 5, 1, 2, groups=8),
        nn.ConvTranspose2d(8, 4, 2, 2),
        nn.ConvTranspose2d(8, 8, 2, 2, groups=8),
        nn.Conv2d(8, 4, 3, padding=2, dilation=2),
    ],
    ids=["strided", "depthwise", "transposed", "transposed depthwise", "dilated"],
)
def test_a_layer_of_its_own_puts_out_what_the_real_one_does(layer, runtime):
    if missing := missing_packages(runtime):
        pytest.skip(f"needs {', '.join(missing)}")
    shape = LayerShape.of(layer, nn.SiLU(), (9, 7), 2)
    output = layer_times.layer_run(shape, layer.in_channels, layer.out_channels, runtime, CPU)()
    output = output if runtime == "torch" else next(iter(output.values())) if runtime == "openvino" else output[0]
    assert tuple(output.shape) == tuple(layer(torch.zeros(2, 8, 9, 7)).shape)


def test_times_that_cannot_be_kept_stop_nothing(tmp_path, log):
    (tmp_path / "file").touch()
    times = LayerTimes("torch", CPU, tmp_path / "file/times.json")
    times.measure([(SHAPE, 8, 8)])
    assert times.ms(SHAPE, 8, 8) > 0 and "the times of layers are not kept" in log.text


def test_the_threads_are_those_that_the_user_set():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    find_device("cpu")
    assert torch.get_num_threads() == before + 1


def test_what_is_not_timed():
    assert LayerShape.of(nn.Conv2d(8, 8, 3, groups=2), None, (8, 8), 1) is None
    assert LayerShape.of(nn.Linear(8, 8), None, (8, 8), 1) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cost": "watts"}, "cost should be one of auto, flops, time, got 'watts'"),
        ({"cost": "time"}, "cost='time' weighs what channels cost the predictions: give images="),
        ({"runtime": "tflite"}, "runtime should be one of torch, onnx, openvino"),
    ],
)
def test_bad_arguments_write_nothing(yolo, tmp_path, keys, words):
    with pytest.raises(InputError, match=words):
        prune_model(yolo, tmp_path / "s.pt", 0.3, **keys)
    assert not list(tmp_path.iterdir())
