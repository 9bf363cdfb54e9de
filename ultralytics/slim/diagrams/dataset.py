"""Draw the embedded default data set: images, labels and plabels.

The same seed gives the same bytes under the same versions of OpenCV, Pillow and NumPy; other versions may round a pixel
otherwise, the labels stay the same. Lined drawings depend on networkx and the photographs that are installed as well.
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

from ..errors import InputError
from ..files import move_folder
from ..plabels import plabels_text
from . import flows, networks, trees
from .render import render
from .scene import CLASSES, Node, Scene
from .style import CLEAN, Style, random_ground, random_style, style_links

SPLITS = ("train", "val")
KINDS: dict[str, tuple[Callable[..., Scene], float]] = {  # layout and its share of the drawings
    "pools": (flows.pools, 0.32),
    "nested": (flows.nested, 0.22),
    "flow": (flows.flow_chart, 0.18),
    "mind_map": (trees.mind_map, 0.1),
    "organisation": (trees.organisation, 0.1),
    "tree": (trees.tree, 0.08),
}
LINED: dict[str, tuple[Callable[..., Scene], float]] = {  # those whose relations are their lines, in many styles
    "radial": (networks.radial, 0.2),
    "by_forces": (networks.by_forces, 0.2),
    "forest": (networks.forest, 0.15),
    "joining_flow": (networks.joining_flow, 0.15),
    "mind_map": (trees.mind_map, 0.1),
    "organisation": (trees.organisation, 0.1),
    "tree": (trees.tree, 0.1),
}


class Drawing(NamedTuple):
    """One drawing: its layout's name, image (H, W, 3) BGR uint8, what it shows, boxes (N, 4) xyxy in pixels, style."""

    kind: str
    image: np.ndarray
    scene: Scene
    boxes: np.ndarray
    style: Style

    @property
    def nodes(self) -> list[Node]:
        """Return the N nodes."""
        return self.scene.nodes


def draw_one(seed: int, split: str, index: int, lined: bool = False) -> Drawing:
    """Return one drawing, the same for the same arguments; of the kinds in LINED if so asked."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    kinds = LINED if lined else KINDS
    kind = str(rng.choice(list(kinds), p=[share for _, share in kinds.values()]))
    long, short = int(rng.integers(520, 641)), int(rng.integers(360, 481))
    upright = kind in ("nested", "mind_map", "tree") and rng.random() < 0.35  # flows and pools turn themselves
    scene = kinds[kind][0](rng, *((short, long) if upright else (long, short)))
    style = random_style(rng, CLASSES)
    if lined:
        networks.lead_around(scene)
        style = random_ground(rng, style)
        style_links(rng, scene.links, style, directed=kind == "joining_flow")
    image, boxes = render(rng, scene, style)
    return Drawing(kind, image, scene, boxes, style)


def draw_dataset(folder: str | Path, train: int = 320, val: int = 80, seed: int = 0, lined: bool = False) -> Path:
    """Draw `train` + `val` diagrams into a new folder; it appears only when it is complete.

    The folder holds `images/`, `labels/` (`cls x y w h`) and `plabels/` (`cls x y w h px py pw ph p`), each with
    `train/` and `val/`. Images are .png, and .webp where a camera's noise would make them large.

    Args:
        lined: Draw those whose relations are their lines instead: untidy trees, several trees, flows that join, in many
            styles of lines, on paper, gradients and photographs.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder exists; it is left as it is.
        InputError: No drawings in a split, or a number that is none.
        OSError: The folder's place cannot be written.
    """
    for key, number, least in (("train", train, 1), ("val", val, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise InputError(f"{key} must be a whole number from {least}, got {key}={number!r}")
    folder = Path(folder)
    if os.path.lexists(folder):  # a link that leads nowhere, too
        raise FileExistsError(f"{folder} exists and is never overwritten: move it away to draw the data set again")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    jobs = [(split, i) for split, count in zip(SPLITS, (train, val)) for i in range(count)]
    try:
        _make_folders(part)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # threads: safe in a script without a main guard
            done = pool.map(partial(_write, part, seed, lined), jobs)
            for _ in TQDM(done, total=len(jobs), desc=f"Drawing diagrams to {folder}"):
                pass
        move_folder(part, folder)
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


def _write(folder: Path, seed: int, lined: bool, job: tuple[str, int]) -> None:
    split, index = job
    drawing = draw_one(seed, split, index, lined)
    name = f"{drawing.kind}_{index:04d}"
    classes, parents = [CLASSES.index(node.kind) for node in drawing.nodes], [node.parent for node in drawing.nodes]
    text = plabels_text(classes, drawing.boxes, parents, drawing.image.shape[1::-1])
    rows = [" ".join(row.split()[:5]) for row in text.splitlines()]
    (folder / "plabels" / split / f"{name}.txt").write_text(text)
    (folder / "labels" / split / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows))
    _write_image(folder / "images" / split / name, drawing.image, lossless=drawing.style.medium in CLEAN)


def _write_image(stem: Path, image: np.ndarray, lossless: bool) -> None:
    suffix, options = (".png", []) if lossless else (".webp", [cv2.IMWRITE_WEBP_QUALITY, 82])
    ok, data = cv2.imencode(suffix, image, options)
    if not ok:
        raise OSError(f"OpenCV could not encode {stem}{suffix}")
    stem.with_suffix(suffix).write_bytes(data.tobytes())
