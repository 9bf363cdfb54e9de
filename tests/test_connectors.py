"""Strokes followed from box to box: drawn by hand here, and by Graphviz where it is installed."""

from __future__ import annotations

import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest

from relation import find_parent_nodes, metric, read_relations
from ultralytics.utils import ASSETS

from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from peers import graphviz

ROW = [[20, 20, 80, 50], [20, 150, 80, 180], [140, 150, 200, 180], [260, 150, 320, 180]]  # a root, and three below


def picture(boxes, lines, ink=(40, 40, 40), paper=(255, 255, 255), width=2, shape=(220, 360)) -> np.ndarray:
    """Return a drawing of boxes and polylines; each line is a list of points."""
    image = np.full((*shape, 3), paper, np.uint8)
    for line in lines:
        cv2.polylines(image, [np.array(line, np.int32)], False, ink, width, cv2.LINE_AA)
    for x1, y1, x2, y2 in boxes:
        cv2.rectangle(image, (x1, y1), (x2, y2), ink, 2)
        cv2.putText(image, "abc", (x1 + 8, y2 - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
    return image


def curve(start, end, bulge) -> list:
    """Return points on an arc from start to end that swings out to the side by `bulge` pixels."""
    (x1, y1), (x2, y2) = start, end
    share = np.linspace(0, 1, 30)
    out = bulge * np.sin(np.pi * share)
    return list(zip(x1 + (x2 - x1) * share + out, y1 + (y2 - y1) * share))


def dashes(line, on, off) -> list:
    """Return a straight line as dashes."""
    (x1, y1), (x2, y2) = line
    length = np.hypot(x2 - x1, y2 - y1)
    at = [(x1 + (x2 - x1) * s / length, y1 + (y2 - y1) * s / length) for s in np.arange(0, length, 1)]
    return [at[k : k + on] for k in range(0, len(at) - on, on + off)]


FAN = [[(50, 50), (50, 150)], [(65, 50), (165, 150)], [(80, 45), (285, 150)]]
ELBOW = [[(50, 50), (50, 100), (290, 100), (290, 150)], [(50, 100), (50, 150)], [(170, 100), (170, 150)]]
FOUND = {
    "straight": FAN,
    "one trunk": ELBOW,
    "curved": [[(50, 50), (50, 150)], curve((70, 50), (165, 150), 18), curve((80, 40), (290, 150), 25)],
    "dashed": [dash for line in FAN for dash in dashes(line, 6, 5)],
    "dotted": [dash for line in FAN for dash in dashes(line, 2, 6)],
    "with a gap for a label": [FAN[0], FAN[1], [(80, 45), (160, 86)], [(208, 111), (285, 150)]],
}


@pytest.mark.parametrize("lines", FOUND.values(), ids=FOUND)
def test_lines_of_every_style_are_followed(lines):
    found = read_relations(ROW, "connectors", picture(ROW, lines))
    assert found.parents == [-1, 0, 0, 0] and found.mode == "connectors"
    assert min(found.confidences[1:]) > 0.2 and found.confidences[0] == 0
    for child, path in found.strokes.items():  # from the child to its parent
        for point, box in ((path[0], ROW[child]), (path[-1], ROW[0])):
            assert box[0] - 14 < point[0] < box[2] + 14 and box[1] - 14 < point[1] < box[3] + 14


@pytest.mark.parametrize(
    ("ink", "paper", "width"),
    [((0, 0, 200), (255, 255, 255), 1), ((235, 235, 235), (30, 25, 20), 3), ((60, 160, 60), (90, 90, 200), 4)],
    ids=["thin", "light on dark", "green on red"],
)
def test_ink_may_have_any_colour(ink, paper, width):
    assert find_parent_nodes(ROW, "connectors", picture(ROW, FAN, ink, paper, width)) == [-1, 0, 0, 0]


def test_crossing_lines_go_straight_on():
    boxes = [[20, 20, 80, 50], [260, 20, 320, 50], [20, 150, 80, 180], [260, 150, 320, 180]]
    crossed = picture(boxes, [[(70, 50), (275, 150)], [(270, 50), (65, 150)]])
    pairs = {frozenset(edge) for edge in enumerate(find_parent_nodes(boxes, "connectors", crossed)) if edge[1] >= 0}
    assert pairs == {frozenset((0, 3)), frozenset((1, 2))}


def test_arrow_heads_say_who_is_the_child():
    boxes, parents = ROW[:2], {(148, 53): [1, -1], (52, 147): [-1, 0]}
    for (start, end), expected in parents.items():
        image = picture(boxes, [])
        cv2.arrowedLine(image, (50, start), (50, end), (40, 40, 40), 2, cv2.LINE_AA, tipLength=0.12)
        assert find_parent_nodes(boxes, "connectors", image) == expected


def test_of_several_parents_the_first_counts():
    """The nearest to the root; of equals the first as one reads. The others are told."""
    boxes = [[150, 10, 210, 40], [40, 90, 100, 120], [260, 90, 320, 120], [150, 170, 210, 200]]
    ways = {(0, 1): ((155, 41), (80, 83)), (0, 2): ((205, 41), (280, 83))}
    ways |= {(1, 3): ((80, 121), (155, 164)), (2, 3): ((280, 121), (205, 164))}
    for more in ({}, {(0, 3): ((180, 41), (180, 164))}):
        image = picture(boxes, [])
        for start, end in (ways | more).values():
            share = 9 / np.hypot(*np.subtract(end, start))
            cv2.arrowedLine(image, start, end, (40, 40, 40), 2, cv2.LINE_AA, tipLength=share)
        found = read_relations(boxes, "connectors", image)
        assert found.parents == [-1, 0, 0, 0 if more else 1]
        assert found.others == {3: [1, 2] if more else [2]}


def test_without_heads_a_tree_grows_outwards_from_its_root():
    middle = [150, 90, 210, 120]
    around = [[10, 10, 60, 34], [300, 10, 350, 34], [10, 180, 60, 204], [300, 180, 350, 204]]
    lines = [[(180, 105), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)] for b in around]
    image = picture([], lines)
    for box in (middle, *around):
        cv2.rectangle(image, tuple(box[:2]), tuple(box[2:]), (255, 255, 255), -1)
        cv2.rectangle(image, tuple(box[:2]), tuple(box[2:]), (40, 40, 40), 2)
    assert find_parent_nodes([*around, middle], "connectors", image) == [4, 4, 4, 4, -1]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[..., 0],
        lambda image: image[..., :1],
        lambda image: np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
        lambda image: np.dstack([np.full_like(image, 40), 255 - image[..., 0]]),
        lambda image: image.astype(np.uint16) * 257,
    ],
    ids=["grey", "one channel", "opaque", "ink on nothing", "16 bit"],
)
def test_pictures_of_every_kind_are_read(change):
    assert find_parent_nodes(ROW, "connectors", change(picture(ROW, FAN))) == [-1, 0, 0, 0]


