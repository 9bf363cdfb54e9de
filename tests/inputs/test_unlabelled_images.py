"""Images without labels: what a source stands for, on the disk and in Python, and what of it is left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.data import prepare_data
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


@pytest.mark.parametrize(
    ("source", "kind"),
    [(None, "NoneType"), (3, "int"), (np.zeros((9, 8, 3), np.uint8), "ndarray"), ([torch.zeros(3, 8, 8)], "Tensor")],
)
def test_what_is_no_source_of_images_is_told(source, kind):
    with pytest.raises(InputError, match=f"images: expected .* got {kind}$"):
        given_images(source)


def test_an_array_of_images_is_a_list_of_them():
    assert [image.shape for image in given_images(np.zeros((4, 9, 8, 3), np.uint8))] == [(9, 8, 3)] * 4


def test_a_tensor_of_bytes_means_what_one_of_shares_does():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    for images in (pixels, pixels / 255, (pixels / 255).double()):
        assert load_images(images, 32).flatten().tolist() == pytest.approx([0, 0.2, 1])


@pytest.fixture
def folder(tiny_data, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_data.parent / "images/val", tmp_path / "images"))


def test_what_cannot_be_read_is_left_out_and_named(folder, log):
    good = load_images(str(folder), 32)
    (folder / "0.jpg").write_bytes(b"\xff\xd8 no picture")
    assert torch.equal(load_images(str(folder), 32), good)
    assert f"1 of {len(good) + 1} cannot be read" in log.text and "0.jpg" in log.text


def test_none_that_can_be_read_is_an_error(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(InputError, match="none of 1 images can be read, for example .*0.jpg"):
        load_images(str(tmp_path), 32)


def test_images_of_a_yaml_are_found_where_its_data_is(tiny_data, tmp_path, monkeypatch):
    """From another working directory: `path:` counts from the YAML's own folder, as for data=."""
    shutil.copytree(tiny_data.parent, tmp_path / "there/data")
    yaml = tmp_path / "there/my.yaml"
    yaml.write_text("path: data\ntrain: images/train\nval: images/val\nnames: [box, disc]\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    prepare_data(yaml)
    expected = sorted((tmp_path / "there/data/images/train").iterdir())
    assert sorted(map(Path, given_images(yaml))) == expected == sorted(map(Path, given_images("../there/my.yaml")))


def test_a_yaml_without_training_images_is_named(tmp_path, tiny_data):
    yaml = tmp_path / "my.yaml"
    yaml.write_text(f"path: {tiny_data.parent}\ntrain:\nval: images/val\nnames: [box, disc]\n")
    with pytest.raises(InputError, match=r"images=.*my.yaml: its 'train:' is empty"):
        given_images(yaml)
