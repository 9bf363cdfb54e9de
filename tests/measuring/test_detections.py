"""Detections of two models, matched."""

import cv2
import numpy as np
import pytest

from ultralytics.slim.measuring.detections import Found, choose_images, match_detections


def boxes(*rows) -> Found:
    """Return detections from rows of x1, y1, x2, y2, class."""
    corners, classes = np.array([r[:4] for r in rows], float).reshape(-1, 4), np.array([r[4] for r in rows], int)
    return Found(corners, classes, np.ones(len(rows)), ["x"] * len(rows))


def test_detections_are_matched_one_to_one():
    original = boxes((0, 0, 10, 10, 0), (20, 20, 30, 30, 0), (40, 40, 50, 50, 1))
    compressed = boxes((0, 0, 10, 9, 0), (0, 0, 10, 10, 0), (40, 40, 50, 50, 0))
    found = match_detections(original, compressed, 0.5)
    assert found.both == [(0, 1)], "the larger overlap wins, and classes must agree"
    assert found.lost == [1, 2] and found.new == [0, 2] and found.size == 4


def test_overlap_has_to_reach_the_limit():
    left, right = boxes((0, 0, 10, 10, 0)), boxes((0, 0, 10, 9, 0))  # IoU 0.9
    assert match_detections(left, right, 0.9).size == 0 and match_detections(left, right, 0.91).size == 2


def test_boxes_without_area_match_nothing():
    points = boxes((3, 3, 3, 3, 0), (0, 0, 10, 10, 0))
    assert match_detections(points, points, 0.5).both == [(1, 1)]


@pytest.mark.parametrize(
    ("left", "right"), [(boxes(), boxes()), (boxes((0, 0, 5, 5, 0)), boxes()), (boxes(), boxes((0, 0, 5, 5, 0)))]
)
def test_images_without_detections_are_compared(left, right):
    found = match_detections(left, right, 0.5)
    assert not found.both and (len(found.lost), len(found.new)) == (len(left.names), len(right.names))


def test_unlabelled_images_are_not_chosen(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/b.txt").write_text("")
    assert [path.name for path in choose_images(str(tmp_path / "images"), 9)] == ["b.png"]
