"""Sample images side by side: what the original detects, what the compressed model detects, and where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..classes import names_of
from ..fewer_classes import had_more, pairs_with
from ..files import write_whole
from ..inputs.weights import open_model
from ..measuring.detections import Difference, Found, choose_images, detect, match_detections

LOOKED_AT = 24  # images, evenly spaced over the split, among which the shown ones are chosen
SHOWN = 4
SAME_IOU = 0.5
EDGE_PX = 640  # long edge of a picture
BOTH, LOST, NEW = (118, 110, 15), (40, 60, 215), (20, 130, 245)  # BGR: teal, red, orange
KEY = (  # (CSS of the mark, meaning)
    ("border:2px solid rgb(15,110,118)", "found by both"),
    ("border:2px solid rgb(215,60,40)", "lost"),
    ("border:2px dashed rgb(215,60,40)", "where it is missing"),
    ("border:2px solid rgb(245,130,20)", "only the compressed model has it"),
)


def pick(differences: list[Difference]) -> list[int]:
    """Return the indices of the images to show: from most different to least, evenly spaced."""
    order = sorted(range(len(differences)), key=lambda i: (-differences[i].size, i))
    return [order[i] for i in np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))] if order else []


def make_samples(original: Path, compressed: Path, source: Any, imgsz: int, device: Any, folder: Path) -> list[dict]:
    """Draw sample images with both models' detections into `folder`; return their captions and file names."""
    images = choose_images(source, LOOKED_AT)
    models = [open_model(path).model for path in (original, compressed)]
    like = names_of(models[0])
    kept = list(pairs_with(models[1], like)) if had_more(models[1]) else None
    settings = {"imgsz": imgsz, "device": device}
    pairs = list(
        zip(detect(original, images, like, classes=kept, **settings), detect(compressed, images, like, **settings))
    )
    differences = [match_detections(*pair, SAME_IOU) for pair in pairs]
    samples = []
    for rank, index in enumerate(pick(differences), 1):
        image, difference = cv2.imread(str(images[index])), differences[index]
        if image is None:
            continue
        sample = {
            "image": images[index].name,
            "both": len(difference.both),
            "lost": len(difference.lost),
            "new": len(difference.new),
            "looked_at": len(images),
        }
        for side, is_left in (("left", True), ("right", False)):
            drawn = draw(image, *pairs[index], difference, is_left)
            sample[side] = _save(drawn, folder / f"sample-{rank}-{side}.jpg").name
        samples.append(sample)
    return samples


def draw(image: np.ndarray, original: Found, compressed: Found, difference: Difference, is_left: bool) -> np.ndarray:
    """Return a BGR picture, long edge 640 px: the original's detections (`is_left`) or the compressed model's."""
    scale = EDGE_PX / max(image.shape[:2])
    size = tuple(max(1, round(edge * scale)) for edge in image.shape[1::-1])
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for i, j in difference.both:
        _box(canvas, (original.boxes_xyxy[i] if is_left else compressed.boxes_xyxy[j]) * scale, BOTH, 1)
    for i in difference.lost:
        _mark(canvas, original, i, LOST, scale, dashed=not is_left)
    for j in difference.new if not is_left else ():
        _mark(canvas, compressed, j, NEW, scale)
    return canvas


def _mark(canvas: np.ndarray, found: Found, index: int, color: tuple, scale: float, dashed: bool = False) -> None:
    box = found.boxes_xyxy[index] * scale
    if dashed:
        _dashes(canvas, box, color)
        return
    _box(canvas, box, color, 2)
    words, font, size = found.texts[index], cv2.FONT_HERSHEY_SIMPLEX, 0.42
    (wide, high), drop = cv2.getTextSize(words, font, size, 1)
    x = int(np.clip(box[0], 0, max(0, canvas.shape[1] - wide - 4)))
    y = int(np.clip(box[1] - high - drop - 2, 0, max(0, canvas.shape[0] - high - drop - 4)))
    cv2.rectangle(canvas, (x, y), (x + wide + 4, y + high + drop + 2), color, -1)
    cv2.putText(canvas, words, (x + 2, y + high + 2), font, size, (255, 255, 255), 1, cv2.LINE_AA)


def _box(canvas: np.ndarray, box: np.ndarray, color: tuple, width: int) -> None:
    low, high = (tuple(round(v) for v in corner) for corner in (box[:2], box[2:]))
    cv2.rectangle(canvas, low, high, (255, 255, 255), width + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, low, high, color, width, cv2.LINE_AA)


def _dashes(canvas: np.ndarray, box: np.ndarray, color: tuple, dash: int = 9) -> None:
    x0, y0, x1, y1 = box
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        start, end = np.array(start), np.array(end)
        steps = max(1, int(np.hypot(*(end - start)) // dash))
        for k in range(0, steps, 2):
            a, b = start + (end - start) * k / steps, start + (end - start) * min(1, (k + 1) / steps)
            for paint, width in (((255, 255, 255), 4), (color, 2)):
                cv2.line(canvas, *(tuple(round(v) for v in p) for p in (a, b)), paint, width, cv2.LINE_AA)


def _save(picture: np.ndarray, path: Path) -> Path:
    return write_whole(path, lambda partial: cv2.imwrite(str(partial), picture, [cv2.IMWRITE_JPEG_QUALITY, 82]))
