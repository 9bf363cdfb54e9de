"""Layouts that lines explain, not places: trees in rings, trees by forces, several trees, and flows that join."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import networkx
import numpy as np

from . import trees, words
from .flows import split
from .scene import Link, Scene

SHAPES = {"topic": ("ellipse", "pill", "circle", "cloud"), "box": ("rect", "rounded")}
GAP = 14.0  # pixels between nodes, at least


def radial(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a tree in rings around its root, each node in the sector of its parent."""
    parents, root = [-1], trees.grow(rng, int(rng.integers(5, 18)), 3)
    trees.measure(root, 0.0)
    spread, first = rng.uniform(0.7, 1.0) * 2 * np.pi, rng.uniform(0, 2 * np.pi)
    places = [np.zeros(2)]

    def add(branch: trees.Branch, parent: int, depth: int) -> None:
        for child in branch.children:
            parents.append(parent)
            angle = first + spread * child.across / root.leaves()
            places.append((depth + rng.uniform(-0.15, 0.15)) * np.array([np.cos(angle), np.sin(angle)]))
            add(child, len(parents) - 1, depth + 1)

    add(root, 0, 1)
    return _placed(rng, np.array(places), parents, width, height)


def by_forces(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a tree whose nodes lie where springs along its edges put them (networkx), in no order to speak of."""
    parents = random_tree(rng, int(rng.integers(5, 22)))
    graph = networkx.Graph([(child, parent) for child, parent in enumerate(parents) if parent >= 0])
    places = networkx.kamada_kawai_layout(graph)  # always the same: turn it
    turn = rng.uniform(0, 2 * np.pi)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _placed(rng, np.array([places[i] for i in range(len(parents))]) @ rotate, parents, width, height)


def forest(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return two or three trees side by side, each with a root of its own."""
    scene = Scene(width, height)
    for area in split((0, 0, width, height), rng.uniform(0.8, 1.2, int(rng.integers(2, 4))), 0, gap=8):
        root = trees.grow(rng, int(rng.integers(2, 5)), 2)
        kind = str(rng.choice(list(SHAPES)))
        shape, route = str(rng.choice(SHAPES[kind])), str(rng.choice(["straight", "elbow", "curve", "direct"]))
        trees.place_tree(scene, rng, root, area, kind, shape, route, words.idea, slack=0.3)
    return scene


def joining_flow(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a process that runs through layers; some nodes are reached from two.

    Of those the first as one reads, from the upper left, is the parent, as it is for `connectors`.
    """
    scene, layers = Scene(width, height), []
    count = int(rng.integers(3, 6))
    for depth, column in enumerate(split((8, 8, width - 8, height - 8), [1] * count, 0, gap=26)):
        cells = split(column, [1] * (1 if depth == 0 else int(rng.integers(1, 5))), 1, gap=16)
        layer = []
        for x1, y1, x2, y2 in cells:
            half = np.array([min(rng.uniform(24, 38), (x2 - x1) / 2), min(rng.uniform(10, 18), (y2 - y1) / 2)])
            middle = rng.uniform(np.array([x1, y1]) + half, np.array([x2, y2]) - half)
            kind, shape = [("box", "rect"), ("box", "rounded"), ("decision", "diamond")][int(rng.integers(3))]
            layer.append(scene.add(kind, (*(middle - half), *(middle + half)), shape, text=words.noun(rng)))
        layers.append(layer)
    route = str(rng.choice(["straight", "direct", "elbow"]))
    for before, after in zip(layers, layers[1:]):
        starts = np.sort(rng.integers(0, len(before), len(after)))  # in order, so that few lines cross
        for node, start in zip(after, starts):
            scene.nodes[node].parent = before[start]
            scene.connect(rng, before[start], node, route)
            if start + 1 < len(before) and rng.random() < 0.35:
                scene.connect(rng, before[start + 1], node, route)
                scene.nodes[node].parent = min(before[start : start + 2], key=lambda i: sum(scene.nodes[i].middle))
    if rng.random() < 0.5:
        scene.transpose()
    return scene


def lead_around(scene: Scene) -> None:
    """Take another route for each link that would run through a third node, where one runs through fewer."""
    for link in scene.links:
        link.route = min((link.route, "direct", "straight", "elbow"), key=partial(_nodes_crossed, scene, link))


def _nodes_crossed(scene: Scene, link: Link, route: str) -> int:
    points = np.array(scene.path(replace(link, route=route)))
    share = np.linspace(0, 1, 25)[:, None, None]
    x, y = (points[:-1] * (1 - share) + points[1:] * share).reshape(-1, 2).T
    others = [node.box for i, node in enumerate(scene.nodes) if i not in (link.start, link.end)]
    return sum(((x1 < x) & (x < x2) & (y1 < y) & (y < y2)).any() for x1, y1, x2, y2 in others)


def random_tree(rng: np.random.Generator, count: int) -> list[int]:
    """Return the parents of a random tree of 2 nodes or more: each next one is the child of any before it."""
    return [-1, *(int(rng.integers(i)) for i in range(1, count))]


def _placed(rng: np.random.Generator, places: np.ndarray, parents: list[int], width: int, height: int) -> Scene:
    """Return a scene of nodes around the places (N, 2), whatever their unit, spread over the sheet and moved apart."""
    scene, kind = Scene(width, height), str(rng.choice(list(SHAPES)))
    shape, route = str(rng.choice(SHAPES[kind])), str(rng.choice(["direct", "direct", "arc", "straight", "curve"]))
    halves = rng.uniform([20, 9], [40, 17], (len(parents), 2))
    if shape == "circle":
        halves[:] = rng.uniform(9, 18, (len(parents), 1))
    halves[0] *= rng.uniform(1.0, 1.5)
    size = np.array([width, height], float)
    low, high = places.min(0), places.max(0)
    middles = (places - low) / np.maximum(high - low, 1e-9) * (size - 100) + 50
    middles, halves = _apart(middles, halves, size)
    for parent, middle, half in zip(parents, middles, halves):
        scene.add(kind, (*(middle - half), *(middle + half)), shape, parent=parent, text=words.idea(rng))
        if parent >= 0:
            scene.connect(rng, parent, len(scene.nodes) - 1, route)
    return scene


def _apart(middles: np.ndarray, halves: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move boxes off each other, along the axis on which they overlap less; where that does not do, shrink them."""
    others = ~np.eye(len(middles), dtype=bool)
    while True:
        for _ in range(60):
            way = middles[:, None] - middles
            over = np.where(others[..., None], halves[:, None] + halves + GAP - np.abs(way), 0).clip(0)
            touch = over.min(2) > 1e-6
            if not touch.any():
                return middles, halves
            less = np.eye(2)[over.argmin(2)] * touch[..., None]
            middles = middles + (np.where(way < 0, -1, 1) * over * less).sum(1) / 3
            middles = middles.clip(halves + 6, size - halves - 6)
        halves = halves * 0.9
