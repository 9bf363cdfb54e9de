"""Parents of nodes, their score and their picture: tables with answers worked out by hand."""

from __future__ import annotations

import doctest
import shutil
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

import relation
from relation import (
    arrow_ends,
    distinct_nodes,
    find_parent_nodes,
    metric,
    read_plabels_dir,
    visualize_nodes,
)
from ultralytics.slim import plabels

from places import ROOT

ROOM, DESK, LAMP = [0, 0, 100, 100], [10, 10, 60, 60], [20, 20, 30, 30]  # each inside the one before

# ------------------------------------------------------------------------------------------------------- containment

CONTAINMENT = {
    "nothing": ([], []),
    "one node": ([ROOM], [-1]),
    "nested, the smallest container wins": ([ROOM, DESK, LAMP], [-1, 0, 1]),
    "order does not matter": ([LAMP, ROOM, DESK], [2, -1, 1]),
    "side by side": ([[0, 0, 10, 10], [20, 0, 40, 20]], [-1, -1]),
    "exactly 80 % covered": ([[0, 0, 50, 50], [42, 0, 52, 10]], [-1, 0]),
    "79 % covered": ([[0, 0, 50, 50], [42.1, 0, 52.1, 10]], [-1, -1]),
    "1.2 times as large": ([[0, 0, 12, 10], [0, 0, 10, 10]], [-1, 0]),
    "1.19 times as large": ([[0, 0, 11.9, 10], [0, 0, 10, 10]], [-1, -1]),
    "equal areas: the larger cover": ([[0, 0, 20, 20], [1, 0, 21, 20], [11, 0, 21, 10]], [-1, -1, 1]),
    "equal areas and covers: the lower index": ([ROOM, ROOM, LAMP], [-1, -1, 0]),
    "no area, no parent": ([ROOM, [5, 5, 5, 9]], [-1, -1]),
    "fractions of a pixel": ([[0, 0, 1, 1], [0.2, 0.2, 0.4, 0.4]], [-1, 0]),
}


@pytest.mark.parametrize(("nodes", "parents"), CONTAINMENT.values(), ids=CONTAINMENT)
def test_containment(nodes, parents):
    assert find_parent_nodes(nodes) == parents
    found = find_parent_nodes(np.array(nodes, dtype=np.float32).reshape(-1, 4))
    assert found == parents and all(type(p) is int for p in found)


def test_containment_ignores_scale_and_place():
    random = np.random.default_rng(0)
    low = random.uniform(0, 80, (40, 2))
    boxes = np.hstack([low, low + random.uniform(1, 60, (40, 2))])
    assert find_parent_nodes(boxes) == find_parent_nodes(boxes / 640 + 3)


BAD_BOXES = {
    "NaN": [0, 0, float("nan"), 1],
    "infinite": [0, 0, float("inf"), 1],
    "x2 < x1": [5, 0, 4, 1],
    "y2 < y1": [0, 5, 1, 4],
    "three numbers": [0, 0, 1],
    "five numbers": [0, 0, 1, 1, 1],
}


@pytest.mark.parametrize("box", BAD_BOXES.values(), ids=BAD_BOXES)
@pytest.mark.parametrize("mode", ["containment", "layout"])
def test_bad_boxes_are_named(box, mode):
    with pytest.raises(ValueError, match="box 2 must be 4 finite numbers"):
        find_parent_nodes([ROOM, DESK, box], mode)


def test_unknown_mode_lists_the_choices():
    with pytest.raises(ValueError, match="containment, layout, connectors, auto, got 'tree'"):
        find_parent_nodes([ROOM], mode="tree")


# ------------------------------------------------------------------------------------------------------------ layout


def nodes_at(*middles: tuple[float, float], wide: float = 30, high: float = 14) -> list[list[float]]:
    return [[x - wide / 2, y - high / 2, x + wide / 2, y + high / 2] for x, y in middles]


