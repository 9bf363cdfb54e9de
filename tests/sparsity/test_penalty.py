"""The γ penalty: soft thresholding by hand, exact zeros, and independence of optimizer and length."""

import pytest
import torch
from torch import nn

from ultralytics.slim.sparsity.gammas import gamma_stats, gammas
from ultralytics.slim.sparsity.penalty import SparsityPenalty, decay, soft_threshold_


def model(values):
    bn = nn.BatchNorm2d(len(values))
    bn.weight.data = torch.tensor(values)
    return nn.Sequential(nn.Conv2d(3, len(values), 1), bn, nn.BatchNorm2d(2, affine=False))


def test_soft_threshold_by_hand():
    gamma = torch.tensor([1.0, -1.0, 0.2, -0.2, 0.0])
    soft_threshold_([gamma], 0.25)
    assert torch.equal(gamma, torch.tensor([0.75, -0.75, 0.0, 0.0, 0.0]))


def test_only_trainable_scales_are_penalised():
    net = model([1.0, 2.0])
    assert [g.tolist() for g in gammas(net)] == [[1.0, 2.0]]
    net[1].weight.requires_grad_(False)
    assert gammas(net) == []
    with pytest.raises(ValueError, match="no trainable BatchNorm"):
        SparsityPenalty(net, 1.0)


@pytest.mark.parametrize("lr, steps", [(0.01, 10), (0.0005, 500)])
def test_strength_is_how_far_gamma_moves_whatever_lr_and_length(lr, steps):
    net = model([1.0, 2.0, 3.0])
    planned = sum(lr * decay(i / steps) for i in range(steps))
    penalty = SparsityPenalty(net, strength=0.5)
    penalty.set_rate(planned, steps)
    moved = sum(penalty.step(lr, i / steps) for i in range(steps))
    assert moved == pytest.approx(0.5 * 2.0, rel=1e-6)  # half the median
    assert torch.allclose(net[1].weight.data, torch.tensor([0.0, 1.0, 2.0]), atol=1e-5)


def test_what_was_moved_before_counts_where_the_rate_is_set_anew():
    """Planned for ten steps, and after five of them for fifteen in all; where nothing is left to go or to do, for 0."""
    penalty = SparsityPenalty(model([1.0, 2.0, 3.0]), strength=0.5)
    penalty.set_rate(weight=10 * 0.01, steps=10)
    moved = sum(penalty.step(0.01, 0.0) for _ in range(5))
    penalty.set_rate(weight=10 * 0.01, steps=15, moved=moved)
    assert moved + sum(penalty.step(0.01, 0.0) for _ in range(10)) == pytest.approx(0.5 * 2.0)
    for weight, moved in ((0.1, 1.5), (0.0, 0.5)):
        penalty.set_rate(weight, 15, moved)
        assert penalty.rate == 0


@pytest.mark.parametrize("values, median", [([0.0, 0.0, 0.009, 1.0, 3.0, 2.0], 2.0), ([0.001, 0.002, 0.003], 0.002)])
def test_the_median_is_that_of_the_channels_that_are_left(values, median):
    assert SparsityPenalty(model(values), strength=1.0).median == pytest.approx(median)


def test_a_huge_strength_brings_every_gamma_to_exactly_zero():
    net = model([1.0, -2.0, 3.0])
    penalty = SparsityPenalty(net, strength=1e3)
    penalty.set_rate(1.0, 1)
    penalty.step(1.0, 0.0)
    assert torch.count_nonzero(net[1].weight).item() == 0


@pytest.mark.parametrize("steps, expected", [(10, 0.007), (1000, 0.7), (100_000, 1.0)])
def test_the_default_strength_keeps_a_pace_that_short_runs_survive(steps, expected):
    penalty = SparsityPenalty(model([1.0, 2.0, 3.0]), strength=None)
    penalty.set_rate(weight=steps * 0.01, steps=steps)
    moved = steps * 0.01 * penalty.rate
    assert moved == pytest.approx(expected * 2.0)


def test_decay_falls_from_one_to_a_tenth():
    assert [decay(x) for x in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_stats_by_hand():
    stats = gamma_stats(model([0.001, -0.009, 1.0, -3.0]))
    assert stats["gamma/near_zero"] == 0.5
    assert stats["gamma/median"] == pytest.approx((0.009 + 1.0) / 2)
    assert gamma_stats(nn.Conv2d(1, 1, 1)) == {}
