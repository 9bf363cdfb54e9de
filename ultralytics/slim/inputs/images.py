"""List and open the images of a split, and the label files that belong to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from PIL import Image

from ultralytics.data.utils import IMG_FORMATS, img2label_paths
from ultralytics.utils import LOGGER, patches

from ..compat import verify_label
from ..errors import InputError, MissingFileError
from ..hints import few
from .known_good import find_faults

MOST_DROPPED = 0.05  # of a split's images may be left out for their labels
HEIF = {".heic", ".heif"}
READ_BY_ALL = {".bmp", ".jpeg", ".jpg", ".png"}  # by OpenCV wherever PIL reads them
# Ultralytics' Image.open would have pip install a HEIF plugin for any file that PIL does not know.
plain_open = getattr(patches, "_image_open", Image.open)


def list_images(source: str | list[str]) -> list[Path]:
    """Return the images of a split: folders (searched in depth), text files of paths, or a list of both.

    They are those that Ultralytics trains on: links are followed, hidden files (such as a Mac's `._a.jpg`) left out,
        and of the paths in a text file those that begin with `./` are relative to it, others to the working directory.
    """
    images: list[Path] = []
    for path in map(Path, [source] if isinstance(source, str) else source):
        if path.is_dir():
            images += [path / name for name in glob("**/*.*", root_dir=path, recursive=True)]
        elif path.suffix == ".txt" and path.is_file():
            try:
                lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
            except UnicodeDecodeError as error:  # what PowerShell's > writes, for one
                raise InputError(f"{path}: expected paths of images as UTF-8 text, but {error}; save it so") from error
            images += [path.parent / line if line.startswith("./") else Path(line) for line in lines]
        else:
            raise MissingFileError(f"{path}: no such folder of images or text file of image paths")
    return sorted(image for image in images if image.suffix[1:].lower() in IMG_FORMATS)


def label_files(images: Iterable[Path]) -> list[Path]:
    """Return the label file that belongs to each image, whether it is there or not."""
    return [Path(label) for label in img2label_paths([str(image) for image in images])]  # older releases take no Path


def check_images(images: Iterable[Path]) -> None:
    """Decode every image; raise one InputError that names those that cannot be read."""
    if bad := list(find_unreadable(images).values()):
        raise InputError(f"cannot read {_several(bad, 'image')}; replace or remove them")


def find_unreadable(images: Iterable[Path]) -> dict[Path, str]:
    """Decode every image; return those that cannot be read, each with its name and the reason.

    An image that was read once and has not changed is not read again.
    """
    images = list(images)
    faults = find_faults([(image,) for image in images], _image_fault, "checking images")
    return {image: f"{image} ({fault})" for image, fault in zip(images, faults) if fault}


def _image_fault(image: Path) -> str:
    open_image = Image.open if image.suffix.lower() in HEIF else plain_open
    try:
        with open_image(image) as opened:
            opened.verify()  # checksums, where the format has them; nothing can be read afterwards
        with open_image(image) as opened:
            opened.draft("L", (1, 1))  # of a JPEG every byte is read, and an eighth of the pixels made
            opened.load()
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # PIL raises many kinds, one a format
        return str(error).partition(f" '{image}'")[0] or type(error).__name__
    if image.suffix.lower() not in READ_BY_ALL and _opencv_fails(image):
        return "OpenCV, which Ultralytics reads images with, cannot decode it"
    return ""


def _opencv_fails(image: Path) -> bool:
    try:
        return patches.imread(str(image)) is None
    except Exception:  # cv2.error, and what its fallbacks raise
        return True


def check_labels(images: list[Path], split: str) -> None:
    """Raise where no image has a label file; warn, with names, where some have none or two images share one."""
    labels = label_files(images)
    missing = [str(image) for image, label in zip(images, labels) if not label.is_file()]
    if len(missing) == len(images):
        raise MissingFileError(
            f"{split}: none of the {len(images)} images has a label file; expected for {images[0]} the file "
            f"{labels[0]} with one row 'class x y w h' an object (an empty file: no objects)"
        )
    if missing:
        LOGGER.warning(f"{split}: no label file, so trained on as background: {_several(missing, 'image')}")
    if shared := [str(label) for label, uses in Counter(labels).items() if uses > 1]:
        LOGGER.warning(f"{split}: two images or more share {_several(shared, 'label file')}")


def check_rows(images: list[Path], split: str, data: Mapping[str, Any]) -> None:
    """Warn of images that Ultralytics will leave out for their labels, with names and reasons; raise where many are.

    Args:
        images: Those of a split.
        split: Its name.
        data: Ultralytics' dictionary of the data set.

    Raises:
        InputError: More than a share of `MOST_DROPPED` would be left out.
    """
    points, width = data.get("kpt_shape") or (0, 0)
    pairs = [(image, label) for image, label in zip(images, label_files(images)) if label.is_file()]
    rules = bool(points), data["nc"], points, width

    def fault_of(image: Path, label: Path) -> str:
        result = verify_label(image, label, *rules)
        why = str(result[-1])
        return "" if result[0] is not None else why.partition("image/label: ")[2] or why

    faults = find_faults(pairs, fault_of, "checking labels", rules)
    named = [f"{label} ({fault})" for (_, label), fault in zip(pairs, faults) if fault]
    if not named:
        return
    what = f"{split}: Ultralytics leaves out {_several(named, 'label file')}, and the images"
    if len(named) > MOST_DROPPED * len(images):
        raise InputError(f"{what}, of {len(images)}: mend them, or remove them with their images")
    LOGGER.warning(what)


def state_of(images: Sequence[Path]) -> str:
    """Return a digest of where images are and what state their label files are in, by size and time of change."""
    digest = hashlib.sha256()
    for image, label in zip(images, label_files(images)):
        stamp = label.stat() if label.is_file() else None
        digest.update(f"{image} {stamp and (stamp.st_mtime_ns, stamp.st_size)}\n".encode())
    return digest.hexdigest()


def check_sides(imgsz: object) -> None:
    """Raise InputError unless this is the side of images in pixels, two of them, or None."""
    sides = imgsz if isinstance(imgsz, (list, tuple)) else [1 if imgsz is None else imgsz]
    if not 1 <= len(sides) <= 2 or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sides):
        raise InputError(f"imgsz should be the side of the images in pixels, from 1, got {imgsz!r}")


def _several(names: list[str], what: str) -> str:
    """Return "2 images: a, b", five names at most."""
    return f"{len(names)} {what}{'s' * (len(names) > 1)}: {few(names)}"


def typical_images(source: str | list[str], count: int) -> list[Path]:
    """Return up to `count` images of a split, those first whose label file is nearest to middling size."""
    images = list_images(source)
    sizes = [label.stat().st_size if label.is_file() else 0 for label in label_files(images)]
    ranked = [image for _, image in sorted(zip(sizes, images))]
    middle = len(ranked) // 2
    return [ranked[i] for i in sorted(range(len(ranked)), key=lambda i: abs(i - middle))[:count]]
