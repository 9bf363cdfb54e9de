"""Find and check what a run is given, so that a bad path or a bad image stops it before the first epoch."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from glob import glob
from pathlib import Path

import cv2
from PIL import Image
from torch import nn

from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS, check_det_dataset, img2label_paths
from ultralytics.engine.exporter import export_formats
from ultralytics.utils import DATASETS_DIR, LOGGER, TQDM, checks, patches
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from .compat import YAML
from .files import write_whole

BOX_TASKS = ("detect", "segment", "pose", "obb")  # tasks whose data is images/ beside labels/
MANY = 2000  # images whose check shows a bar
HEIF = {".heic", ".heif"}
# Ultralytics' Image.open would have pip install a HEIF plugin for any file that PIL does not know.
plain_open = getattr(patches, "_image_open", Image.open)


def find_file(given: str | Path, beside: Path) -> Path | None:
    """Return the file as given, from the working directory or else from the folder `beside`; None if neither has it."""
    path = Path(given).expanduser()
    return next((p for p in (path, beside / path) if p.exists()), None)


def find_weights(weights: str | Path, beside: Path, key: str = "weights") -> str:
    """Return the path of a checkpoint, model YAML or exported model; published names are left to Ultralytics to download."""
    if found := find_file(weights, beside):
        if found.is_dir() and not _is_exported(found):
            raise FileNotFoundError(f"{key}={weights} is a folder; give the checkpoint in it, such as weights/best.pt")
        if found.suffix in (".yaml", ".yml") and "backbone" not in YAML.load(found):
            raise ValueError(f"{key}={weights} describes no model (it has no backbone:); give a trained checkpoint")
        return str(found)
    if Path(weights).name in GITHUB_ASSETS_NAMES or str(weights).startswith(("http://", "https://", "ul://")):
        return str(weights)
    raise FileNotFoundError(
        f"{key}={weights}: no such file in {_places(beside)}; give the path of a trained Ultralytics "
        f"checkpoint, such as runs/detect/train/weights/best.pt"
    )


def _is_exported(folder: Path) -> bool:
    """Return whether Ultralytics would load this folder as an exported model."""
    return any(folder.name.endswith(end) for end in export_formats()["Suffix"])


def torch_model(yolo, doing: str) -> nn.Module:
    """Return the network of a YOLO, or a network itself.

    Raises:
        TypeError: It is an exported model, which has no layers to work on.
    """
    model = getattr(yolo, "model", yolo)
    if isinstance(model, nn.Module):
        return model
    raise TypeError(
        f"{doing} needs a PyTorch model (.pt or .yaml), got {model!r}; with an exported one you can predict and evaluate"
    )


def find_data(data: str | Path, beside: Path) -> str:
    """Return the path of a data YAML: as given, beside this project's wrapper, or shipped with Ultralytics."""
    found = find_file(data, beside) or checks.check_file(str(data), hard=False)
    if not found:
        raise FileNotFoundError(
            f"data={data}: no such file in {_places(beside)}; give a data YAML with train:, val: and names:"
        )
    return str(found)


def _places(beside: Path) -> str:
    """Return the folders that a file was looked for in."""
    return " or ".join(dict.fromkeys(str(place.resolve()) for place in (Path.cwd(), beside)))


def prepare_data(data: str | Path, beside: Path, task: str = "detect") -> str:
    """Find a data YAML and check what it describes; return the path of the YAML to hand to Ultralytics."""
    if task not in BOX_TASKS:
        return str(data)  # folders and formats of their own, Ultralytics' to judge
    found = anchor(Path(find_data(data, beside)))
    check_data(found)
    return found


def anchor(data: Path) -> str:
    """Return the YAML, or an absolute copy of one whose `path:` holds only seen from the YAML's own folder.

    Ultralytics looks for a relative `path:` in the working directory and in its own datasets folder.
    """
    content = YAML.load(data) if data.suffix in (".yaml", ".yml") else {}
    root, val = content.get("path"), content.get("val")
    vals = val if isinstance(val, list) else [val]
    if not all(isinstance(item, str) for item in (root, *vals)) or Path(root).is_absolute():
        return str(data)
    if any(_holds(folder / root, vals) for folder in (Path(), DATASETS_DIR)) or not _holds(data.parent / root, vals):
        return str(data)
    own = hashlib.sha256(f"{Path.home()} {data.resolve()}".encode()).hexdigest()[:12]  # the folder is everybody's
    copy = Path(tempfile.gettempdir(), f"slim-data-{own}", data.name)
    content["path"] = (data.parent / root).resolve().as_posix()
    return str(write_whole(copy, lambda partial: YAML.save(partial, content)))


