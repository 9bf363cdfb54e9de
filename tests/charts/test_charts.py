"""Charts: whole SVG whatever they are given, round numbers, and names that stand beside their own dots."""

from __future__ import annotations

import math
import random
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ultralytics.slim import charts
from ultralytics.slim.charts import svg
from ultralytics.slim.charts.placement import Box, Dot, place
from ultralytics.slim.charts.svg import standalone, ticks

NAN = float("nan")
DRAWN = {
    "trace": lambda: charts.trace("t", {"sparse": [1, NAN], "<distill>": [0.0]}, "mAP", ("original", 2.0)),
    "trace of one epoch": lambda: charts.trace("t", {"sparse": [NAN]}, "mAP"),
    "stack": lambda: charts.stack("t", {"box": [1, 2], "distill": [0, NAN]}, [(0, "a"), (1, "b")], "loss"),
    "histogram": lambda: charts.histogram("t", [0, 1, 2], {"before": [3, 0], "after": [0, 0]}, "γ"),
    "fan": lambda: charts.fan("t", {"10 %": [0, 0], "median": [1, 1], "90 %": [2, 3]}, "γ"),
    "journey": lambda: charts.journey("t", [("a", 0, 0), ("b", 0, 0)], "GFLOPs", "mAP"),
    "journey beside others": lambda: charts.journey("t", [("a", 1, 2)], "x", "y", [("<c>", 3, 4), ("d", 0, None)]),
    "dumbbells": lambda: charts.dumbbells("t", [("&" * 40, 0, 0), ("b", 1, 2)], ("before", "after"), "mAP"),
    "columns": lambda: charts.columns("t", [("model.0", 16, 8)], ("before", "after"), "channels"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_charts_are_svg_without_gaps(name):
    drawn = DRAWN[name]()
    assert ElementTree.fromstring(standalone(drawn)).tag.endswith("svg") and ElementTree.fromstring(drawn) is not None
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<title>.*?</title>", "", drawn))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 8.7, [0, 2.5, 5, 7.5]), (1, 1, [1]), (0, 300, [0, 100, 200, 300])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([60, 0], (0, 66)), ([80, 75], (70, 81.5)), ([50, 50], (49, 50.3)), ([0, 0], (0, 1)), ([], (0, 1))],
)
def test_axis_starts_at_zero_unless_all_values_are_close_together(values, expected):
    assert svg.value_range(values) == pytest.approx(expected)


SEEDS = range(100, 108)
CROWDS = {
    "in a row": [(403, 66), (367, 67), (331, 66), (296, 68), (259, 105), (225, 148)],
    "one over the other": [(240, 74), (240, 83), (244, 143), (244, 150), (244, 180), (421, 72)],
    "in one place": [(410, 220), (410, 220), (410, 219)],
    "at the end of a journey": [(223, 113), (223, 160), (137, 167), (137, 138), (137, 137), (400, 50), (400, 114)],
    "at the borders": [(50, 45), (50, 228), (444, 45), (444, 228), (444, 222)],
    "strewn": [(random.Random(n).uniform(60, 430), random.Random(n + 50).uniform(50, 220)) for n in range(14)],
    "long names": [(random.Random(n).uniform(60, 430), random.Random(n + 7000).uniform(50, 220)) for n in SEEDS],
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_each_label_belongs_to_its_dot(crowd):
    """A label covers no dot and no other label; it is nearer to its dot than to the others, or a line leads there."""
    words = " with a name" if crowd == "long names" else ""
    dots = [Dot(x, y, 5, f"model {i}{words}") for i, (x, y) in enumerate(CROWDS[crowd])]
    frame = Box(46, 30, 458, 240)
    labels = place(dots, frame)
    for i, (own, label) in enumerate(zip(dots, labels)):
        assert label.box.beyond(frame) == 0
        assert not any(label.box.covers(other.box) for other in labels[:i])
        assert not any(label.box.covers(other.box) for other in dots)
        near = [other for other in dots if label.box.gap(other.box) < label.box.gap(own.box) - 1]  # 1: in one place
        assert label.leader or not near, f"{own.name} is nearer to {[other.name for other in near]}"
        if label.leader:
            assert math.dist(label.leader[:2], own[:2]) == pytest.approx(own.radius)
            ends = np.linspace(label.leader[:2], label.leader[2:], 50)
            others = [other for dot, other in zip(dots, labels) if math.dist(dot[:2], own[:2]) > dot.radius]
            assert not any(other.box.covers(Box(*end, *end)) for end in ends for other in others)


def test_the_line_to_a_label_runs_through_no_other_dot():
    seeds = range(5200, 5210)
    places = [(random.Random(n).uniform(60, 430), random.Random(n + 50).uniform(50, 220)) for n in seeds]
    dots = [Dot(x, y, 5, f"model {i} with a name") for i, (x, y) in enumerate(places)]
    led = [(own, label) for own, label in zip(dots, place(dots, Box(46, 30, 458, 240))) if label.leader]
    assert led and not any(label.strikes(dot.box) for own, label in led for dot in dots if dot is not own)


def test_labels_of_dots_that_touch_keep_their_order():
    dots = [Dot(240, 100, 5, "upper"), Dot(240, 102, 5, "lowest"), Dot(240, 101, 5, "lower")]
    labels = place(dots, Box(46, 30, 458, 240))
    assert labels[0].baseline < labels[2].baseline < labels[1].baseline


def test_names_of_dots_in_one_place_stay_beside_them():
    dots = [Dot(224, 125, 8, "original"), Dot(135, 180, 5, "pruned"), Dot(135, 152, 5, "retrained")]
    dots.append(Dot(135, 151, 8, "distilled"))
    assert not any(label.leader for label in place(dots, Box(46, 30, 458, 240), joined=[[dot[:2] for dot in dots]]))


def test_a_name_that_has_several_points_is_written_once_and_they_are_joined():
    chart = charts.scatter(
        "t", {"ours": [("ours", 0.3, 0.6), ("ours", 0.5, 0.65)], "others": [("other", 0.5, 0.5)]}, "x", "y"
    )
    texts = [element.text for element in ElementTree.fromstring(chart).iter() if element.tag.endswith("text")]
    assert sorted(text for text in texts if text in ("ours", "other", "others")) == ["other", "others", "ours", "ours"]
    dots = re.findall(r'<circle class="f-a" cx="([\d.]+)" cy="([\d.]+)"', chart)
    (joined,) = re.findall(r'<path class="s-a" [^>]*d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)"', chart)
    assert {joined[:2], joined[2:]} == set(dots) and len(dots) == 2


def test_labels_keep_off_what_else_is_drawn():
    frame, own = Box(46, 30, 458, 240), Dot(240, 100, 5, "model")
    (free,) = place([own], frame)
    (moved,) = place([own], frame, taken=[free.box])
    assert free.box.covers(Box(250, 100, 250, 100)) and moved.box.gap(free.box) > 0
    (beside,) = place([own], frame, joined=[[(240, 100), (400, 100)]])
    assert not beside.box.covers(Box(250, 100, 400, 100)), "the line that leads away from the dot"


def test_a_journey_names_every_dot_once():
    points = [("original", 2, 80), ("sparse", 2, 79.8), ("pruned", 1, 0), ("retrained", 1, 0.1), ("distilled", 1, 0.2)]
    drawn = charts.journey("t", points, "GFLOPs", "mAP", [("<s>", 1.5, 40), ("m", 1.2, None)])
    written = [e.text for e in ElementTree.fromstring(drawn).iter() if e.get("class") in ("t", "h")]
    assert sorted(written) == sorted([name for name, *_ in points] + ["<s>", "m"])
