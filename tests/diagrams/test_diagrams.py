"""The drawn data set: reproducible, labelled where the ink is, readable by Ultralytics and by relation.py."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from connectors.boxes import gaps
from relation import find_parent_nodes, metric, read_plabels_dir
from ultralytics.data.utils import check_det_dataset
from ultralytics.slim.diagrams import draw_dataset, flows, networks, trees
from ultralytics.slim.diagrams.dataset import KINDS, LINED, draw_one
from ultralytics.slim.diagrams.lettering import ALPHABET, wrap
from ultralytics.slim.diagrams.pen import Pen
from ultralytics.slim.diagrams.render import render
from ultralytics.slim.diagrams.scene import CLASSES, Scene
from ultralytics.slim.diagrams.shapes import SHAPES, border, outline
from ultralytics.slim.diagrams.style import Style
from ultralytics.slim.errors import InputError

from places import ROOT

YAML_FILE = ROOT / "diagram.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "diagram", train=14, val=4, seed=3)


# -------------------------------------------------------------------------------------------------------- the folder


def test_same_seed_same_bytes(drawn, tmp_path):
    again = contents(draw_dataset(tmp_path / "again", train=14, val=4, seed=3))
    assert again == contents(drawn)
    assert len(again) == 3 * 18
    images = [data for name, data in again.items() if name.startswith("images")]
    assert len(set(images)) == 18


def test_drawings_differ_by_seed_split_and_index():
    one = draw_one(0, "train", 0)
    for other in (draw_one(1, "train", 0), draw_one(0, "val", 0), draw_one(0, "train", 1)):
        assert one.image.shape != other.image.shape or (one.image != other.image).any()


def test_more_drawings_do_not_change_the_first_ones(drawn, tmp_path):
    fewer = contents(draw_dataset(tmp_path / "fewer", train=2, val=1, seed=3))
    assert fewer.items() <= contents(drawn).items()


def test_files_are_complete_and_readable(drawn):
    suffixes = {p.suffix for p in (drawn / "images").rglob("*.*")}
    assert suffixes == {".png", ".webp"}
    for split, count in (("train", 14), ("val", 4)):
        labelled = read_plabels_dir(drawn / "images" / split, drawn / "plabels" / split)
        assert len(labelled) == count
        for path, found in labelled:
            image = cv2.imread(str(path))
            assert 360 <= min(image.shape[:2]) and 520 <= max(image.shape[:2]) <= 640 and image.std() > 3
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and len(found.parents) >= 3
            rows = (drawn / "plabels" / split / f"{path.stem}.txt").read_text().splitlines()
            short = (drawn / "labels" / split / f"{path.stem}.txt").read_text().splitlines()
            assert short == [" ".join(row.split()[:5]) for row in rows]


def test_nothing_is_overwritten_or_left_half_written(tmp_path, monkeypatch):
    (tmp_path / "diagram").mkdir()
    with pytest.raises(FileExistsError, match="diagram exists and is never overwritten: move it away"):
        draw_dataset(tmp_path / "diagram", train=1, val=1)
    for key, wrong, least in (("train", 0, 1), ("val", 1.5, 1), ("seed", -1, 0)):
        with pytest.raises(InputError, match=f"^{key} must be a whole number from {least}, got {key}={wrong}$"):
            draw_dataset(tmp_path / "other", **{key: wrong})

    def fail(*args):
        raise RuntimeError("out of ink")

    monkeypatch.setattr("ultralytics.slim.diagrams.dataset.draw_one", fail)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="link exists"):
        draw_dataset(tmp_path / "link", train=1, val=1)
    (tmp_path / "link").unlink()
    with pytest.raises(RuntimeError, match="out of ink"):
        draw_dataset(tmp_path / "other", train=2, val=1)
    assert os.listdir(tmp_path) == ["diagram"] and not os.listdir(tmp_path / "diagram")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "datasets").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="datasets cannot be written .*copy the data set's YAML"):
        draw_dataset(tmp_path / "datasets" / "diagram", train=1, val=1)


# -------------------------------------------------------------------------------------------------------- diagram.yaml


def test_yaml_names_the_drawn_classes():
    described = yaml.safe_load(YAML_FILE.read_text(encoding="utf-8"))
    assert tuple(described["names"].values()) == CLASSES
    assert "path" not in described and "train=320, val=80" in described["download"]


@pytest.mark.parametrize("folder", ["plain", "with space", "größer ☂"])
@pytest.mark.parametrize("relative", [True, False])
def test_yaml_draws_beside_itself(tmp_path, monkeypatch, folder, relative):
    home = tmp_path / folder
    home.mkdir()
    text = YAML_FILE.read_text(encoding="utf-8").replace("train=320, val=80", "train=1, val=1")
    (home / "diagram.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    data = check_det_dataset(f"{folder}/diagram.yaml" if relative else str(home / "diagram.yaml"))
    assert Path(data["train"]) == home / "datasets/diagram/images/train"
    assert len(os.listdir(data["train"])) == len(os.listdir(data["val"])) == 1
    assert sorted(os.listdir(tmp_path)) == [folder]
    assert check_det_dataset(str(home / "diagram.yaml"))["val"] == data["val"]  # and not drawn again


# ------------------------------------------------------------------------------------------------------- the drawings

STEADY = Style(
    medium="screen",
    ink=(0, 0, 0),
    accent=(0, 0, 0),
    paper=(255, 255, 255),
    pattern="none",
    hand=False,
    wobble=0.0,
    stroke=1.5,
    fills={},
    shadow=False,
    font="DejaVuSans.ttf",
    doodles=0,
)
SHAKY = replace(STEADY, hand=True, wobble=1.6)


@pytest.mark.parametrize("style", [STEADY, SHAKY], ids=["steady", "shaky"])
@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"underline"}))
def test_boxes_bound_the_ink(style, shape):
    scene = Scene(300, 200)
    scene.add("box", (100, 70, 180, 120), shape, title="top")
    image, boxes = render(np.random.default_rng(0), scene, style)
    ys, xs = np.nonzero(image.min(2) < 128)
    np.testing.assert_allclose(boxes, [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], atol=2)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("box", [(10, 20, 90, 50), (0, 0, 12, 30)])
def test_outlines_fill_their_box(shape, box):
    points = outline(shape, box)[0]
    size = np.array([box[2] - box[0], box[3] - box[1]])
    np.testing.assert_allclose(points.min(0), box[:2], atol=0.03 * size.max())
    np.testing.assert_allclose(points.max(0), box[2:], atol=0.03 * size.max())
    assert all((line >= np.array(box[:2]) - 1e-6).all() for line in outline(shape, box))


def layouts(name: str, count: int = 25) -> list[tuple[np.ndarray, list[int]]]:
    scenes = [{**LINED, **KINDS}[name][0](np.random.default_rng([7, i]), 600, 420) for i in range(count)]
    return [(np.array([n.box for n in scene.nodes]), [n.parent for n in scene.nodes]) for scene in scenes]


@pytest.mark.parametrize("name", {**KINDS, **LINED})
def test_layouts_stay_on_the_sheet_with_parents_first(name):
    for boxes, parents in layouts(name):
        assert (boxes >= -4).all() and (boxes <= 604).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert all(parent < child for child, parent in enumerate(parents))


@pytest.mark.parametrize(
    ("name", "mode", "least"),
    [
        ("pools", "containment", 0.98),
        ("nested", "containment", 0.99),
        ("flow", "containment", 0.98),
        ("organisation", "layout", 0.97),
        ("tree", "layout", 0.97),
        ("mind_map", "layout", 0.95),
    ],
)
def test_rules_find_the_drawn_parents(name, mode, least):
    true = layouts(name)
    pred = [(boxes, find_parent_nodes(boxes, mode)) for boxes, _ in true]
    assert metric(pred, true)[2] >= least


def test_all_classes_and_sizes_occur():
    scenes = [KINDS[name][0](np.random.default_rng([8, i]), 600, 420) for name in KINDS for i in range(12)]
    assert {node.kind for scene in scenes for node in scene.nodes} == set(CLASSES)
    counts = [len(scene.nodes) for scene in scenes]
    assert min(counts) <= 6 and max(counts) >= 35  # sparse and crowded


def test_transposed_scenes_keep_parents_and_stand_upright():
    scene = flows.pools(np.random.default_rng(2), 600, 420)
    parents, size = [n.parent for n in scene.nodes], (scene.width, scene.height)
    scene.transpose()
    assert [n.parent for n in scene.nodes] == parents and (scene.height, scene.width) == size
    assert all(n.title != "left" for n in scene.nodes)
    leaves = [n.box for n in scene.nodes if n.kind not in ("container", "lane")]
    assert all(x2 - x1 >= y2 - y1 - 1e-6 for x1, y1, x2, y2 in leaves)


def test_trees_have_one_root():
    for build in (trees.tree, trees.organisation, trees.mind_map):
        for i in range(10):
            scene = build(np.random.default_rng(i), 600, 420)
            assert [n.parent for n in scene.nodes].count(-1) == 1


# ------------------------------------------------------------------------- drawings whose relations are their lines


def lined(count: int) -> list:
    return [draw_one(5, "val", i, lined=True) for i in range(count)]


@pytest.mark.slow
def test_lined_drawings_have_lines_of_all_styles_on_all_grounds():
    drawings = lined(80)
    assert {one.kind for one in drawings} == set(LINED)
    links = [link for one in drawings for link in one.scene.links]
    assert {link.line for link in links} == {"solid", "dashed", "dotted"}
    assert {link.head for link in links} == {"", "arrow", "open", "hollow", "diamond", "dot"}
    assert {link.route for link in links} >= {"straight", "elbow", "curve", "direct", "arc"}
    assert {one.style.ground for one in drawings} == {"paper", "gradient", "photo"}
    assert any(link.text for link in links) and len({link.color for link in links}) > 8


def test_each_edge_is_a_link_and_nodes_do_not_touch():
    for one in lined(40):
        links = [(link.start, link.end) for link in one.scene.links]
        parents = [node.parent for node in one.nodes]
        assert {(p, child) for child, p in enumerate(parents) if p >= 0} <= set(links)
        if one.kind != "joining_flow":
            assert len(links) == sum(p >= 0 for p in parents)
        if one.kind in ("radial", "by_forces"):
            boxes = np.array([node.box for node in one.nodes])
            assert gaps(boxes).max(2)[~np.eye(len(boxes), dtype=bool)].min() > networks.GAP - 0.01
    several = [one for one in lined(80) if one.kind == "joining_flow"]
    assert any(len(one.scene.links) > sum(node.parent >= 0 for node in one.nodes) for one in several)
    assert all(sum(n.parent < 0 for n in one.nodes) > 1 for one in lined(80) if one.kind == "forest")


def test_a_link_takes_another_route_round_a_node():
    scene = Scene(300, 200)
    for box in ((120, 10, 180, 40), (40, 120, 100, 150), (110, 120, 170, 150)):
        scene.add("card", box, "card")
    scene.connect(np.random.default_rng(0), 0, 1, "elbow")
    scene.nodes[2].box = (60, 70, 90, 95)  # stands where the elbow turns
    scene.links[0].bend = 0.5
    bent = scene.path(scene.links[0])
    networks.lead_around(scene)
    assert scene.links[0].route == "direct" and scene.path(scene.links[0]) != bent
    scene.nodes[2].box = (200, 120, 260, 150)
    scene.links[0].route = "elbow"
    networks.lead_around(scene)
    assert scene.links[0].route == "elbow", "nothing is in the way"


@pytest.mark.parametrize("line", ["solid", "dashed", "dotted"])
@pytest.mark.parametrize("route", ["straight", "elbow", "curve", "direct", "arc"])
def test_a_link_is_drawn_from_outline_to_outline(line, route):
    scene = Scene(300, 200)
    scene.add("box", (20, 20, 90, 60), "rect")
    scene.add("box", (200, 130, 280, 180), "rect")
    scene.connect(np.random.default_rng(0), 0, 1, route, line=line, head="")
    points = np.array(scene.path(scene.links[0]))
    for (x, y), (x1, y1, x2, y2) in zip(points[[0, -1]], (node.box for node in scene.nodes)):
        assert min(abs(x - x1), abs(x - x2), abs(y - y1), abs(y - y2)) < 1e-6 and x1 <= x <= x2 and y1 <= y <= y2
    pen = Pen(np.full((400, 600, 3), 255, np.uint8), STEADY, np.random.default_rng(0))
    pen.line(points, width=2.0, line=line)
    ys, xs = np.nonzero(pen.canvas.min(2) < 128)
    for x, y in points[[0, -1]]:
        assert np.hypot(xs / 2 - x, ys / 2 - y).min() < 4  # a gap of dots at most
    length = np.hypot(*np.diff(points, axis=0).T).sum()
    share = {"solid": (1.0, 1.5), "dashed": (0.6, 1.0), "dotted": (0.3, 0.7)}[line]
    assert share[0] < len(xs) / (4 * 2.0 * length) < share[1]


@pytest.mark.parametrize("style", [STEADY, SHAKY], ids=["steady", "shaky"])
@pytest.mark.parametrize("head", ["arrow", "open", "hollow", "diamond", "dot"])
def test_a_head_is_drawn_at_the_end(head, style):
    pen = Pen(np.full((200, 400, 3), 255, np.uint8), style, np.random.default_rng(0))
    points = np.column_stack([np.linspace(20, 160, 20), np.linspace(30, 70, 20)])
    pen.line(points, width=1.0)
    before = pen.canvas.copy()
    pen.head(points, head, (0, 0, 255), 1.0)
    ys, xs = np.nonzero((pen.canvas != before).any(2))
    away = np.hypot(xs / 2 - 160, ys / 2 - 70)
    assert len(xs) > 30 and away.max() < 13


@pytest.mark.parametrize("shape", ["ellipse", "circle", "cloud", "pill", "diamond", "rect", "underline"])
def test_direct_links_end_on_the_outline(shape):
    box, middle = np.array([100.0, 70, 180, 120]), np.array([140.0, 95])
    points = outline(shape, tuple(box))[0]
    for angle in np.linspace(0, 2 * np.pi, 13):
        toward = middle + 300 * np.array([np.cos(angle), np.sin(angle)])
        at = border(shape, tuple(box), tuple(toward))
        sides = np.diff(points, axis=0)
        share = ((at - points[:-1]) * sides).sum(1) / np.maximum((sides**2).sum(1), 1e-9)
        off = np.hypot(*(points[:-1] + share.clip(0, 1)[:, None] * sides - at).T).min()
        across = (at - middle) @ np.array([-np.sin(angle), np.cos(angle)])
        assert off < 1e-6 and abs(across) < 1e-6 and (at - middle) @ (toward - middle) > 0


def test_a_lined_data_set_is_drawn_on_request(tmp_path):
    folder = draw_dataset(tmp_path / "lined", train=3, val=1, seed=1, lined=True)
    names = {path.stem.rsplit("_", 1)[0] for path in (folder / "images").rglob("*.*")}
    assert names <= set(LINED) and len(list(folder.rglob("plabels/*/*.txt"))) == 4
    one = draw_one(1, "val", 0, lined=True)
    assert find_parent_nodes(one.boxes, "connectors", one.image).count(-1) >= 1


def test_of_two_parents_the_first_as_one_reads_is_labelled():
    """By the middles, from the upper left, as the rule for strokes has it; nodes of a layer are equally deep."""
    joined = 0
    for number in (*range(20), 108, 250):  # of 16, 108 and 250 the other line comes first
        scene, reached = networks.joining_flow(np.random.default_rng([9, number]), 600, 420), {}
        for link in scene.links:
            reached.setdefault(link.end, []).append(sum(scene.nodes[link.start].middle))
        for node, places in reached.items():
            assert sum(scene.nodes[scene.nodes[node].parent].middle) == pytest.approx(min(places))
            joined += len(places) > 1
    assert joined > 10


def test_text_wraps_shrinks_or_is_left_out():
    assert wrap("check order", 200, 40, 10, 5) == (["check order"], 10)
    assert wrap("check order", 50, 40, 10, 5) == (["check", "order"], 10)
    lines, size = wrap("check order", 25, 40, 10, 5)
    assert lines == ["check", "order"] and 5 <= size < 10
    assert wrap("check order", 8, 40, 10, 5)[0] == []
    assert len(ALPHABET) == 26