CHART = nodes_at((100, 10), (50, 60), (150, 60), (25, 110), (75, 110), (150, 110))
CHART_PARENTS = [-1, 0, 0, 1, 1, 2]
MIND_MAP = nodes_at((200, 100), (320, 60), (320, 140), (440, 40), (440, 80), (80, 70), (80, 130))
LAYOUT = {
    "nothing": ([], []),
    "one node": ([ROOM], [-1]),
    "a chain downwards": (nodes_at((50, 10), (50, 60), (50, 110)), [-1, 0, 1]),
    "organisation chart": (CHART, CHART_PARENTS),
    "leaves have no children": (
        nodes_at((100, 10), (40, 60), (100, 60), (160, 60), (145, 99), (175, 99)),
        [-1, 0, 0, 0, 3, 3],
    ),
    "two narrow families, not a wide one": (
        nodes_at((100, 10), (0, 60), (100, 60), (200, 60), (0, 99), (200, 99)),
        [-1, 0, 0, 0, 1, 3],
    ),
    "rows are aligned, columns are not": (  # read as ragged columns, it would be a tidy tree from the right
        nodes_at((284, 120), (93, 217), (186, 223), (325, 228), (271, 329), (366, 336), (465, 232), wide=80, high=52),
        [-1, 0, 0, 0, 3, 3, 0],
    ),
    "mind map to both sides": (MIND_MAP, [-1, 0, 0, 1, 1, 0, 0]),
    "two columns on one side": (nodes_at((10, 50), (80, 20), (80, 80)), [-1, 0, 0]),
}


@pytest.mark.parametrize(("nodes", "parents"), LAYOUT.values(), ids=LAYOUT)
def test_layout(nodes, parents):
    assert find_parent_nodes(nodes, mode="layout") == parents


def test_layout_reads_all_four_directions():
    down = np.array(CHART)
    up = np.column_stack([down[:, 0], -down[:, 3], down[:, 2], -down[:, 1]])
    right, left = down[:, [1, 0, 3, 2]] * [3, 1, 3, 1], up[:, [1, 0, 3, 2]] * [3, 1, 3, 1]
    for boxes in (down, up, right, left):
        assert find_parent_nodes(boxes, mode="layout") == CHART_PARENTS


def test_layout_ignores_the_order_of_nodes():
    order = np.random.default_rng(1).permutation(len(CHART))
    found = find_parent_nodes(np.array(CHART)[order], mode="layout")
    back = {new: int(old) for new, old in enumerate(order)}
    assert {back[i]: back.get(p, -1) for i, p in enumerate(found)} == dict(enumerate(CHART_PARENTS))


# -------------------------------------------------------------------------------------------------------------- auto

FAN = nodes_at((100, 10), (40, 60), (100, 60), (160, 60))
AUTO = {
    "nothing": ([], []),
    "one node": ([ROOM], [-1]),
    "one lies inside another": ([ROOM, DESK, *nodes_at((150, 10), (150, 60))], [-1, 0, -1, -1]),
    "an organisation chart": (CHART, CHART_PARENTS),
    "a mind map": (MIND_MAP, [-1, 0, 0, 1, 1, 0, 0]),
    "a parent of two": (nodes_at((100, 10), (60, 60), (140, 60)), [-1, 0, 0]),
    "a parent of three": (FAN, [-1, 0, 0, 0]),
    "... of another height": ([[80, -10, 120, 30], *FAN[1:]], [-1, 0, 0, 0]),
    "symbols of other heights beside each other": ([*FAN[:3], *nodes_at((160, 60), high=34)], [-1] * 4),
    "a chain does not branch": (nodes_at((20, 50), (90, 50), (160, 50), (230, 50)), [-1] * 4),
    "scattered nodes": (nodes_at((10, 10), (90, 33), (30, 160), (140, 90), (200, 20)), [-1] * 5),
    "no area": ([[5, 5, 5, 5]] * 4, [-1] * 4),
}


@pytest.mark.parametrize(("nodes", "parents"), AUTO.values(), ids=AUTO)
def test_auto_chooses_by_image(nodes, parents):
    assert find_parent_nodes(nodes, mode="auto") == parents
    blank = np.full((200, 480), 255, np.uint8)
    assert find_parent_nodes(nodes, mode="auto", image=blank) == parents, "no stroke says nothing against it"


@pytest.mark.parametrize("nodes", [[], [ROOM]])
def test_no_relation_is_by_no_rule(nodes):
    assert relation.read_relations(nodes, "auto").mode == "none"


