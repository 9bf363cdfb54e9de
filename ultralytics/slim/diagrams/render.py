"""Turn a scene into an image and the boxes of what was drawn."""

from __future__ import annotations

import cv2
import numpy as np

from . import paper, words
from .pen import Pen
from .scene import Link, Node, Scene
from .shapes import outline
from .style import Style


def render(rng: np.random.Generator, scene: Scene, style: Style) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene.

    Returns:
        image (H, W, 3) BGR uint8, and boxes (N, 4) xyxy in its pixels that bound each node's outline as drawn.
    """
    canvas = paper.blank(rng, style, scene.width, scene.height)
    paper.stain(rng, style, canvas)
    pen = Pen(canvas, style, rng)
    size = rng.uniform(8.0, 12.0)
    silhouettes = [_draw_node(pen, node, size) for node in scene.nodes]
    for link in scene.links:
        _draw_link(pen, scene, link, size)
    for _ in range(style.doodles):
        _doodle(pen, scene, size)
    matrix = paper.view(rng, style, scene.width, scene.height)
    image = paper.develop(rng, style, canvas, matrix)
    return image, _bounds(silhouettes, matrix, style.stroke, scene.width, scene.height)


def _draw_node(pen: Pen, node: Node, size: float) -> np.ndarray:
    """Draw a node and return its silhouette (K, 2)."""
    style = pen.style
    lines = [pen.shake(line) for line in outline(node.shape, node.box)]
    color = style.fills.get(node.kind)
    if node.shape != "underline":
        if style.shadow and node.kind not in ("lane", "container"):
            pen.shade(lines[0])
        frame = node.kind in ("lane", "container")
        if color and not (frame and style.hand):
            pen.fill(lines[0], color)
        elif not style.hand and not frame:
            pen.fill(lines[0], style.paper)
    for line in lines[node.shape == "underline" :]:
        pen.line(line, line="dashed" if node.shape == "dashed" else "solid")
    if node.shape == "pool" and node.title in ("left", "top"):
        _strip(pen, node, size)
    _write_title(pen, node, size)
    return lines[0]


def _strip(pen: Pen, node: Node, size: float) -> None:
    """Draw the line that parts the title of a pool or lane from its inside; lanes often go without."""
    if node.kind == "lane" and pen.rng.random() < 0.4:
        return
    x1, y1, x2, y2 = node.box
    wide = 1.45 * size
    line = [(x1 + wide, y1), (x1 + wide, y2)] if node.title == "left" else [(x1, y1 + wide), (x2, y1 + wide)]
    pen.line(pen.shake(np.array(line)))


def _text_place(node: Node, size: float) -> tuple[tuple[float, float, float, float], float, bool]:
    """Return (box of the text, height of a line, whether it reads upwards)."""
    x1, y1, x2, y2 = node.box
    if node.title == "left":
        return (x1, y1, x1 + 1.45 * size, y2), size, True
    if node.title == "top":
        return (x1 + 4, y1 + 1, x2 - 4, y1 + 1.45 * size + 1), size, False
    if node.title == "below":
        return (x1 - 16, y2 + 1, x2 + 16, y2 + 2.4 * size), 0.85 * size, False
    if node.shape == "badge":
        x1 += min(0.3 * (x2 - x1), 0.7 * (y2 - y1))
    inset = 0.06 if node.shape in ("rect", "rounded", "card", "badge", "underline", "pool") else 0.14
    pad = inset * (x2 - x1)
    return (x1 + pad, y1, x2 - pad, y2), size, False


def _write_title(pen: Pen, node: Node, size: float) -> None:
    """Write a node's text; a card has its first word above the line and the others under it."""
    box, size, upwards = _text_place(node, size)
    if node.shape != "card":
        return pen.text(node.text, box, size, upwards)
    first, _, rest = node.text.partition(" ")
    middle = (box[1] + box[3]) / 2
    pen.text(first, (*box[:3], middle), size)
    pen.text(rest, (box[0], middle, *box[2:]), size)


def _draw_link(pen: Pen, scene: Scene, link: Link, size: float) -> None:
    points = pen.shake(np.array(scene.path(link)))
    color = link.color or pen.style.accent
    pen.line(points, color, link.width * pen.style.stroke, link.line)
    if link.head:
        pen.head(points, link.head, color, link.width)
    if link.text:
        x, y = points[len(points) // 3]
        pen.text(link.text, (x - 14, y - 1.3 * size, x + 14, y), 0.8 * size)


def _doodle(pen: Pen, scene: Scene, size: float) -> None:
    """Draw what is no node: a struck-out scribble, or a free remark."""
    x, y = pen.rng.uniform(0.04, 0.78, 2) * [scene.width, scene.height]
    if pen.rng.random() < 0.6:
        pen.text(words.task(pen.rng), (x, y, x + 90, y + 30), size)
    else:
        wide, high = pen.rng.uniform(10, 34), pen.rng.uniform(6, 14)
        zigzag = np.column_stack([np.linspace(0, wide, 14), np.arange(14) % 2 * high]) + pen.rng.normal(0, 2, (14, 2))
        pen.line(zigzag + [x, y])


def _bounds(silhouettes: list[np.ndarray], matrix: np.ndarray, stroke: float, width: int, height: int) -> np.ndarray:
    """Return boxes (N, 4) around the silhouettes as seen, half a stroke wider, cut to the image."""
    boxes = []
    for points in silhouettes:
        seen = cv2.perspectiveTransform(points.reshape(1, -1, 2).astype(np.float64), matrix)[0]
        boxes.append(np.concatenate([seen.min(0) - stroke / 2, seen.max(0) + stroke / 2]))
    return np.clip(np.array(boxes).reshape(-1, 4), 0, [width, height, width, height])
