"""A teacher of a larger stride sees a border, and nothing of it is taught."""

import torch

from ultralytics.slim.distillation.resolution import padded, uncovered, uncovered_predictions


def test_a_border_brings_images_to_the_stride_and_the_part_on_them_back():
    images = torch.rand(2, 3, 96, 160)
    whole = padded(images, 64)
    assert whole.shape == (2, 3, 128, 192) and torch.equal(whole[..., :96, :160], images)
    assert whole[..., 96:, :].unique().tolist() == whole[..., 160:].unique().tolist() == [torch.tensor(114 / 255)]
    assert padded(whole, 64) is whole
    assert uncovered(whole[..., ::32, ::32], images, 32).equal(images[..., ::32, ::32])


def test_predictions_on_the_border_are_left_out():
    """Strides 32 and 64 on 64 x 128 pixels, of which 32 x 96 are the image: 3 of 8 anchor points, and 2 of 2."""
    images = torch.zeros(1, 3, 32, 96)
    scores = torch.arange(10.0).view(1, 1, 10)
    feats = [torch.zeros(1, 5, 2, 4), torch.zeros(1, 5, 1, 2)]
    raw = uncovered_predictions(
        {"scores": scores, "boxes": scores.repeat(1, 4, 1), "feats": feats}, images, [32.0, 64.0]
    )
    assert raw["scores"].flatten().tolist() == [0, 1, 2, 8, 9]
    assert raw["boxes"].equal(raw["scores"].repeat(1, 4, 1))
    assert [level.shape[-2:] for level in raw["feats"]] == [(1, 3), (1, 2)]
