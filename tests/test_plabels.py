"""Labelled nodes as files: read, written, and every fault of a file or a folder named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ultralytics.slim.errors import InputError, MissingFileError
from ultralytics.slim.plabels import Plabels, plabels_text, read_plabels, read_plabels_dir

GOOD = "2 0.5 0.5 1 1 0 0 0 0 -1\n0 0.25 0.5 0.5 0.2 0.5 0.5 1 1 0\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "a.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_read_plabels(tmp_path):
    found = read_plabels(write(tmp_path, GOOD))
    assert isinstance(found, Plabels) and found.classes == [2, 0] and found.parents == [-1, 0]
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 1], [0, 0.4, 0.5, 0.6]])
    np.testing.assert_allclose(read_plabels(tmp_path / "a.txt", (200, 100)).boxes, [[0, 0, 200, 100], [0, 40, 100, 60]])


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_legal(tmp_path, text):
    found = read_plabels(write(tmp_path, text), (64, 64))
    assert found.classes == [] and found.parents == [] and found.boxes.shape == (0, 4)


def test_blank_lines_are_no_rows(tmp_path):
    assert read_plabels(write(tmp_path, "\ufeff\n" + GOOD.replace("\n", "\r\n\n"))).parents == [-1, 0]


def test_shares_a_little_outside_are_clipped(tmp_path):
    """Ultralytics' own labels are read so."""
    text = "0 0.5 -0.01 1.01 1 0 0 0 0 -1\n0 0.25 0.5 0.5 0.2 0.5 0 1.005 1 0\n"
    np.testing.assert_allclose(read_plabels(write(tmp_path, text)).boxes[0], [0, -0.5, 1, 0.5])


ROW = "0 0.5 0.5 0.1 0.1"
BAD_FILES = {
    "5 columns": (f"{ROW}\n", "a.txt:1: expected 10 columns.*got 5; is this from labels/ rather than plabels/?"),
    "9 columns": (f"{GOOD}{ROW} 0 0 0 0\n", "a.txt:3: expected 10 columns.*got 9$"),
    "not a number": (f"{ROW} 0 0 0 zero -1", "a.txt:1: expected 10 numbers, got '0 0.5"),
    "NaN": ("0 nan 0.5 0.1 0.1 0 0 0 0 -1", r"a.txt:1: x must be in \[0, 1\].*got nan"),
    "pixels": ("0 0.5 0.5 120 0.1 0 0 0 0 -1", r"a.txt:1: w must be in \[0, 1\].*not pixels.*got 120"),
    "a little more": ("0 0.5 0.5 1.011 0.1 0 0 0 0 -1", r"a.txt:1: w must be in \[0, 1\].*got 1.011"),
    "a negative size": ("0 0.5 0.5 -0.001 0.1 0 0 0 0 -1", r"a.txt:1: w must be in \[0, 1\]"),
    "negative": (f"{ROW} 0 -0.1 0 0 -1", r"a.txt:1: py must be in \[0, 1\]"),
    "class": ("0.5 0.5 0.5 0.1 0.1 0 0 0 0 -1", "a.txt:1: the class must be a whole number from 0, got 0.5"),
    "p a fraction": (f"{ROW} 0 0 0 0 0.5", "a.txt:1: the parent p must be a row number from 0, or -1"),
    "p under -1": (f"{ROW} 0 0 0 0 -2", "a.txt:1: the parent p must be"),
    "p infinite": (f"{ROW} 0 0 0 0 inf", "a.txt:1: the parent p must be"),
    "p out of range": (f"{GOOD}\n{ROW} 0.5 0.5 1 1 3", "a.txt:4: the parent p = 3 is out of range.*rows 0 to 2"),
    "root with a box": (f"{ROW} 0.5 0.5 1 1 -1", "a.txt:1: the parent box .* disagrees with p = -1: a root's is"),
    "another box": (f"{GOOD}{ROW} 0.5 0.5 1 0.9 0", "a.txt:3: the parent box .* disagrees with p = 0: row 0 is"),
    "own parent": (f"{ROW} 0.5 0.5 0.1 0.1 0", "a.txt:1: the parents form a cycle: rows 0 -> 0"),
    "cycle": (
        f"{ROW} 0.5 0.5 0.1 0.1 1\n{ROW} 0.5 0.5 0.1 0.1 2\n{ROW} 0.5 0.5 0.1 0.1 1\n",
        "a.txt:2: the parents form a cycle: rows 1 -> 2 -> 1",
    ),
    "not text": ("\x00\x01", "a.txt:1: expected 10 columns"),
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_name_file_and_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_plabels(write(tmp_path, text))
    assert str(tmp_path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="none.txt: no such plabels file"):
        read_plabels(tmp_path / "none.txt")


def make_folder(root: Path, images: list[str], labels: list[str]) -> tuple[Path, Path]:
    for folder, names in ((root / "images", images), (root / "plabels", labels)):
        folder.mkdir()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(GOOD if name.endswith(".txt") else "")
    return root / "images", root / "plabels"


def test_folder_pairs_every_kind_of_image(tmp_path):
    names = ["a.png", "b.webp", "c.jpg", "d.JPEG", "e.v2.png", "sub/a.png"]
    labels = ["a.txt", "b.txt", "c.txt", "d.txt", "e.v2.txt", "sub/a.txt", "spare.txt"]
    folders = make_folder(tmp_path, [*names, "notes.md", ".hidden.png"], [*labels, "linked/a.txt"])
    (folders[0] / "linked").symlink_to(folders[0] / "sub", target_is_directory=True)
    names.insert(-1, "linked/a.png")
    found = read_plabels_dir(*folders)
    assert [str(path.relative_to(folders[0])) for path, _ in found] == names
    assert all(labelled.parents == [-1, 0] for _, labelled in found)


def test_folder_names_missing_labels(tmp_path):
    folders = make_folder(tmp_path, ["a.png", "b.webp", "c.png"], ["b.txt"])
    with pytest.raises(MissingFileError, match="2 of 3 images have no labels.*a.txt, .*c.txt"):
        read_plabels_dir(*folders)


def test_folder_names_images_that_share_labels(tmp_path):
    folders = make_folder(tmp_path, ["a.png", "a.webp"], ["a.txt"])
    with pytest.raises(InputError, match="a.png and .*a.webp share the labels .*a.txt"):
        read_plabels_dir(*folders)


def test_folder_without_images_or_labels(tmp_path):
    images, plabels = make_folder(tmp_path, [], [])
    with pytest.raises(MissingFileError, match="no images; expected files that end in .*.webp"):
        read_plabels_dir(images, plabels)
    with pytest.raises(MissingFileError, match="none: no such folder"):
        read_plabels_dir(images, tmp_path / "none")


def test_what_is_written_reads_back(tmp_path):
    """Shares of a 200 x 100 image by hand; what lies outside it is cut off."""
    text = plabels_text([2, 0], [[0, 0, 220, 100], [20, 10, 60, 30]], [-1, 0], (200, 100))
    assert text.splitlines()[1].split()[:5] == ["0", "0.200000", "0.200000", "0.200000", "0.200000"]
    found = read_plabels(write(tmp_path, text), (200, 100))
    assert found.classes == [2, 0] and found.parents == [-1, 0]
    assert np.allclose(found.boxes, [[0, 0, 200, 100], [20, 10, 60, 30]], atol=1e-3)
