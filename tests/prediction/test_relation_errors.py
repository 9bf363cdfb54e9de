"""Every lost edge has one cause: hand-made cases for each, and agreement with the metric on made-up diagrams."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

import ultralytics.slim.prediction.relation_errors
from relation import find_parent_nodes, metric
from ultralytics.slim.prediction.relation_errors import (
    CAUSES,
    MISSED,
    RIGHT,
    WRONG,
    LostEdge,
    compare_nodes,
    visualize_errors,
)

from places import ROOT

ROOM, DESK, LAMP = [0, 0, 100, 100], [10, 10, 60, 60], [20, 20, 30, 30]  # each inside the one before
TRUE = ([ROOM, DESK, LAMP], [-1, 0, 1])
SLIM_DESK = [10, 10, 60, 30]  # IoU with DESK 0.4
ELSEWHERE = [70, 70, 90, 90]
EDGE = [15, 15, 101, 65]  # IoU with DESK 0.53, and it sticks out of ROOM


def wrong(child: int, parent: int, cause: str) -> LostEdge:
    return LostEdge(child, parent, True, cause)


def missed(child: int, parent: int, cause: str) -> LostEdge:
    return LostEdge(child, parent, False, cause)


CASES = {
    "all right": (TRUE, TRUE, []),
    "nothing at all": (([], []), ([], []), []),
    "nothing found": (([], []), TRUE, [missed(1, 0, "child missed"), missed(2, 1, "child missed")]),
    "nothing there": (TRUE, ([], []), [wrong(1, 0, "no node"), wrong(2, 1, "no node")]),
    "no box for the child": (([ROOM, DESK], [-1, 0]), TRUE, [missed(2, 1, "child missed")]),
    "no box for the parent, which is a child too": (
        ([ROOM, LAMP], [-1, 0]),
        TRUE,
        [wrong(1, 0, "parent missed"), missed(1, 0, "child missed"), missed(2, 1, "parent missed")],
    ),
    "a loose box in the middle": (
        ([ROOM, SLIM_DESK, LAMP], [-1, 0, 1]),
        TRUE,
        [wrong(1, 0, "loose box"), wrong(2, 1, "loose box"), missed(1, 0, "loose box"), missed(2, 1, "loose box")],
    ),
    "a further box of a child": (([*TRUE[0], LAMP], [-1, 0, 1, 1]), TRUE, [wrong(3, 1, "duplicate")]),
    "a further box of a parent": (
        ([ROOM, DESK, LAMP, [12, 12, 58, 58]], [-1, 0, 3, 1]),
        TRUE,
        [wrong(2, 3, "duplicate"), wrong(3, 1, "duplicate"), missed(2, 1, "duplicate")],
    ),
    "a box where there is nothing": (([*TRUE[0], ELSEWHERE], [-1, 0, 1, 0]), TRUE, [wrong(3, 0, "no node")]),
    "nothing taken for a parent": (
        ([ROOM, ELSEWHERE, [72, 72, 80, 80]], [-1, -1, 1]),
        ([ROOM, [72, 72, 80, 80]], [-1, 0]),
        [wrong(2, 1, "no node"), missed(1, 0, "no node")],
    ),
    "corners: all boxes match, and one sticks out of its parent": (
        ([[0, 0, 70, 100], [40, 10, 90, 60]], [-1, -1]),
        ([[0, 0, 90, 100], [40, 10, 90, 60]], [-1, 0]),
        [missed(1, 0, "corners")],
    ),
    "the rule cannot know it": (
        ([ROOM, [110, 10, 120, 20]], [-1, -1]),
        ([ROOM, [110, 10, 120, 20]], [-1, 0]),
        [missed(1, 0, "rule")],
    ),
    "the rule sees a parent for a root": (([ROOM, DESK], [-1, 0]), ([ROOM, DESK], [-1, -1]), [wrong(1, 0, "rule")]),
}


@pytest.mark.parametrize(("pred", "true", "lost"), CASES.values(), ids=CASES)
def test_causes(pred, true, lost):
    found = compare_nodes(pred, true, "containment")
    assert found.lost == lost
    assert sum(found.causes.values()) == len(lost) and list(found.causes) == list(CAUSES)


def test_strokes_that_are_not_there_or_lead_elsewhere():
    boxes = [[10, 10, 60, 40], [10, 150, 60, 180], [150, 150, 200, 180]]
    image = np.full((200, 220, 3), 255, np.uint8)
    pred = boxes, [-1, 0, -1]
    cv2.line(image, (35, 40), (35, 150), 0, 2)
    found = compare_nodes(pred, (boxes, [-1, 0, 0]), "connectors", image=image)
    assert found.lost == [missed(2, 0, "line missed")]
    found = compare_nodes(pred, (boxes, [-1, 2, -1]), "connectors", image=image)
    assert found.lost == [wrong(1, 0, "wrong line"), missed(1, 2, "wrong line")]


def test_strokes_are_followed_from_true_boxes_only_where_an_edge_is_lost(monkeypatch):
    asked = []
    found = ultralytics.slim.prediction.relation_errors.read_relations
    monkeypatch.setattr(
        "ultralytics.slim.prediction.relation_errors.read_relations", lambda *of: asked.append(of) or found(*of)
    )
    boxes = np.array([[0.0, 0, 90, 90], [5, 5, 40, 40], [50, 5, 80, 40]])
    compare_nodes((boxes, [-1, 0, 0]), (boxes, [-1, 0, 0]), "containment")
    assert not asked
    assert compare_nodes((boxes, [-1, 0, -1]), (boxes, [-1, 0, 0]), "containment").causes["corners"] == 1
    compare_nodes((boxes, [-1, -1, -1]), (boxes, [-1, 0, 0]), "containment")
    assert len(asked) == 2  # once an image, not once an edge


def test_every_cause_has_a_case():
    cases = {edge.cause for *_, lost in CASES.values() for edge in lost}
    assert cases | {"line missed", "wrong line"} == set(CAUSES)


def test_the_causes_are_documented():
    text = (ROOT / "docs/relations.md").read_text(encoding="utf-8")
    for cause, meaning in CAUSES.items():
        assert re.search(rf"^\| {cause} \| {re.escape(meaning)}", text, re.M), cause


def made_up(random) -> tuple:
    """True nodes, and what a poor detector makes of them: some missing, all jittered, some twice."""
    low = random.uniform(0, 80, (15, 2))
    true = np.hstack([low, low + random.uniform(3, 60, (15, 2))])
    true[0] = [0, 0, 150, 150]  # so that all others have a parent
    kept = true[random.random(15) < 0.8]
    kept = np.vstack([kept, kept[random.random(len(kept)) < 0.3]])
    size = kept[:, 2:] - kept[:, :2]
    pred = kept + random.normal(0, 0.12, kept.shape) * np.hstack([size, size])
    pred[:, 2:] = np.maximum(pred[:, 2:], pred[:, :2])
    return (pred, find_parent_nodes(pred)), (true, find_parent_nodes(true))


def test_causes_add_up_to_what_the_metric_misses():
    random, seen = np.random.default_rng(0), set()
    for _ in range(60):
        pred, true = made_up(random)
        found = compare_nodes(pred, true, "containment")
        scores, edges = found.scores, sum(p >= 0 for p in [*pred[1], *true[1]])
        assert [scores[key] or 0 for key in ("precision", "recall", "f1")] == pytest.approx(metric([pred], [true]))
        assert 1 - scores["f1"] == pytest.approx(len(found.lost) / edges)
        assert scores["nodes_found"] == len(pred[0]) and scores["nodes_true"] == 15
        assert len({(e.child, e.wrong) for e in found.lost}) == len(found.lost), "an edge is lost once"
        seen |= {edge.cause for edge in found.lost}
    never = {"rule", "line missed", "wrong line"}
    assert seen >= set(CAUSES) - never, "true parents are those of the rule, which looks at boxes alone"
    assert "rule" not in seen


def test_no_edges_no_scores():
    scores = compare_nodes(([ROOM], [-1]), ([ROOM], [-1]), "containment").scores
    assert scores["precision"] is scores["recall"] is scores["f1"] is None and scores["nodes_matched"] == 1


def colors_of(drawn: np.ndarray) -> set:
    return set(map(tuple, drawn.reshape(-1, 3).tolist())) & {RIGHT, WRONG, MISSED}


@pytest.mark.parametrize(
    ("pred", "colors"),
    [
        (TRUE, {RIGHT}),
        (([ROOM, DESK], [-1, 0]), {RIGHT, MISSED}),
        (([*TRUE[0], ELSEWHERE], [-1, 0, 1, 0]), {RIGHT, WRONG}),
    ],
)
def test_picture_shows_right_wrong_and_missed(pred, colors):
    image = np.full((120, 160, 3), 255, np.uint8)
    drawn = visualize_errors(image, pred, TRUE, compare_nodes(pred, TRUE, "containment"))
    assert (image == 255).all() and drawn.shape[1:] == (160, 3) and drawn.shape[0] > 120
    assert colors_of(drawn[:120]) == colors


def blue_share(line: np.ndarray) -> float:
    return float((np.abs(line.astype(int) - MISSED).max(1) < 40).mean())


def test_missed_edges_are_dashed_and_their_causes_written():
    """All boxes are there, only the rule does not see the edge between them."""
    boxes = [[10, 10, 50, 50], [150, 10, 190, 50]]
    image, found, true = np.zeros((60, 200, 3), np.uint8), (boxes, [-1, -1]), (boxes, [-1, 0])
    drawn = visualize_errors(image, found, true, compare_nodes(found, true, "containment"))
    assert 0.3 < blue_share(drawn[30, 65:145]) < 0.7, "the arrow is neither solid nor absent"
    assert (drawn[:60] == MISSED).all(2).sum() > 150, "the label's ground"


def test_a_missed_edge_shows_beside_the_wrong_one_in_its_place():
    """The lane between pool and node was not found, so the node hangs on the pool: both arrows go up from the node."""
    pool, lane, node = [5, 5, 195, 195], [6, 8, 194, 192], [80, 60, 120, 100]
    image, found, true = np.zeros((200, 200, 3), np.uint8), ([pool, node], [-1, 0]), ([pool, lane, node], [-1, 0, 1])
    drawn = visualize_errors(image, found, true, compare_nodes(found, true, "containment"))
    for color in (WRONG, MISSED):
        assert (np.abs(drawn[20:55, 85:115].astype(int) - color).max(2) < 40).sum() > 8, color


def test_labels_of_missed_nodes_do_not_cover_them():
    image, node = np.zeros((120, 160, 3), np.uint8), [60, 4, 76, 16]
    drawn = visualize_errors(image, ([], []), ([node], [-1]), compare_nodes(([], []), ([node], [-1]), "containment"))
    assert not (drawn[8:12, 64:72] == MISSED).any(), "above it there is no room"


def test_missed_nodes_are_dashed():
    image = np.zeros((120, 160, 3), np.uint8)
    drawn = visualize_errors(image, ([], []), ([ROOM], [-1]), compare_nodes(([], []), ([ROOM], [-1]), "containment"))
    assert 0.3 < blue_share(drawn[30:90, 100]) < 0.7, "the right side is neither solid nor absent"
