"""A data set of four drawn images for each task of Ultralytics, and one batch of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import YAML

from tiny_data import CLASSES, draw_sample

KEYPOINTS = 17


def make_task_data(folder: Path, task: str) -> Path:
    """Draw four images with labels for `task` in `folder`; return what `data=` takes."""
    for number in range(4):
        draw_sample(folder, ("train", "val")[number // 2], f"image{number}", seed=number)
    if task == "classify":
        return _by_class(folder)
    for label in (folder / "labels").rglob("*.txt"):
        rows = [_row(line.split(), task) for line in label.read_text().splitlines()]
        label.write_text("".join(f"{' '.join(row)}\n" for row in rows))
    settings = {"path": str(folder), "train": "images/train", "val": "images/val", "names": dict(enumerate(CLASSES))}
    if task == "pose":
        settings |= {"kpt_shape": [KEYPOINTS, 3], "names": {0: "thing"}}
    elif task == "depth":
        settings["names"] = {0: "depth"}
        for image in (folder / "images").rglob("*.png"):
            depth = folder / "depth" / image.parent.name / f"{image.stem}.npy"
            depth.parent.mkdir(parents=True, exist_ok=True)
            np.save(depth, np.random.default_rng(0).uniform(1, 5, (128, 128)).astype(np.float32))
    path = folder / "data.yaml"
    YAML.save(path, settings)
    return path


def _row(row: list[str], task: str) -> list[str]:
    """Return a box label as a polygon, an oriented box, or a box with keypoints."""
    x, y, w, h = map(float, row[1:])
    corners = [f"{v:.6f}" for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1)) for v in (x + dx * w / 2, y + dy * h / 2)]
    if task in {"segment", "obb", "semantic"}:
        return [row[0], *corners]
    return ["0", *row[1:], *[f"{x:.6f}", f"{y:.6f}", "2"] * KEYPOINTS] if task == "pose" else row


def _by_class(folder: Path) -> Path:
    """Sort the images into one folder a class."""
    for split in ("train", "val"):
        for number, image in enumerate(sorted((folder / "images" / split).iterdir())):
            target = folder / split / CLASSES[number % 2] / image.name
            target.parent.mkdir(parents=True, exist_ok=True)
            image.rename(target)
    return folder


def make_batch(data: Path, task: str, imgsz: int) -> dict:
    """Return one batch of two images as the trainer hands it to the model."""
    args = get_cfg(overrides={"task": task, "imgsz": imgsz, "overlap_mask": True})
    if task == "classify":
        dataset = ClassificationDataset(str(data / "train"), args)
        pairs = [dataset[i] for i in range(2)]
        return {"img": torch.stack([p["img"] for p in pairs]), "cls": torch.tensor([p["cls"] for p in pairs])}
    info = check_det_dataset(str(data))
    dataset = build_yolo_dataset(args, info["train"], 2, info, mode="val")
    batch = dataset.collate_fn([dataset[i] for i in range(2)])
    return {**batch, "img": batch["img"].float() / 255}