def _holds(root: Path, names: list[str]) -> bool:
    return all((root / name).exists() for name in names)


def check_data(data: str | Path) -> dict:
    """Read a data YAML, draw or download what it describes where that is missing, and check images and labels.

    Returns:
        Ultralytics' dictionary of the data set, paths absolute.

    Raises:
        SyntaxError: a required key is missing.
        FileNotFoundError: no images, or no label file for any of them.
        ValueError: images that cannot be read; names them.
    """
    return _check_data(str(data), Path(data).read_bytes() if Path(data).is_file() else b"")


@lru_cache  # once a process and content: a large data set takes a minute; what failed is looked at again
def _check_data(data: str, content: bytes) -> dict:
    found = check_det_dataset(data)
    for split in ("train", "val"):
        if not found[split]:
            raise ValueError(f"{data}: '{split}:' is empty; give a folder of images, or a text file of their paths")
        images = list_images(found[split])
        if not images:
            raise FileNotFoundError(f"{data}: '{split}:' holds no images: {found[split]}")
        check_images(images)
        check_labels(images, split)
    return found


def list_images(source: str | list[str]) -> list[Path]:
    """Return the images of a split: folders (searched in depth), text files of paths, or a list of both.

    They are those that Ultralytics trains on: links are followed, hidden files (such as a Mac's `._a.jpg`) left out, and
    of the paths in a text file those that begin with `./` are relative to it, others to the working directory.
    """
    images: list[Path] = []
    for path in map(Path, [source] if isinstance(source, str) else source):
        if path.is_dir():
            images += [path / name for name in glob("**/*.*", root_dir=path, recursive=True)]
        elif path.suffix == ".txt" and path.is_file():
            lines = map(str.strip, path.read_text(encoding="utf-8-sig").splitlines())
            images += [path.parent / line if line.startswith("./") else Path(line) for line in lines]
        else:
            raise FileNotFoundError(f"{path}: no such folder of images or text file of image paths")
    return sorted(image for image in images if image.suffix[1:].lower() in IMG_FORMATS)


def label_files(images: Iterable[Path]) -> list[Path]:
    """Return the label file that belongs to each image, whether it is there or not."""
    return [Path(label) for label in img2label_paths([str(image) for image in images])]  # older releases take no Path


def check_images(images: Iterable[Path]) -> None:
    """Open every image; raise one ValueError that names those that cannot be read."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        images = list(images)
        faults = TQDM(pool.map(_image_fault, images), total=len(images), desc="checking images", disable=len(images) < MANY)
        bad = [f"{image} ({fault})" for image, fault in zip(images, faults) if fault]
    if bad:
        raise ValueError(f"cannot read {_several(bad, 'image')}; replace or remove them")


def _image_fault(image: Path) -> str:
    try:
        with (Image.open if image.suffix.lower() in HEIF else plain_open)(image) as opened:
            opened.verify()
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # PIL raises many kinds, one a format
        return str(error).partition(f" '{image}'")[0] or type(error).__name__
    return ""


def check_labels(images: list[Path], split: str) -> None:
    """Raise where no image has a label file; warn, with names, where some have none or two images share one."""
    labels = label_files(images)
    missing = [str(image) for image, label in zip(images, labels) if not label.is_file()]
    if len(missing) == len(images):
        raise FileNotFoundError(
            f"{split}: none of the {len(images)} images has a label file; expected for {images[0]} the file "
            f"{labels[0]} with one row 'class x y w h' an object (an empty file: no objects)"
        )
    if missing:
        LOGGER.warning(f"{split}: no label file, so trained on as background: {_several(missing, 'image')}")
    if shared := [str(label) for label, uses in Counter(labels).items() if uses > 1]:
        LOGGER.warning(f"{split}: two images or more share {_several(shared, 'label file')}")


def _several(names: list[str], what: str) -> str:
    """Return "2 images: a, b", five names at most."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {what}{'s' * (len(names) > 1)}: {', '.join(names[:5])}{more}"