@pytest.mark.parametrize("scale", [0.7, 2, 4])
def test_the_size_of_the_picture_plays_no_part(scale):
    large = cv2.resize(picture(ROW, FAN), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert find_parent_nodes(np.array(ROW) * scale, "connectors", large) == [-1, 0, 0, 0]


def test_no_lines_are_no_edges_and_no_boxes_no_error():
    assert find_parent_nodes(ROW, "connectors", picture(ROW, [])) == [-1] * 4
    assert find_parent_nodes([], "connectors", picture([], FAN)) == []
    assert find_parent_nodes(ROW[:1], "connectors", picture(ROW[:1], FAN)) == [-1]


def test_bad_pictures_are_told():
    image = picture(ROW, FAN)
    with pytest.raises(ValueError, match=r"box 1 \[20\.0, 150\.0.* lies outside the picture of 180 x 110 pixels"):
        find_parent_nodes(ROW, "connectors", image[::2, ::2])
    with pytest.raises(ValueError, match="'connectors' follows the strokes of the picture: give it as image="):
        find_parent_nodes(ROW, "connectors")
    with pytest.raises(ValueError, match="got float64 of shape"):
        find_parent_nodes(ROW, "connectors", image / 255)


def test_of_too_many_nodes_the_layout_is_read():
    many = np.array([[x, y, x + 4, y + 4] for x in range(0, 250, 10) for y in range(0, 250, 10)])
    assert read_relations(many, "connectors", np.full((300, 300, 3), 255, np.uint8)).mode == "layout"


@pytest.mark.parametrize(("ink", "on"), [((0, 215, 255), 0), ((180, 230, 154), 0), ((0, 215, 255), 10)])
def test_lines_of_one_ink_are_followed_over_a_photograph(ink, on):
    """A street, full of edges and lettering."""
    image = cv2.resize(cv2.imread(str(ASSETS / "bus.jpg")), (640, 500), interpolation=cv2.INTER_AREA)
    corners = [(290, 230), (40, 40), (540, 50), (60, 400), (520, 420), (450, 225), (280, 30)]
    boxes = [[x, y, x + 60, y + 40] for x, y in corners]
    lines = [[(320, 250), (x + 30, y + 20)] for x, y in corners[1:]]
    for line in [dash for whole in lines for dash in dashes(whole, on, 6)] if on else lines:
        cv2.polylines(image, [np.array(line, np.int32)], False, ink, 2, cv2.LINE_AA)
    for x1, y1, x2, y2 in boxes:
        cv2.rectangle(image, (x1, y1), (x2, y2), (200, 230, 210), -1)
    assert find_parent_nodes(boxes, "connectors", image) == [-1, *[0] * 6]


def test_a_tidy_layout_fills_in_what_no_stroke_draws():
    """And a stroke that says otherwise is believed before it."""
    tree = [[150, 10, 210, 40], [20, 130, 80, 160], [150, 130, 210, 160], [280, 130, 340, 160]]
    drawn = [[(160, 40), (50, 130)], [(180, 40), (180, 130)]]
    found = read_relations(tree, "connectors", picture(tree, drawn))
    assert found.parents == [-1, 0, 0, 0] and sorted(found.strokes) == [1, 2]
    assert found.confidences[3] < 0.3 < 0.8 < min(found.confidences[1:3])
    found = read_relations(tree, "connectors", picture(tree, [*drawn, [(210, 145), (280, 145)]]))
    assert found.parents == [-1, 0, 0, 2]


def test_auto_takes_the_rule_that_the_picture_speaks_for():
    inside = [[10, 10, 300, 200], [40, 40, 80, 60], [120, 40, 160, 60]]
    assert read_relations(inside, "auto", picture(inside, [])).mode == "containment"
    assert read_relations(ROW, "auto", picture(ROW, [])).mode in ("layout", "none")
    untidy = [[150, 90, 210, 120], [20, 25, 80, 50], [180, 10, 240, 30], [290, 60, 350, 90], [60, 180, 120, 210]]
    lines = [[(180, 105), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)] for b in untidy[1:]]
    image = picture([], lines)
    for box in untidy:
        cv2.rectangle(image, tuple(box[:2]), tuple(box[2:]), (220, 240, 220), -1)
    found = read_relations(untidy, "auto", image)
    assert found.mode == "connectors" and found.parents == [-1, 0, 0, 0, 0]


