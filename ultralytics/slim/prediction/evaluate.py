"""Score the relations that a model finds: over all images, by image, and by what lost them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relation import metric
from ultralytics import YOLO
from ultralytics.utils import LOGGER, TQDM

from ..errors import FailedError, KindError
from ..fewer_classes import fewest_classes
from ..inputs.data import check_data, relations_folder
from ..inputs.images import check_images
from ..inputs.weights import open_model
from ..plabels import read_plabels_dir
from .nodes import NODES, detect_nodes, nodes_of, picture_of, read_detection, result_folder, shown_of
from .relation_errors import compare_nodes, visualize_errors
from .results import Evaluation
from .saver import save_picture

PREDICT_ALONE = ("source", "stream", "save_txt", "save_crop", "save_frames")  # of `predict`: what is seen and saved


def evaluate_relations(
    model: YOLO,
    weights: str | Path,
    data_path: str | Path,
    mode: str = "auto",
    save_dir: str | Path | None = None,
    save: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score how many child -> parent relations of a data set's images/val and plabels/val a model finds.

    Args:
        model: The model.
        weights: What it was loaded from, for the log and the saved scores.
        data_path: The data set's root.
        mode: How parents are found, see `relation.find_parent_nodes`.
        save_dir: Folder of pictures and scores, by default runs/slim/evaluate, numbered.
        save: Whether to save: a picture of each image with right, wrong and missed relations, the scores by image, and
            how many relations were lost to which cause.
        settings: Further arguments of Ultralytics' `predict`.

    Raises:
        SlimError: Images or labels that are missing or cannot be read; an argument that nobody knows, or of `predict`
            alone.
    """
    settings, images = dict(settings or {}), Path(data_path, "images/val")
    if alone := [key for key in PREDICT_ALONE if key in settings]:
        raise KindError(
            f"evaluate takes no {alone[0]}=: it looks at the images of data_path= and saves into save_dir=; give "
            f"{alone[0]}= to predict"
        )
    detection = read_detection(settings, mode, model.names)
    labelled = read_plabels_dir(images, Path(data_path, "plabels/val"))
    check_images(image for image, _ in labelled)
    truth = {str(image.absolute()): (image.relative_to(images), labels) for image, labels in labelled}
    folder = result_folder(save_dir, "evaluate") if save else None
    pred, true, compared, modes = [], [], {}, {}
    for result in TQDM(detect_nodes(model, list(truth), detection), total=len(truth), desc="finding relations"):
        image, labels = truth[result.path]
        boxes, found = nodes_of(result, mode)
        pred.append((boxes, found.parents))
        modes[image.as_posix()] = found.mode
        labels = labels.in_pixels(result.orig_shape[::-1])
        true.append((labels.boxes, labels.parents))
        compared[image.as_posix()] = errors = compare_nodes(pred[-1], true[-1], mode, image=picture_of(result))
        if folder:
            picture = visualize_errors(shown_of(result), pred[-1], true[-1], errors)
            save_picture(picture, (folder / image).with_suffix(".jpg"))
    if len(true) != len(truth):
        raise FailedError(f"Ultralytics read {len(true)} of the {len(truth)} images in {images}")
    scores = Evaluation.of(metric(pred, true), compared, modes, folder)
    LOGGER.info(f"{weights} on {len(true)} images: {scores}\n{scores.losses}".rstrip())
    if folder:
        scores.save(weights=str(weights), data_path=data_path, mode=mode, detection={**NODES, **settings})
        LOGGER.info(f"pictures and scores by image saved in {folder.resolve()}")
    return scores


def relations_of(data: str, weights: Mapping[str, str | Path], imgsz: int, device: Any) -> dict[str, Evaluation]:
    """Return the relation scores of each named checkpoint; empty where the data has no relations.

    So they are where classes were taken out of a model: the parents of what is left may be of those.

    Args:
        data: Data YAML, prepared.
        weights: Checkpoints by name.
        imgsz: Side of the images in pixels.
        device: As in Ultralytics.
    """
    if fewest_classes(open_model(path).model for path in weights.values()):
        return {}
    root = relations_folder(check_data(data))
    labelled = read_plabels_dir(root / "images/val", root / "plabels/val") if root else []
    if not any(parent >= 0 for _, labels in labelled for parent in labels.parents):
        return {}
    settings = {"imgsz": imgsz, "device": device}
    return {
        name: evaluate_relations(open_model(path), path, root, save=False, settings=settings)
        for name, path in weights.items()
    }
