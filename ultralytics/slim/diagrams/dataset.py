"""Draw the embedded default data set: images, labels and plabels.

The same seed gives the same bytes under the same versions of OpenCV, Pillow and NumPy; other versions may round a pixel
otherwise, the labels stay the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ultralytics.utils import LOGGER, TQDM

from ..plabels import plabels_text
from . import flows, trees
from .render import render
from .scene import CLASSES, Node, Scene
from .style import CLEAN, random_style

SPLITS = ("train", "val")
KINDS: dict[str, tuple[Callable[..., Scene], float]] = {  # layout and its share of the drawings
    "pools": (flows.pools, 0.32),
    "nested": (flows.nested, 0.22),
    "flow": (flows.flow_chart, 0.18),
    "mind_map": (trees.mind_map, 0.1),
    "organisation": (trees.organisation, 0.1),
    "tree": (trees.tree, 0.08),
}


class Drawing(NamedTuple):
    """One drawing: its layout's name, image (H, W, 3) BGR uint8, nodes and boxes (N, 4) xyxy in pixels."""

    kind: str
    image: np.ndarray
    nodes: list[Node]
    boxes: np.ndarray
    clean: bool  # without a camera's noise


def draw_one(seed: int, split: str, index: int) -> Drawing:
    """Return one drawing, the same for the same arguments."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    kind = str(rng.choice(list(KINDS), p=[share for _, share in KINDS.values()]))
    long, short = int(rng.integers(520, 641)), int(rng.integers(360, 481))
    upright = kind in ("nested", "mind_map", "tree") and rng.random() < 0.35  # flows and pools turn themselves
    scene = KINDS[kind][0](rng, *((short, long) if upright else (long, short)))
    style = random_style(rng, CLASSES)
    image, boxes = render(rng, scene, style)
    return Drawing(kind, image, scene.nodes, boxes, style.medium in CLEAN)


def draw_dataset(folder: str | Path, train: int = 320, val: int = 80, seed: int = 0) -> Path:
    """Draw `train` + `val` diagrams into a new folder; it appears only when it is complete.

    The folder holds `images/`, `labels/` (`cls x y w h`) and `plabels/` (`cls x y w h px py pw ph p`), each with
    `train/` and `val/`. Images are .png, and .webp where a camera's noise would make them large.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder exists; it is left as it is.
        ValueError: No drawings in a split.
        OSError: The folder's place cannot be written.
    """
    if train < 1 or val < 1:
        raise ValueError(f"train and val must be at least 1 drawing each, got train={train} and val={val}")
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists and is never overwritten: move it away to draw the data set again")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    jobs = [(split, i) for split, count in zip(SPLITS, (train, val)) for i in range(count)]
    try:
        _make_folders(part)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # threads: safe in a script without a main guard
            done = pool.map(partial(_write, part, seed), jobs)
            for _ in TQDM(done, total=len(jobs), desc=f"Drawing diagrams to {folder}"):
                pass
        _move(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    LOGGER.info(f"Drew {train} + {val} diagrams with seed {seed} to {folder}")
    return folder


def _make_folders(part: Path) -> None:
    try:
        for split in SPLITS:
            for name in ("images", "labels", "plabels"):
                (part / name / split).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = f"{part.parent} cannot be written ({error.strerror})"
        raise type(error)(f"{where}: copy the data set's YAML to a folder that can, and use that copy") from None


def _move(part: Path, folder: Path) -> None:
    """Rename the finished folder, unless another process has drawn the same data set meanwhile."""
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _write(folder: Path, seed: int, job: tuple[str, int]) -> None:
    split, index = job
    drawing = draw_one(seed, split, index)
    name = f"{drawing.kind}_{index:04d}"
    classes, parents = [CLASSES.index(node.kind) for node in drawing.nodes], [node.parent for node in drawing.nodes]
    text = plabels_text(classes, drawing.boxes, parents, drawing.image.shape[1::-1])
    rows = [" ".join(row.split()[:5]) for row in text.splitlines()]
    (folder / "plabels" / split / f"{name}.txt").write_text(text)
    (folder / "labels" / split / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows))
    _write_image(folder / "images" / split / name, drawing.image, lossless=drawing.clean)


def _write_image(stem: Path, image: np.ndarray, lossless: bool) -> None:
    suffix, options = (".png", []) if lossless else (".webp", [cv2.IMWRITE_WEBP_QUALITY, 82])
    ok, data = cv2.imencode(suffix, image, options)
    if not ok:
        raise OSError(f"OpenCV could not encode {stem}{suffix}")
    stem.with_suffix(suffix).write_bytes(data.tobytes())