def test_auto_is_none_the_worse_for_scale_and_order():
    order = np.random.default_rng(2).permutation(len(CHART))
    found = find_parent_nodes(np.array(CHART)[order] / 640, mode="auto")
    assert {order[i]: order[p] if p >= 0 else -1 for i, p in enumerate(found)} == dict(enumerate(CHART_PARENTS))


# -------------------------------------------------------------------------------------------------------- duplicates

NEAR = [0, 0, 90, 90]  # IoU with ROOM 0.81
DISTINCT = {
    "nothing": ([], [], []),
    "the better one stays": ([ROOM, NEAR], [0.5, 0.6], [1]),
    "equal scores: the first": ([NEAR, ROOM], [0.5, 0.5], [0]),
    "under the threshold": ([ROOM, [0, 0, 100, 79]], [0.5, 0.6], [0, 1]),
    "at the threshold": ([ROOM, [0, 0, 100, 80]], [0.5, 0.6], [1]),
    "one that is out keeps no other out": ([[0, 0, 82, 82], NEAR, ROOM], [0.1, 0.5, 0.9], [0, 2]),
    "boxes without area": ([[5, 5, 5, 5], [5, 5, 5, 5]], [0.5, 0.5], [0, 1]),
}


@pytest.mark.parametrize(("nodes", "scores", "kept"), DISTINCT.values(), ids=DISTINCT)
def test_distinct_nodes(nodes, scores, kept):
    assert distinct_nodes(nodes, scores) == kept


def test_distinct_nodes_wants_a_score_each():
    with pytest.raises(ValueError, match="one number a node, got shape .1,. for 2 nodes"):
        distinct_nodes([ROOM, NEAR], [0.5])


# ------------------------------------------------------------------------------------------------------------ metric

TRUE = ([ROOM, DESK, LAMP], [-1, 0, 1])
METRIC = {
    "perfect": ([TRUE], [TRUE], (1, 1, 1)),
    "no images": ([], [], (0, 0, 0)),
    "roots alone are no edges": ([([ROOM], [-1])], [([ROOM], [-1])], (0, 0, 0)),
    "nothing found": ([([], [])], [TRUE], (0, 0, 0)),
    "nothing there": ([TRUE], [([], [])], (0, 0, 0)),
    "one of two edges wrong": ([([ROOM, DESK, LAMP], [-1, 0, 0])], [TRUE], (0.5, 0.5, 0.5)),
    "turned around": ([([ROOM, DESK], [1, -1])], [([ROOM, DESK], [-1, 0])], (0, 0, 0)),
    "other order of nodes": ([([LAMP, DESK, ROOM], [1, 2, -1])], [TRUE], (1, 1, 1)),
    "missed parent": ([([ROOM, LAMP], [-1, 0])], [TRUE], (0, 0, 0)),
    "one spurious node": ([([*TRUE[0], [70, 70, 90, 90]], [-1, 0, 1, 0])], [TRUE], (2 / 3, 1, 0.8)),
    "a duplicate has no match": ([([*TRUE[0], LAMP], [-1, 0, 1, 1])], [TRUE], (2 / 3, 1, 0.8)),
    "micro: 3 of 3 and 0 of 1 edges": (
        [([ROOM, DESK, LAMP, [70, 70, 90, 90]], [-1, 0, 1, 0]), ([ROOM, DESK], [-1, -1])],
        [([ROOM, DESK, LAMP, [70, 70, 90, 90]], [-1, 0, 1, 0]), ([ROOM, DESK], [-1, 0])],
        (1, 3 / 4, 6 / 7),
    ),
}


@pytest.mark.parametrize(("pred", "true", "scores"), METRIC.values(), ids=METRIC)
def test_metric(pred, true, scores):
    assert metric(iter(pred), iter(true)) == pytest.approx(scores)


def test_metric_matches_by_iou():
    moved = ([ROOM, [10, 10, 60, 35]], [-1, 0])  # half of DESK: IoU exactly 0.5
    true = ([ROOM, DESK], [-1, 0])
    assert metric([moved], [true]) == (1, 1, 1)
    assert metric([moved], [true], iou=0.51) == (0, 0, 0)


