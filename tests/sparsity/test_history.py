"""Warnings of a sparse run by figures, and its picture."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.slim.sparsity.gammas import gamma_stats
from ultralytics.slim.sparsity.history import GammaHistory


def model(*values):
    bn = nn.BatchNorm2d(len(values))
    bn.weight.data = torch.tensor(values)
    return bn


@pytest.mark.parametrize(
    "values, progress, fitness, best, expected",
    [
        ((1.0, 1.0, 1.0), 0.5, 0.5, 0.5, "hardly move"),
        ((1.0, 1.0, 1.0), 0.1, 0.5, 0.5, ""),  # too early to tell
        ((0.8, 0.8, 0.8), 0.5, 0.5, 0.5, ""),  # moved
        ((0.001, 1.0, 1.0), 0.5, None, None, ""),  # some are gone
        ((0.8, 0.8, 0.8), 0.5, -3.0, -2.0, ""),  # a negative loss, where the validator has no fitness
        ((0.8, 0.8, 0.8), 0.5, 0.2, 0.5, "fell to 0.2000 from 0.5000"),
    ],
)
def test_advice(values, progress, fitness, best, expected):
    history = GammaHistory(model(1.0, 1.0, 1.0))
    say = lambda: history.flat(progress, gamma_stats(model(*values))) + history.collapse(fitness, best)  # noqa: E731
    said = say()
    assert expected in said and bool(said) == bool(expected)
    assert say() == ""  # once is enough


def test_a_collapse_is_measured_against_the_best_of_the_dense_epochs():
    history = GammaHistory(model(1.0, 1.0, 1.0))
    history.best = 0.5
    resumed = GammaHistory(model(0.1, 0.1, 0.1))
    resumed.load_state_dict(history.state_dict())
    assert "fell to 0.2000 from 0.5000" in resumed.collapse(0.2, 0.2)  # the trainer looks for the best afresh


def test_histograms_count_every_channel(tmp_path):
    history = GammaHistory(model(0.5, 1.0, 2.0))
    history.add(model(0.0, 0.1, 50.0), epoch=0)  # beyond the edges at the start: in the last bin
    assert [int(r.sum()) for r in history.rows] == [3, 3] and history.rows[1][-1] == 1
    history.add(model(0.0, 0.0, 0.1), epoch=0)  # redone after NaN
    assert len(history.rows) == 2 and history.rows[1][-1] == 0
    history.plot(tmp_path / "gamma.png")
    assert np.ptp(cv2.imread(str(tmp_path / "gamma.png"))) > 0
