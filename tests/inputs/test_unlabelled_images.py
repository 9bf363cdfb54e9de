"""Images that are given in Python: arrays as OpenCV reads them and tensors, and anything else told."""

import numpy as np
import pytest
import torch

from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.unlabelled import given_images, load_images, readable_images


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((9, 8), "uint8"), ((9, 8, 1), "uint8"), ((9, 8, 4), "uint8"), ((9, 8, 3), "float32"), ((9, 8, 3), "uint16")],
)
def test_arrays_of_another_kind_are_told(shape, kind):
    good = np.zeros((9, 8, 3), np.uint8)
    assert len(given_images([good, good])) == len(readable_images([good])) == 1
    with pytest.raises(
        InputError, match=r"photos: expected .* \(H, W, 3\), uint8, .* got an array \(9, 8.*\), " + kind
    ):
        given_images([good, np.zeros(shape, kind)], "photos")


@pytest.mark.parametrize("source", [None, 3, np.zeros((9, 8, 3), np.uint8), [torch.zeros(3, 8, 8)]])
def test_what_is_no_source_of_images_is_told(source):
    with pytest.raises(InputError, match="images: expected .* got a"):
        given_images(source)


def test_an_array_of_images_is_a_list_of_them():
    assert [image.shape for image in given_images(np.zeros((4, 9, 8, 3), np.uint8))] == [(9, 8, 3)] * 4


def test_a_tensor_of_bytes_means_what_one_of_shares_does():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    for images in (pixels, pixels / 255, (pixels / 255).double()):
        assert load_images(images, 32).flatten().tolist() == pytest.approx([0, 0.2, 1])
