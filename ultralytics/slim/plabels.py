"""Nodes and their parents as files: rows of `cls x y w h px py pw ph p`, one file an image, read and written.

Boxes stand by centre and size as shares of the image; `p` is the 0-based row of the parent, or -1 for a root, whose
parent box is zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import InputError, MissingFileError

IMAGE_SUFFIXES = tuple(".avif .bmp .dng .heic .heif .jp2 .jpeg .jpeg2000 .jpg .mpo .png .tif .tiff .webp".split())

TOLERANCE = 0.01  # by so much shares may lie outside of [0, 1], as in Ultralytics' labels, sizes above it; then clipped


class Plabels(NamedTuple):
    """The nodes of one image: N classes, boxes (N, 4) xyxy as shares of the image (or in pixels), N parents."""

    classes: list[int]
    boxes: np.ndarray
    parents: list[int]

    def in_pixels(self, image_size: tuple[int, int]) -> Plabels:
        """Return a copy with normalised boxes scaled to an image of (width, height) pixels."""
        return self._replace(boxes=self.boxes * np.tile(np.asarray(image_size, dtype=float), 2))


def read_plabels(path: str | Path, image_size: tuple[int, int] | None = None) -> Plabels:
    """Read a `plabels` file: rows of `cls x y w h px py pw ph p`, boxes by centre and size as shares of the image.

    `p` is the 0-based row of the parent, or -1 for a root, whose parent box is zeros. An empty file is legal.

    Args:
        path: The file. Blank lines are skipped, and not counted as rows.
        image_size: (width, height) to return boxes in pixels; by default they stay in [0, 1].

    Raises:
        MissingFileError: No such file.
        InputError: A malformed row, a parent that is no row, a parent box that is not that row's, or a cycle;
            names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such plabels file")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    rows = np.array([_parse_row(line, f"{path}:{number}") for number, line in lines]).reshape(-1, 10)
    parents = [int(p) for p in rows[:, 9]]
    _check_relations(rows, parents, [f"{path}:{number}" for number, _ in lines])
    half = rows[:, 3:5] / 2
    found = Plabels([int(c) for c in rows[:, 0]], np.hstack([rows[:, 1:3] - half, rows[:, 1:3] + half]), parents)
    return found if image_size is None else found.in_pixels(image_size)


def _parse_row(line: str, where: str) -> list[float]:
    fields = line.split()
    if len(fields) != 10:
        hint = "; is this from labels/ rather than plabels/?" if len(fields) == 5 else ""
        raise InputError(f"{where}: expected 10 columns 'cls x y w h px py pw ph p', got {len(fields)}{hint}")
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise InputError(f"{where}: expected 10 numbers, got {line.strip()[:80]!r}") from None
    if not (values[0].is_integer() and values[0] >= 0):
        raise InputError(f"{where}: the class must be a whole number from 0, got {fields[0]}")
    for name, value, field in zip("x y w h px py pw ph".split(), values[1:9], fields[1:9]):
        if not (0 if name[-1] in "wh" else -TOLERANCE) <= value <= 1 + TOLERANCE:
            raise InputError(f"{where}: {name} must be in [0, 1] (a share of the image, not pixels), got {field}")
    if not (values[9].is_integer() and values[9] >= -1):
        raise InputError(f"{where}: the parent p must be a row number from 0, or -1 for a root, got {fields[9]}")
    return [values[0], *(min(max(value, 0.0), 1.0) for value in values[1:9]), values[9]]


def _check_relations(rows: np.ndarray, parents: list[int], where: list[str]) -> None:
    for i, p in enumerate(parents):
        if p >= len(rows):
            raise InputError(f"{where[i]}: the parent p = {p} is out of range, the file has rows 0 to {len(rows) - 1}")
        expected = rows[p, 1:5] if p >= 0 else np.zeros(4)
        if np.abs(rows[i, 5:9] - expected).max() > 1e-3:
            owner = f"row {p} is" if p >= 0 else "a root's is"
            got, wanted = rows[i, 5:9].tolist(), expected.tolist()
            raise InputError(f"{where[i]}: the parent box {got} disagrees with p = {p}: {owner} {wanted}")
    for i in range(len(parents)):
        chain = [i]
        while (p := parents[chain[-1]]) >= 0 and p not in chain:
            chain.append(p)
        if p >= 0:
            cycle = chain[chain.index(p) :] + [p]
            raise InputError(f"{where[p]}: the parents form a cycle: rows {' -> '.join(map(str, cycle))}")


def read_plabels_dir(images: str | Path, plabels: str | Path) -> list[tuple[Path, Plabels]]:
    """Read the labels of every image in a folder and its sub-folders, sorted by path; boxes as shares of the image.

    Args:
        images: Folder of images with any suffix that Ultralytics reads, in either case of letters.
        plabels: Folder that holds `<name>.txt` for each image `<name>.png`, `<name>.webp`, ... at the same place.

    Raises:
        MissingFileError: A missing folder, no images, or images without a file of labels; names them.
        InputError: Two images that share a file of labels, or a bad row.
    """
    images, plabels = Path(images), Path(plabels)
    for folder in (images, plabels):
        if not folder.is_dir():
            raise MissingFileError(f"{folder}: no such folder; expected images/<split> beside plabels/<split>")
    found = map(images.joinpath, glob("**/*.*", root_dir=images, recursive=True))  # follows links, skips hidden files
    found = sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise MissingFileError(f"{images}: no images; expected files that end in {' '.join(IMAGE_SUFFIXES)}")
    files = [plabels / p.relative_to(images).with_suffix(".txt") for p in found]
    owners: dict[Path, Path] = {}
    for image, file in zip(found, files):
        if owners.setdefault(file, image) != image:
            raise InputError(f"{owners[file]} and {image} share the labels {file}: rename one image and its labels")
    missing = [file for file in files if not file.is_file()]
    if missing:
        listed = ", ".join(str(file) for file in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise MissingFileError(
            f"{len(missing)} of {len(files)} images have no labels (an empty file says 'no nodes'); missing: {listed}"
        )
    return [(image, read_plabels(file)) for image, file in zip(found, files)]


def plabels_text(
    classes: Sequence[int],
    boxes: np.ndarray | Sequence[Sequence[float]],
    parents: Sequence[int],
    image_size: tuple[int, int],
) -> str:
    """Return one line `cls x y w h px py pw ph p` a node.

    Args:
        classes: N class numbers.
        boxes: (N, 4) xyxy in pixels; what lies outside the image is cut off, as the format allows shares of it alone.
        parents: N indices of parents, -1 for a root.
        image_size: (width, height) in pixels.
    """
    size = np.tile(np.asarray(image_size, dtype=float), 2)
    shares = np.clip(np.asarray(boxes, dtype=float).reshape(-1, 4) / size, 0, 1)
    centred = np.hstack([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]])
    texts = [" ".join(f"{value:.6f}" for value in row) for row in centred]
    root = " ".join(["0.000000"] * 4)
    rows = zip(classes, texts, parents)
    return "".join(f"{int(number)} {text} {texts[p] if p >= 0 else root} {p}\n" for number, text, p in rows)