def check_checkpoint_path(path: str | Path, key: str = "save_dir") -> Path:
    """Return the path of a checkpoint to be written; raise where it is none, before hours of training."""
    path = Path(path)
    if path.suffix != ".pt" or path.is_dir():
        raise ValueError(f"{key}={path}: expected the path of the .pt file to write, such as weights/mine.pt")
    return path


def relations_folder(data: dict) -> Path | None:
    """Return the data set's root if it holds `images/val` and `plabels/val`, else None."""
    roots = [Path(data["path"])] + [p.parents[1] for p in [Path(str(data["val"]))] if len(p.parents) > 1]
    return next((r for r in roots if (r / "images/val").is_dir() and (r / "plabels/val").is_dir()), None)


def typical_images(source: str | list[str], count: int) -> list[Path]:
    """Return up to `count` images of a split, those first whose label file is nearest to middling size."""
    images = list_images(source)
    sizes = [label.stat().st_size if label.is_file() else 0 for label in label_files(images)]
    ranked = [image for _, image in sorted(zip(sizes, images))]
    middle = len(ranked) // 2
    return [ranked[i] for i in sorted(range(len(ranked)), key=lambda i: abs(i - middle))[:count]]


def count_images(source, vid_stride: int = 1) -> int | None:
    """Return how many images and frames of videos a source holds; None for cameras, addresses and lists in files."""
    if not isinstance(source, (str, Path)):
        several = source if isinstance(source, (list, tuple)) else [source]
        counts = [count_images(item, vid_stride) if isinstance(item, (str, Path)) else 1 for item in several]
    else:
        files = _files(source)
        counts = [_frames(file, vid_stride) for file in files] if files else [None]
    return None if None in counts else sum(counts)


def _files(source: str | Path) -> list[Path]:
    """Return the images and videos that Ultralytics reads for a path, a folder (not below it) or a pattern."""
    if _is_stream(source):
        return []
    path = Path(source)
    found = map(Path, sorted(glob(str(source), recursive=True))) if "*" in str(source) else [path]
    found = sorted(path / name for name in glob("*.*", root_dir=path)) if path.is_dir() else found
    return [file for file in found if file.suffix[1:].lower() in IMG_FORMATS | VID_FORMATS]


def _is_stream(source: str | Path) -> bool:
    return str(source).isnumeric() or "://" in str(source) or str(source).split()[:1] == ["screen"]


def _frames(file: Path, vid_stride: int) -> int:
    if file.suffix[1:].lower() in IMG_FORMATS:
        return 1
    return max(0, int(cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) / vid_stride))


def check_source(source) -> None:
    """Raise where a path or pattern of `source` leads nowhere, or to images that cannot be read."""
    images = []
    for item in source if isinstance(source, (list, tuple)) else [source]:
        if not isinstance(item, (str, Path)) or _is_stream(item):
            continue  # arrays, cameras and addresses are Ultralytics' to judge
        files = _files(item)
        if not ("*" in str(item) or Path(item).exists()):
            raise FileNotFoundError(f"source={item}: no such file or folder")
        if not files and ("*" in str(item) or Path(item).is_dir()):
            raise FileNotFoundError(f"source={item}: no images or videos there; expected files such as .png, .jpg or .mp4")
        images += [file for file in files if file.suffix[1:].lower() in IMG_FORMATS]
    check_images(images)


def class_numbers(classes, names: dict[int, str]) -> list[int] | None:
    """Return the numbers of classes that are given as numbers, names, a list of either, or names with commas between.

    A class that is called by a number, as digits are, is meant by its own number.

    Raises:
        ValueError: The model has no such class.
    """
    if classes is None:
        return None
    items = classes.strip("[]()").split(",") if isinstance(classes, str) else classes
    items = items if isinstance(items, (list, tuple)) else [items]
    known = {name: number for number, name in names.items()} | {str(number): number for number in names}
    wanted = [str(item).strip(" \'\"") for item in items]
    if unknown := [item for item in wanted if item not in known]:
        listed = ", ".join(f"{number} {name}" for number, name in names.items())
        raise ValueError(f"classes={', '.join(unknown)}: no such class; this model has {listed}")
    return [known[item] for item in wanted]
