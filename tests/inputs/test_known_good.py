"""Every image is decoded, once a content; what Ultralytics would drop or stop at is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultralytics.slim.inputs import images as module
from ultralytics.slim.inputs import known_good
from ultralytics.slim.inputs.images import check_images
from ultralytics.slim.inputs.known_good import find_faults


@pytest.fixture
def picture() -> Image.Image:
    """Noise, so that no format makes little of it."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))


@pytest.fixture
def judged(tmp_path: Path):
    """Ten files, a judge that finds those faulty that say so, and the names that it was asked about."""
    files = [tmp_path / f"{i}.txt" for i in range(10)]
    for file in files:
        file.write_text("good")
    asked: list[str] = []

    def judge(file: Path) -> str:
        asked.append(file.name)
        return "" if file.read_text() == "good" else "bad"

    def look(rules: object = "") -> list[str]:
        asked.clear()
        return find_faults([(file,) for file in files], judge, "looking", rules)

    return files, asked, look


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("ending", ["bmp", "jp2", "jpg", "mpo", "png", "tif", "webp"])
def test_a_cut_image_is_named(picture, tmp_path, ending, share):
    """The header alone is whole; of a JPEG Ultralytics would train without it, at a BMP or TIFF it would stop."""
    path = tmp_path / f"a.{ending}"
    picture.save(path)
    check_images([path])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cannot read 1 image: .*a.{ending} \("):
        check_images([path])


def test_a_damaged_checksum_is_named(picture, tmp_path):
    path = tmp_path / "a.png"
    picture.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read 1 image: .*a.png"):
        check_images([path])


def test_what_opencv_cannot_decode_is_named(picture, tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    picture.save(path)
    monkeypatch.setattr(module.patches, "imread", lambda path: None)
    with pytest.raises(ValueError, match=r"a.tif \(OpenCV, which Ultralytics reads images with, cannot decode it"):
        check_images([path])


def test_what_is_good_is_looked_at_once(judged):
    files, asked, look = judged
    assert look() == [""] * 10 and len(asked) == 10
    assert look() == [""] * 10 and not asked
    files[3].write_text("not good")
    assert look() == ["", "", "", "bad"] + [""] * 6 and asked == ["3.txt"]
    assert look()[3] == "bad" and asked == ["3.txt"], "a fault is looked at again: it may be mended"
    assert look("other rules")[3] == "bad" and len(asked) == 10
    files[3].write_text("good")
    assert look() == [""] * 10 and asked == ["3.txt"]


def test_the_same_size_at_another_time(judged):
    files, asked, look = judged
    look()
    files[3].write_text("goof")
    assert look()[3] == "bad"


def test_an_interrupted_look_goes_on_where_it_was(judged, monkeypatch):
    files, asked, look = judged
    monkeypatch.setattr(known_good, "AT_ONCE", 2)
    monkeypatch.setattr(known_good, "TQDM", interrupted_after(4))
    with pytest.raises(KeyboardInterrupt):
        look()
    monkeypatch.undo()
    look()
    assert sorted(asked) == [f"{i}.txt" for i in range(4, 10)]


def interrupted_after(count: int):
    def bar(found, **settings):
        for index, fault in enumerate(found):
            if index == count:
                raise KeyboardInterrupt
            yield fault

    return bar


@pytest.mark.parametrize("content", [b"", b"half a", b"\xff" * 800])
def test_what_is_kept_may_be_damaged(judged, monkeypatch, tmp_path, content):
    files, asked, look = judged
    monkeypatch.setattr(known_good, "USER_CONFIG_DIR", tmp_path / "config")
    look()
    (kept,) = (tmp_path / "config/slim-known-good").iterdir()
    kept.write_bytes(content)
    assert look() == [""] * 10 and len(asked) == 10
    assert look() == [""] * 10 and not asked


def test_nothing_can_be_kept(judged, monkeypatch, tmp_path):
    files, asked, look = judged
    (tmp_path / "config").write_text("no folder")
    monkeypatch.setattr(known_good, "USER_CONFIG_DIR", tmp_path / "config")
    assert look() == look() == [""] * 10 and len(asked) == 10