def test_metric_matches_for_the_largest_sum():
    """Greedy matching would give the first true box to the best pair and leave the other pair under 0.5."""
    true = ([[0, 0, 10, 100], [0, 0, 16, 100], ROOM], [2, 2, -1])
    pred = ([[0, 0, 12, 100], [0, 0, 8, 100], ROOM], [2, 2, -1])  # IoU .83 and .75; .80 and .50
    assert metric([pred], [true]) == (1, 1, 1)


def test_metric_rejects_what_does_not_fit():
    with pytest.raises(ValueError, match="true ends after 1"):
        metric([TRUE, TRUE], [TRUE])
    with pytest.raises(ValueError, match="image 0: parents must hold one index a node, got 1 for 2"):
        metric([([ROOM, DESK], [-1])], [TRUE])
    with pytest.raises(ValueError, match="image 0: node 0's parent must be another node's index or -1, got 7"):
        metric([([ROOM, DESK], [7, -1])], [TRUE])
    with pytest.raises(ValueError, match="image 1: box 0"):
        metric([TRUE, ([[1, 1, 0, 0]], [-1])], [TRUE, TRUE])
    with pytest.raises(ValueError, match="iou must be in"):
        metric([], [], iou=0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_containment_on_real_diagrams(shared, split):
    data = shared / "data" / "diagram"
    labelled = [found for _, found in read_plabels_dir(data / "images" / split, data / "plabels" / split)]
    true = [(found.boxes, found.parents) for found in labelled]
    pred = [(boxes, find_parent_nodes(boxes)) for boxes, _ in true]
    assert metric(pred, true)[2] == pytest.approx(0.985, abs=0.002)


# ----------------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 1), (120, 160, 3), (120, 160, 4)])
def test_drawing_returns_a_new_bgr_image(shape):
    image = np.full(shape, 200, np.uint8)
    before = image.copy()
    drawn = visualize_nodes(image, [ROOM, DESK], [-1, 0], labels=["room", "desk é"])
    assert drawn.shape == (120, 160, 3) and drawn.dtype == np.uint8 and drawn.flags.c_contiguous
    assert (image == before).all() and not np.shares_memory(image, drawn)
    assert (drawn != 200).any()


def test_drawing_nothing_changes_nothing():
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    assert (visualize_nodes(image, [], []) == image).all()


def test_roots_differ_and_have_no_arrow():
    blank = np.zeros((120, 160, 3), np.uint8)
    roots, child = visualize_nodes(blank, [ROOM, DESK], [-1, -1]), visualize_nodes(blank, [ROOM, DESK], [-1, 0])
    outlines = [[tuple(map(int, drawn[y, x])) for y, x in ((0, 80), (10, 40))] for drawn in (roots, child)]
    assert outlines[0][0] == outlines[0][1] == outlines[1][0] != outlines[1][1]
    between = np.s_[14:56, 4:7]  # from the desk's left side to the room's
    assert not roots[between].any() and child[between].any()


def test_depths_differ_in_colour():
    boxes = nodes_at((30, 20), (30, 60), (30, 100), (30, 140))
    drawn = visualize_nodes(np.zeros((160, 60, 3), np.uint8), boxes, [-1, 0, 1, 2], thickness=3)
    assert len({tuple(drawn[y, 15].tolist()) for y in (20, 60, 100, 140)}) == 4  # the left sides


def test_a_cycle_is_drawn_all_the_same():
    drawn = visualize_nodes(np.zeros((120, 160, 3), np.uint8), [ROOM, DESK], [1, 0])
    assert drawn.any()


def test_lines_suit_the_size_of_the_image():
    def painted(scale: int) -> int:
        drawn = visualize_nodes(np.zeros((480 * scale, 480 * scale, 3), np.uint8), [[100, 100, 300, 300]], [-1])
        return int(drawn[200, :200].any(1).sum())  # across the left side

    assert painted(8) > 1.5 * painted(1)


def test_an_arrow_goes_around_a_sibling():
    """The nearest side of the room is on the left, behind the other desk; the top is a little farther, and free."""
    room, other, desk = [0, 0, 200, 200], [10, 60, 40, 120], [50, 70, 90, 110]
    for sibling, head in ((other, [70, 0]), ([10, 150, 40, 190], [0, 90])):
        boxes = np.array([room, sibling, desk], dtype=float)
        assert arrow_ends(boxes[2], boxes[0], boxes)[1].tolist() == head


def test_labels_leave_other_nodes_free():
    """Above the lower node is the upper one; so its label goes below."""
    blank = np.zeros((160, 160, 3), np.uint8)
    boxes = [[20, 20, 140, 50], [20, 54, 140, 100]]
    drawn = visualize_nodes(blank, boxes, [-1, -1], labels=["a", "b"])
    plain = visualize_nodes(blank, boxes, [-1, -1])
    written = np.flatnonzero((drawn != plain).any((1, 2)))
    assert written.min() < 20 and written.max() > 100 and not set(written) & set(range(22, 98))


def test_drawing_rejects_what_does_not_fit():
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8.*float64"):
        visualize_nodes(image.astype(float), [], [])
    with pytest.raises(ValueError, match=r"\(20, 20, 2\)"):
        visualize_nodes(image[..., :2], [], [])
    with pytest.raises(ValueError, match="one index a node"):
        visualize_nodes(image, [ROOM], [])
    with pytest.raises(ValueError, match="one text a node, got 2 for 1"):
        visualize_nodes(image, [ROOM], [-1], labels=["a", "b"])


def slow_levels(parents: np.ndarray, children: np.ndarray) -> tuple[float, list[int]]:
    """The rule for one level word by word: every way to cut the children into runs, one a parent in order or none."""
    best = {0: (0.0, [])}
    for number, position in enumerate(parents):
        found = dict(best)
        for start, (cost, chosen) in best.items():
            for end in range(start + 1, len(children) + 1):
                left, right = children[start], children[end - 1]
                total = cost + ((end - start) * abs(position - (left + right) / 2) + 0.1 * (right - left))
                if total < found.get(end, (np.inf,))[0]:
                    found[end] = total, chosen + [number] * (end - start)
        best = found
    return best[len(children)]


def test_levels_are_what_the_slow_rule_says():
    random = np.random.default_rng(0)
    for trial in range(600):
        parents, children = (np.sort(random.random(int(random.integers(1, most)))) for most in (9, 25))
        if trial % 2:  # many ties
            parents, children = np.round(parents, 1), np.round(children, 1)
        cost, chosen = relation._assign_level(parents, children)
        wanted, _ = slow_levels(parents, children)
        runs = [np.flatnonzero(np.array(chosen) == number) for number in range(len(parents))]
        own = sum(
            float(relation._run_costs(children, parents[number], run[:1], run[-1:])[0])
            for number, run in enumerate(runs)
            if len(run)
        )
        assert cost == pytest.approx(wanted, abs=1e-12) and own == pytest.approx(cost, abs=1e-12)
        assert chosen == sorted(chosen)


def test_two_rows_of_a_thousand_are_read_in_seconds():
    """All runs of all parents took 26 s, as many roots cannot be a tidy tree."""
    middles = np.arange(1000) * 10.0 + 5
    rows = np.concatenate([nodes_at(*((x, y) for x in middles), wide=4, high=20) for y in (10, 60)])
    started = time.process_time()
    assert find_parent_nodes(rows, mode="auto") == [-1] * 2000
    assert time.process_time() - started < 6


@pytest.mark.slow
def test_a_hundred_rows_of_a_hundred_are_read_in_seconds():
    """Families picked out one by one took as long as the levels: 10 s together."""
    corners = np.stack(np.meshgrid(np.arange(100) * 60.0, np.arange(100) * 100.0), -1).reshape(-1, 2)
    corners += np.random.default_rng(0).uniform(-3, 3, corners.shape)
    started = time.process_time()
    assert find_parent_nodes(np.hstack([corners, corners + (40, 30)]), mode="auto") == [-1] * 10_000
    assert time.process_time() - started < 8


# -------------------------------------------------------------------------------------------------------- the module


def test_the_worked_examples_hold():
    found = doctest.testmod(relation)
    assert found.attempted >= 5 and not found.failed


def test_it_is_one_file_without_torch(tmp_path):
    """Finding, scoring and drawing need NumPy, SciPy and OpenCV alone, wherever the file lies."""
    shutil.copy(ROOT / "relation.py", tmp_path)
    code = (
        "import sys, numpy as np, relation; boxes = [[0, 0, 90, 90], [5, 5, 40, 40]];"
        "parents = relation.find_parent_nodes(boxes); assert relation.metric([(boxes, parents)], [(boxes, "
        "parents)])[2] == 1;"
        "assert relation.visualize_nodes(np.zeros((99, 99, 3), np.uint8), boxes, parents).any();"
        "assert relation.__file__.startswith(sys.argv[1]), relation.__file__;"
        "assert not {'torch', 'ultralytics', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_strokes_are_followed_without_torch(tmp_path):
    shutil.copy(ROOT / "relation.py", tmp_path)
    shutil.copytree(ROOT / "connectors", tmp_path / "connectors")
    code = (
        "import sys, cv2, numpy as np, relation; image = np.full((99, 99, 3), 255, np.uint8);"
        "cv2.line(image, (20, 20), (20, 80), 0, 2); boxes = [[10, 5, 40, 25], [10, 75, 40, 95]];"
        "found = relation.read_relations(boxes, 'connectors', image); assert max(found.parents) >= 0;"
        "assert relation.visualize_nodes(image, boxes, found.parents, strokes=found.strokes).any();"
        "assert not {'torch', 'ultralytics', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_reads_labels_is_imported_from_here_too():
    assert relation.read_plabels_dir is plabels.read_plabels_dir and relation.Plabels is plabels.Plabels
    assert {"read_plabels", "find_parent_nodes"} <= set(dir(relation))
    with pytest.raises(AttributeError, match="no attribute 'read_labels'"):
        relation.read_labels  # noqa: B018


def slow_containment(boxes: np.ndarray) -> list[int]:
    """The rule word by word: all pairs, the smallest that is large enough and covers enough, then cover, then index."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = sizes.prod(1)
    parents = []
    for child in range(len(boxes)):
        low, high = np.maximum(boxes[:, :2], boxes[child, :2]), np.minimum(boxes[:, 2:], boxes[child, 2:])
        cover = np.clip(high - low, 0, None).prod(1) / (areas[child] or np.inf)
        able = [i for i in range(len(boxes)) if cover[i] >= 0.8 and areas[i] >= 1.2 * areas[child]]
        parents.append(min(able, key=lambda i: (areas[i], -cover[i], i), default=-1))
    return parents


def boxes_of_kind(kind: str, count: int, random: np.random.Generator) -> np.ndarray:
    if kind == "grid":  # many equal areas and shared sides
        return np.sort(random.integers(0, 6, (count, 2, 2)), 1).reshape(count, 4).astype(float)
    middles = random.random((count, 2))
    if kind == "nested":
        middles = np.repeat(middles[: count // 3 + 1], 3, 0)[:count]
    sizes = 10 ** random.uniform(-3, 0, (count, 1 if kind == "nested" else 2))
    return np.hstack([middles - sizes, middles + sizes])


@pytest.mark.parametrize("kind", ["grid", "nested", "scattered"])
def test_containment_is_what_the_slow_rule_says(kind):
    random = np.random.default_rng(0)
    for _ in range(150):
        boxes = boxes_of_kind(kind, int(random.integers(0, 40)), random)
        assert find_parent_nodes(boxes) == slow_containment(boxes)


def test_containment_of_ten_thousand_boxes_takes_little_memory():
    """All pairs together would take gigabytes."""
    boxes = boxes_of_kind("scattered", 10_000, np.random.default_rng(0))
    tracemalloc.start()
    parents = find_parent_nodes(boxes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 and sum(parent >= 0 for parent in parents) > 5000


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_units_may_be_of_any_size(scale):
    boxes = np.array([[0, 0, 100, 60], [5, 5, 60, 55], [10, 10, 40, 30], [120, 0, 140, 20]]) * scale
    assert find_parent_nodes(boxes) == [-1, 0, 1, -1]
    assert metric([(boxes, [-1, 0, 1, -1])], [(boxes, [-1, 0, 1, -1])]) == (1.0, 1.0, 1.0)
    assert distinct_nodes(boxes[[0, 0, 1]], [0.5, 0.9, 0.1]) == [1, 2]