def test_auto_takes_flow_charts_for_no_trees():
    """A chain, symbols of many sizes, lines that close circles: their arrows are no parents."""
    chain = [[20 + 85 * k, 100, 70 + 85 * k, 130] for k in range(4)]
    lines = [[(a[2], 115), (b[0], 115)] for a, b in pairwise(chain)]
    assert read_relations(chain, "auto", picture(chain, lines)).mode == "none"
    star = [[150, 95, 210, 125], [20, 25, 80, 55], [180, 10, 240, 40], [290, 60, 350, 90], [60, 180, 120, 210]]
    middles = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in star]
    rays = [[middles[0], middle] for middle in middles[1:]]
    round_it = [[middles[a], middles[b]] for a, b in ((1, 2), (2, 3), (1, 4), (0, 4))]

    def mode(boxes, lines):
        image = picture([], lines)
        for box in boxes:
            cv2.rectangle(image, tuple(box[:2]), tuple(box[2:]), (220, 240, 220), -1)
        return read_relations(boxes, "auto", image).mode

    assert mode(star, rays) == "connectors"
    assert mode(star, rays + round_it) == "none"
    way = [(40, 40), (130, 60), (220, 35), (310, 60), (300, 130), (200, 150), (100, 140), (215, 95)]  # and a branch
    steps = [list(step) for step in pairwise(way[:7])] + [[way[2], way[7]]]
    alike = [[x - 24, y - 14, x + 24, y + 14] for x, y in way]
    assert mode(alike, steps) == "connectors"
    events = [[x - 8, y - 8, x + 8, y + 8] if k % 2 else alike[k] for k, (x, y) in enumerate(way)]
    assert mode(events, steps) == "none"


@pytest.mark.parametrize("seed", range(12))
def test_any_picture_and_any_boxes_give_a_forest(seed):
    rng = np.random.default_rng(seed)
    wide, high = (int(n) for n in rng.choice([1, 3, 40, 333], 2))
    noise = rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)
    image = noise if seed % 2 else cv2.blur(noise, (5, 5))
    corners = rng.uniform(0, 1, (int(rng.integers(0, 30)), 2)) * (wide, high)
    sides = rng.uniform(0, 0.3, corners.shape) * (wide, high) * rng.integers(0, 2, corners.shape)
    boxes = np.hstack([corners - sides / 2, corners + sides / 2])
    found = read_relations(boxes, "connectors", image)
    for child in range(len(boxes)):  # from every node the way up ends at a root
        seen = set()
        while child >= 0:
            assert child not in seen
            seen.add(child)
            child = found.parents[child]
    assert all((p >= 0) == (c > 0) for p, c in zip(found.parents, found.confidences))
    assert all(found.parents[child] >= 0 for child in found.strokes)
    filled = [c for i, c in enumerate(found.confidences) if found.parents[i] >= 0 and i not in found.strokes]
    assert filled == pytest.approx([np.exp(-1.5)] * len(filled))  # by the layout alone


@pytest.mark.slow
@pytest.mark.skipif(not graphviz.is_there(), reason="Graphviz is not installed (Debian's package graphviz)")
def test_trees_by_graphviz_are_read():
    """A tool of others in styles that nothing was chosen on: the figures are in benchmarks/results/lines.csv."""
    drawn = [graphviz.draw(np.random.default_rng([3, k])) for k in range(16)]
    true = [(p.boxes, p.parents) for p in drawn]
    pred = [(p.boxes, find_parent_nodes(p.boxes, "connectors", p.image)) for p in drawn]
    assert metric(pred, true)[2] > 0.85
