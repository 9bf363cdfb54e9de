"""A view of a data set through some of its classes: links to its images, and label files of those classes alone.

It lies in the system's temporary folder, is made once for each state of the labels, and can be thrown away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.utils import TQDM

from ..compat import YAML
from ..errors import DATA_ERRORS, InputError, translated
from ..files import move_folder, stand_in
from .data import check_data
from .images import label_files, list_images, state_of
from .places import read_yaml

Names = Mapping[int, str]
SPLITS = ("train", "val", "test")


def read_set(data: str, task: str) -> dict[str, Any]:
    """Return Ultralytics' dictionary of a data set."""
    with translated(*DATA_ERRORS):
        return (check_cls_dataset if task == "classify" else check_det_dataset)(data)


def val_images(data: str, task: str) -> list[Path]:
    """Return the images of the `val` split of a data set.

    Raises:
        InputError: A classifier's data set without one.
    """
    if task != "classify":
        return list_images(check_data(data)["val"])
    folder = read_set(data, task)["val"]
    if not folder:
        raise InputError(f"data={data}: there is no folder val in it, on whose images a classifier is measured")
    return list_images(str(folder))


def view_of(data: str, task: str, found: Mapping[str, Any], names: Names, pairs: Mapping[int, int]) -> str:
    """Return a view of a data set: its YAML; for a classifier its folder.

    Args:
        data: The data YAML, or what Ultralytics takes for a classifier; only read.
        task: 'detect', 'segment', 'pose', 'obb' or 'classify'.
        found: What `read_set` returns of it.
        names: Names of the view's classes.
        pairs: Number in the data -> number in the view, of the classes that stay.

    Raises:
        InputError: No object of them is labelled in a split.
    """
    if task == "classify":
        return str(_folders(Path(data), found, pairs))
    splits = {split: list_images(found[split]) for split in SPLITS if _is_there(split, found.get(split))}
    more = _content(data)
    state = [state_of(images) for images in splits.values()]
    key = hashlib.sha256(repr((sorted(names.items()), sorted(pairs.items()), more, state)).encode())
    folder = stand_in(Path(data), "classes").parent / key.hexdigest()[:12]
    yaml = folder / Path(data).name
    if not yaml.is_file():
        _whole(folder, lambda partial: _write(partial, folder, yaml.name, data, splits, names, pairs))
    return str(yaml)


def _content(data: str) -> dict[str, Any]:
    """Return what a data YAML says besides its classes and where its images are, such as kpt_shape."""
    return {k: v for k, v in read_yaml(Path(data)).items() if k not in ("path", "nc", "names", "download", *SPLITS)}


def _is_there(split: str, places: str | list[str] | None) -> bool:
    """Return whether a split is to be read: `test` may be named and not be there, and nothing asks for it."""
    places = [places] if isinstance(places, str) else places or []
    return bool(places) and (split != "test" or all(Path(place).exists() for place in places))


def _write(
    partial: Path,
    folder: Path,
    yaml: str,
    data: str,
    splits: Mapping[str, list[Path]],
    names: Names,
    pairs: Mapping[int, int],
) -> None:
    """Write a view into `partial`, which will be called `folder`."""
    content = _content(data)
    for split, images in splits.items():
        objects, taken = 0, set()
        for at in ("images", "labels"):
            (partial / at / split).mkdir(parents=True)
        pictures = TQDM(list(zip(images, label_files(images))), desc=f"{split}: labels of {len(names)} classes")
        for number, (image, label) in enumerate(pictures):
            stem = _free(image.stem, number, taken)
            name = f"{stem}{image.suffix}"
            _link(image, partial / "images" / split / name)
            if label.is_file():
                rows = _kept_rows(label, pairs)
                objects += len(rows)
                target = (partial / "labels" / split / name).with_suffix(".txt")
                target.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        if not objects and split != "test":
            raise InputError(
                f"{data}: no object of {', '.join(map(str, names.values()))} is labelled in '{split}:'; the model has "
                "no other class any more"
            )
        content[split] = f"images/{split}"
    YAML.save(partial / yaml, {"path": folder.as_posix(), **content, "names": {n: str(v) for n, v in names.items()}})


def _free(stem: str, number: int, taken: set[str]) -> str:
    """Return a stem that no image has yet, upper and lower case being the same to some systems, and take it."""
    free = stem
    while free.casefold() in taken:
        free = f"{number}_{free}"
    taken.add(free.casefold())
    return free


def _kept_rows(label: Path, pairs: Mapping[int, int]) -> list[str]:
    """Return the rows of a label file whose class stays, renumbered."""
    rows = []
    for row in label.read_text(encoding="utf-8-sig").splitlines():
        number, *rest = row.split(maxsplit=1) or [""]
        try:
            new = pairs.get(int(float(number)))
        except ValueError:
            new = number  # Ultralytics will say what is wrong with it
        if number and new is not None:
            rows.append(" ".join([str(new), *rest]))
    return rows


def _folders(data: Path, found: Mapping[str, Any], pairs: Mapping[int, int]) -> Path:
    """Return a view of a classifier's data: its folders of the classes that stay."""
    names = [str(found["names"][number]) for number in pairs]
    splits = {split: Path(found[split]) for split in SPLITS if found.get(split)}
    key = hashlib.sha256(repr((sorted(splits.items()), sorted(pairs.items()))).encode()).hexdigest()[:12]
    folder = stand_in(data, "classes").parent / key

    def write(partial: Path) -> None:
        for split, source in splits.items():
            for name in names:
                if (source / name).is_dir():
                    (partial / split).mkdir(parents=True, exist_ok=True)
                    _link(source / name, partial / split / name)

    if not folder.is_dir():
        _whole(folder, write)
    return folder


def _whole(folder: Path, write: Any) -> None:
    """Let `write` fill a folder that appears only when it is complete."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write(partial)
        move_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Let a file or folder be found at another place; copied where the system makes no links."""
    try:
        target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except FileExistsError:
        raise  # a copy would go through the link, into what it stands for
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
