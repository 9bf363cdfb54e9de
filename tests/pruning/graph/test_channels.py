"""The channel graph on small modules whose ties can be read off the code."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.label_book import LabelBook
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.graph.verify import check_equal, in_float64, masking
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed
from ultralytics.slim.pruning.select.pools import make_pools

from random_models import shake
from small_modules import Gate, Grouped, Halves, Net, Ordinary, Strange


def prune(net: nn.Module, factor: float = 0.5) -> tuple[nn.Module, float]:
    """Cut half the channels of every pool at random; return the pruned net and its distance to the masked one."""
    shake(net)
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    steps = [s for s in order_narrowings(pools, "layer", 2) if s.key < factor]
    keep = ~np.isin(book.roots(), removed(pools, steps))
    pruned = copy.deepcopy(net)
    slice_model(pruned, graph, keep)
    with masking(net, graph, keep):
        return pruned, check_equal(net, pruned)


def frozen_layers(net: nn.Module) -> dict[str, str]:
    graph = trace_channels(net)
    frozen, roots = graph.book.frozen(), graph.book.roots()
    return {n: frozen[roots[labels[0]]] for n, labels in graph.layers.items() if roots[labels[0]] in frozen}


def test_labels_unite_freeze_and_count() -> None:
    book = LabelBook()
    a, b = book.new(3), book.new(3)
    book.unite(a, b)
    assert book.roots().tolist() == [0, 1, 2, 3, 1, 2, 3]
    book.freeze(b[:1], "because")
    assert book.frozen() == {1: "because"}
    book.unite(np.array([2]), np.array([0]))  # meets a position without a channel
    assert set(book.frozen()) == {1, 2}


@pytest.mark.parametrize("block", [Halves, Ordinary])
def test_ordinary_blocks_prune_exactly(block: type) -> None:
    net = Net(block())
    pruned, error = prune(net)
    assert error <= 1e-12
    assert pruned.stem[0].out_channels == 16 and pruned.stem[1].num_features == 16
    assert pruned.end.in_channels == 16 and pruned.end.out_channels == 4


def test_halves_lose_as_many_channels_each() -> None:
    pruned, _ = prune(Net(Halves()))
    assert pruned.block.cv.in_channels == pruned.block.cv.out_channels == 8


@pytest.mark.parametrize(
    ("block", "why"), [(Strange, "cumsum"), (Gate, "not 0 where a channel is masked"), (Grouped, "grouped convolution")]
)
def test_what_cannot_be_cut_is_frozen_with_the_reason(block: type, why: str) -> None:
    frozen = frozen_layers(Net(block()))
    assert why in frozen["stem.0"]
    pruned, error = prune(Net(block()))
    assert error <= 1e-12
    assert pruned.stem[0].out_channels == 32


def test_behind_an_unknown_operation_the_rest_still_prunes() -> None:
    pruned, _ = prune(Net(Strange()))
    assert pruned.block.after.out_channels == 16


def test_a_layer_used_twice_is_cut_once() -> None:
    conv = nn.Conv2d(32, 32, 3, padding=1)
    pruned, error = prune(Net(nn.Sequential(conv, nn.ReLU(), conv)))
    assert error <= 1e-12
    assert pruned.block[0] is pruned.block[2] and pruned.block[0].in_channels == 16


def test_tracing_leaves_the_model_alone() -> None:
    net = Net(Halves())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    trace_channels(net)
    assert net.training and not net.stem._forward_hooks
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_wrong_cut_is_caught_and_named() -> None:
    net = Net(Ordinary())
    shake(net)
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    keep = ~np.isin(book.roots(), removed(pools, order_narrowings(pools, "layer", 8)))
    pruned = copy.deepcopy(net)
    slice_model(pruned, graph, keep)
    pruned.block.down.weight.data = pruned.block.down.weight.data.flip(1)
    with pytest.raises(RuntimeError, match=r"block\.down"), masking(net, graph, keep):
        check_equal(net, pruned)


def test_a_trace_leaves_no_copy_of_the_model_behind() -> None:
    """Nothing that only the garbage collector would find: a large model's copy would stay in memory for a while."""
    net = Net(Halves())
    trace_channels(net)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(o, Net) for o in gc.get_objects())
        trace_channels(net)
        assert sum(isinstance(o, Net) for o in gc.get_objects()) == before
    finally:
        gc.enable()


def test_a_comparison_in_place_leaves_the_model_as_it_was() -> None:
    """Masked, turned into float64, run, and back: every tensor bit by bit, and what the modules keep from a run."""
    net = Net(Halves()).train()
    shake(net)
    net.block.kept = (32, 32)
    net.block.register_forward_hook(lambda m, args, output: setattr(m, "kept", output))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    graph = trace_channels(net)
    keep = np.arange(len(graph.book) + 1) % 2 == 0
    with masking(net, graph, keep), in_float64(net):
        assert not torch.equal(net.stem[1].running_mean.float(), before["stem.1.running_mean"])
        assert net(torch.ones(1, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64
    assert net.training and net.block.kept == (32, 32)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())
