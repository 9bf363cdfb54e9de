"""The endless sequence of varied images: each in its turn, and the same sample whoever makes it."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ultralytics.slim.inputs.varied import VariedImages, varied

ITEMS = [np.full((60, 80, 3), 20 * number, np.uint8) for number in range(5)]


def test_every_image_comes_once_a_pass_in_another_order_each_time():
    samples = VariedImages(ITEMS, 32, 3, 15, seed=0)
    passes = [[samples._place(number) for number in range(start, start + 5)] for start in (0, 5, 10)]
    assert all(sorted(order) == list(range(5)) for order in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_depends_on_its_number_alone(workers):
    """Also in other processes, and where the sequence is entered in its middle."""
    whole = list(DataLoader(VariedImages(ITEMS, 32, 3, 12, seed=3), 4, num_workers=workers))
    np.random.seed(1)
    rest = list(DataLoader(VariedImages(ITEMS, 32, 3, 8, seed=3, first=4), 4))
    assert [a.equal(b) for a, b in zip(whole[1:], rest)] == [True, True]
    assert not whole[0].equal(next(iter(DataLoader(VariedImages(ITEMS, 32, 3, 4, seed=4), 4))))


def test_samples_have_the_form_that_models_read():
    colour = VariedImages(ITEMS, 32, 3, 2, seed=0)[0]
    assert colour.shape == (3, 32, 32) and colour.dtype == torch.uint8
    assert VariedImages(ITEMS, 32, 1, 2, seed=0)[0].shape == (1, 32, 32)
    with pytest.raises(IndexError):
        VariedImages(ITEMS, 32, 3, 2, seed=0)[2]


def test_a_classifiers_image_leaves_no_border():
    """It covers the square but for what the shift uncovers; a detector's fits into it."""
    image = np.full((50, 200, 3), 255, np.uint8)
    fits, covers = (varied(image, 64, np.random.default_rng(5), cover).astype(float) for cover in (False, True))
    shares = [(square >= (square.min() + square.max()) / 2).mean() for square in (fits, covers)]
    assert shares[1] > 2 * shares[0]
