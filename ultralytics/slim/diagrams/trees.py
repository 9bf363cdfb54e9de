"""Layouts of trees, where a parent stands beside its children: trees, mind maps and organisation charts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import words
from .scene import Scene


@dataclass
class Branch:
    """A node of a tree before it has a place."""

    children: list[Branch] = field(default_factory=list)
    across: float = 0.0  # position across the direction of growth, in leaves

    def leaves(self) -> int:
        return sum(child.leaves() for child in self.children) or 1

    def depth(self) -> int:
        return 1 + max((child.depth() for child in self.children), default=0)


def tree(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a tree of topics that grows down or to the right."""
    scene = Scene(width, height)
    root = grow(rng, int(rng.integers(3, max(4, min(width, 560) // 56))), 3)
    shape, route = str(rng.choice(["ellipse", "circle", "pill"])), str(rng.choice(["straight", "elbow", "curve"]))
    place_tree(scene, rng, root, (0, 0, width, height), "topic", shape, route, words.idea, slack=0.25)
    if rng.random() < 0.5:
        scene.transpose()
    return scene


def organisation(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return an organisation chart of cards, from the top down, joined by elbows without heads."""
    scene = Scene(width, height)
    root = grow(rng, int(rng.integers(3, max(4, min(width, 620) // 64))), int(rng.integers(2, 4)))
    shape = str(rng.choice(["card", "card", "badge"]))
    place_tree(scene, rng, root, (0, 0, width, height), "card", shape, "elbow", words.person, slack=0.08)
    return scene


def mind_map(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Return a central topic with branches to the left and to the right."""
    scene = Scene(width, height)
    middle_x, middle_y = width * rng.uniform(0.46, 0.54), height / 2
    half_w, half_h = width * rng.uniform(0.07, 0.1), height * rng.uniform(0.05, 0.08)
    box = (middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h)
    root = scene.add("topic", box, str(rng.choice(["cloud", "ellipse"])), text=words.idea(rng))
    shape, route = str(rng.choice(["pill", "ellipse", "underline"])), str(rng.choice(["curve", "curve", "straight"]))
    gap = width * rng.uniform(0.04, 0.07)
    for side, reach in ((1, width - box[2] - gap), (-1, box[0] - gap)):
        branch = grow(rng, int(rng.integers(3, max(4, height // 44))), 3)
        part = Scene(height, int(reach))
        area = (0, 0, height, int(reach))
        place_tree(part, rng, branch, area, "topic", shape, route, words.idea, slack=0.2, skip_root=True)
        part.transpose()
        _join_side(scene, rng, part, root, side, box[2] + gap if side > 0 else box[0] - gap, route)
    return scene


def grow(rng: np.random.Generator, leaves: int, depth: int) -> Branch:
    """Return a random tree with about that many leaves, no deeper than `depth` levels of children."""
    if depth == 0 or leaves <= 1:
        return Branch()
    count = min(leaves, int(rng.integers(2, 5)))
    shares = rng.multinomial(leaves - count, rng.dirichlet(np.full(count, 1.5))) + 1
    return Branch([grow(rng, int(share), depth - 1) for share in shares])


def measure(branch: Branch, start: float) -> None:
    """Give each branch its position across: leaves side by side, parents at the middle of their children."""
    if not branch.children:
        branch.across = start + 0.5
        return
    for child in branch.children:
        measure(child, start)
        start += child.leaves()
    branch.across = (branch.children[0].across + branch.children[-1].across) / 2


def place_tree(
    scene: Scene,
    rng: random.Random,
    root: Any,
    area: Any,
    kind: Any,
    shape: Any,
    route: Any,
    text: Any,
    slack: float,
    skip_root: bool = False,
) -> None:
    """Add a tree that grows down through the area; `slack` jitters places, in shares of what is free around a node."""
    measure(root, 0.0)
    margin = 0.04 * min(scene.width, scene.height)
    slot = (area[2] - area[0] - 2 * margin) / root.leaves()
    level = (area[3] - area[1] - 2 * margin) / (root.depth() - skip_root)
    half_w, half_h = min(0.42 * slot, 62), min(rng.uniform(0.2, 0.32) * level, 30)
    if shape == "circle":
        half_w = half_h = min(half_w, half_h)

    def add(branch: Branch, parent: int, depth: int) -> None:
        node = -1
        if depth >= 0:
            x = area[0] + margin + branch.across * slot + slack * rng.uniform(-1, 1) * (slot / 2 - half_w)
            y = area[1] + margin + (depth + 0.5) * level + slack * rng.uniform(-1, 1) * (level / 2 - half_h)
            wide = half_w * (1 if shape in ("circle", "card", "badge") else rng.uniform(0.75, 1.0))
            box = (x - wide, y - half_h, x + wide, y + half_h)
            node = scene.add(kind, box, shape, parent=parent, text=text(rng))
            if parent >= 0:
                scene.connect(rng, parent, node, route, head="" if kind == "card" or rng.random() < 0.7 else "arrow")
        for child in branch.children:
            add(child, node, depth + 1)

    add(root, -1, -1 if skip_root else 0)


def _join_side(scene: Scene, rng: random.Random, part: Scene, root: int, side: int, edge: float, route: str) -> None:
    """Move a part that grows to the right beside the centre, mirrored for the left side, and link it to the root."""
    offset = len(scene.nodes)
    for node in part.nodes:
        x1, y1, x2, y2 = node.box
        box = (edge + side * x1, y1, edge + side * x2, y2) if side > 0 else (edge - x2, y1, edge - x1, y2)
        parent = node.parent + offset if node.parent >= 0 else root
        index = scene.add(node.kind, box, node.shape, parent=parent, text=node.text)
        scene.connect(rng, parent, index, route, head="")
