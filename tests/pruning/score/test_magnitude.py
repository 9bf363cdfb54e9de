"""Scores against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.score.magnitude import pick_score, score_labels, score_names
from ultralytics.slim.pruning.score.surgeon import Covariance, Part, Reader
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed, take_share
from ultralytics.slim.pruning.select.pools import Pool, make_pools
from ultralytics.slim.sparsity.gammas import tell_flat_gammas

from small_modules import Halves, Net


class Two(nn.Module):
    """Two convolutions, the first with a BatchNorm of known scales."""

    stride = torch.tensor([8.0])

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4, eps=0.0)
        self.b = nn.Conv2d(4, 2, 1)
        rows = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [3.0, 4.0, 0]])
        self.a.weight.data = rows[:, :, None, None]
        self.bn.weight.data = torch.tensor([4.0, -3.0, 2.0, 1.0])

    def forward(self, x):
        return self.b(self.bn(self.a(x)))


def scores_of(method: str) -> np.ndarray:
    net = Two()
    return score_labels(net, trace_channels(net), method)[1:5]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("gamma", [4, 3, 2, 1]),
        ("l1", np.array([4, 6, 6, 7]) / 5.75),  # |w| times |γ| / σ, over the mean
        ("l2", np.array([4, 6, 6, 5]) / 5.25),
    ],
)
def test_scores_by_hand(method: str, expected) -> None:
    assert np.allclose(scores_of(method), expected)


def test_lamp_divides_by_all_at_least_as_large() -> None:
    # squares 16, 36, 36, 25, largest first 36, 36, 25, 16: 36/36, 36/72, 25/97, 16/113
    value = np.array([16 / 113, 36 / 36, 36 / 72, 25 / 97])
    assert np.allclose(scores_of("lamp"), value / value.mean())


def test_fpgm_sums_distances() -> None:
    rows = np.array([[4, 0, 0], [0, 6, 0], [0, 0, 6], [3, 4, 0.0]])
    value = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(1)
    assert np.allclose(scores_of("fpgm"), value / value.mean())


def test_random_depends_on_the_seed_alone() -> None:
    net = Two()
    graph = trace_channels(net)
    a, b, c = (score_labels(net, graph, "random", seed)[1:] for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_unknown_score_lists_the_choices() -> None:
    net = Two()
    with pytest.raises(ValueError, match="gamma.*l1.*got 'l3'"):
        score_labels(net, trace_channels(net), "l3")


def test_auto_takes_gamma_only_where_it_is_sparse() -> None:
    net = Two()
    assert pick_score(net) == "l1"
    net.bn.weight.data[0] = 1e-4
    assert pick_score(net) == "gamma"


def test_flat_gammas_are_told() -> None:
    net = Two()
    assert tell_flat_gammas(net) is None
    net.bn.weight.data.fill_(1)
    assert "never trained" in tell_flat_gammas(net)
    assert "no BatchNorm" in tell_flat_gammas(nn.Conv2d(3, 3, 1))
    assert set(score_names()) >= {"gamma", "l1", "l2", "lamp", "fpgm", "random"}


def test_halves_are_tied_by_rank() -> None:
    net = Net(Halves())
    graph = trace_channels(net)
    values = np.full(len(graph.book) + 1, 0.5)
    stem = graph.layers["stem.0"]
    values[stem[:16]], values[stem[16:]] = np.arange(16), np.arange(16)[::-1]
    _, book = make_pools(graph, values)
    ties = [(book.find(int(a)), int(i)) for i, a in enumerate(stem[:16])]
    for (root, i), other in zip(ties, stem[16:][::-1]):  # weakest with weakest
        assert book.find(int(other)) == root, i


def pool(scores, name="a") -> Pool:
    scores = np.asarray(scores, float)
    return Pool((name,), np.arange(1, len(scores) + 1), scores, 1)


def test_widths_are_multiples_with_a_floor() -> None:
    assert pool(np.arange(40)).widths(8) == [40, 32, 24, 16, 8]
    assert pool(np.arange(20)).widths(8) == [20, 16, 8]
    assert pool(np.arange(6)).widths(8) == [6]
    assert min(pool(np.arange(200)).widths(8)) == 24  # 10 % of 200, rounded up


def test_layer_scope_cuts_evenly_and_rounds_to_the_nearest() -> None:
    pools = [pool(np.arange(64)), pool(np.arange(32))]
    steps = take_share(pools, order_narrowings(pools, "layer", 8), "layer", 0.3)
    kept = {s.pool: s.after for s in steps}
    assert kept == {0: 48, 1: 24}  # 44.8 and 22.4


def test_global_scope_takes_the_weakest_and_keeps_the_floors() -> None:
    pools = [pool(np.full(64, 0.1)), pool(np.full(64, 1.0))]
    steps = take_share(pools, order_narrowings(pools, "global", 8), "global", 0.5)
    kept = {s.pool: s.after for s in steps}
    assert kept == {0: 8, 1: 56}
    assert len(removed(pools, steps)) == 64


def test_global_scope_goes_below_the_floor_last() -> None:
    """A pool at its floor waits until the others are there too; then it goes on, so that no goal gets out of reach."""
    pools = [pool(np.full(64, 0.1)), pool(np.full(64, 1.0))]
    steps = order_narrowings(pools, "global", 8, floor=0.5)
    assert [s.pool for s in steps[:8]] == [0] * 4 + [
        1
    ] * 4  # to 32 of 64 each, though the second costs ten times as much
    assert sorted(steps[8:], key=lambda s: (s.pool, -s.after)) == steps[8:] and steps[-1].after == 8
    assert {s.after for s in take_share(pools, steps, "global", 0.25)} == {56, 48, 40, 32}
    pools[0].whole = 128  # it had twice as many before an earlier pruning: 64 is its floor
    assert [s.pool for s in order_narrowings(pools, "global", 8, floor=0.5)[:4]] == [1] * 4
    assert order_narrowings(pools, "layer", 8, floor=0.9) == order_narrowings(pools, "layer", 8)


def test_unknown_scope() -> None:
    with pytest.raises(ValueError, match="'layer' or 'global'"):
        order_narrowings([pool(np.arange(16))], "some", 8)


def test_covariances_are_gathered_in_parts() -> None:
    x = 3 + torch.randn(5, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, single = Covariance(5), Covariance(5)
    for part in x.split([1, 60, 39], 1):
        whole.add(part)
    single.add(x[:, :1])
    assert np.allclose(whole.result(), np.cov(x.numpy())) and not single.result().any()


def test_surgeon_cost_is_the_least_squares_error() -> None:
    """The cost of taking inputs out, one after the other, equals the error of the re-fitted layer."""
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 6)) @ random.normal(size=(6, 6))
    w = random.normal(size=(3, 6))
    s = x.T @ x / len(x)
    part = Part(Reader(np.arange(1, 7), w.T @ w, np.linalg.inv(s)), np.arange(6), np.arange(6))
    total = 0.0
    for unit in (2, 4):
        total += part.costs(6)[unit]
        gone = np.zeros(6, bool)
        gone[unit] = True
        part.remove(gone)
    left = [0, 1, 3, 5]
    fitted, *_ = np.linalg.lstsq(x[:, left], x @ w.T, rcond=None)
    error = ((x[:, left] @ fitted - x @ w.T) ** 2).sum() / len(x)
    assert np.isclose(total, error)
