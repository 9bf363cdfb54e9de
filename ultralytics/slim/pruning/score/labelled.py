"""A few labelled images of a data set, for what needs the task's own loss or accuracy while a model is being pruned.

Images, labels, loss and accuracy are those of Ultralytics' validation of the model's task, without augmentation and
letterboxed to squares.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from ultralytics.cfg import TASK2METRIC
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.models import yolo
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, IterableSimpleNamespace

from ... import logs
from ...classes import LabelNumbers, listed, names_of, task_of
from ...compat import complete, own_class
from ...errors import DATA_ERRORS, InputError, translated
from ...fewer_classes import data_for
from ...inputs.data import as_yaml
from ...kinds import is_a
from ..checkpoint import as_dict
from ..graph.raw import set_raw
from ..graph.stand_ins import head_of

VALIDATORS = {
    "detect": yolo.detect.DetectionValidator,
    "segment": yolo.segment.SegmentationValidator,
    "pose": yolo.pose.PoseValidator,
    "classify": yolo.classify.ClassificationValidator,
}
if hasattr(yolo, "obb"):  # 8.0.196 has no such task
    VALIDATORS["obb"] = yolo.obb.OBBValidator


class LabelledImages:
    """Up to `limit` labelled images of a split, evenly spread, held in memory as batches.

    Args:
        model: The model that they are for; its task, classes and training arguments count.
        data: The data set's YAML; of classification, its folder or name.
        split: 'train' or 'val'.
        imgsz: Side in pixels.
        limit: Most images to use.
        batch: Images run at once.

    Raises:
        InputError: If the task has no validation here, or the images have no labels, or classes the model lacks.
    """

    def __init__(self, model: nn.Module, data: str | Path, split: str, imgsz: int, limit: int = 64, batch: int = 4):
        self.task, self.data, self.split = task_of(model), data_for(model, str(data)), split
        if self.task not in VALIDATORS:
            raise InputError(f"the loss of task '{self.task}' is not measured here, only of {', '.join(VALIDATORS)}")
        own = own_class(model)
        self._kind = own[1]["validator"] if own else VALIDATORS[self.task]
        self.is_detr = _is_detr(model)
        self.settings = {"task": self.task, "data": self.data, "split": split, "imgsz": imgsz, "batch": batch}
        self.settings |= {"workers": 0, "device": "cpu", "plots": False, "verbose": False}
        self.metric = TASK2METRIC[self.task]
        with self._validator() as validator:
            validator.data = _read(self.data, split, self.task)
            validator.names, validator.stride = model.names, int(max(model.stride))
            folder = validator.data[split]
            dataset = (
                validator.build_dataset(folder)
                if self.task == "classify"
                else validator.build_dataset(folder, batch=batch)
            )
        self.count = min(limit, len(dataset))
        picked = Subset(dataset, np.linspace(0, len(dataset) - 1, self.count).astype(int).tolist())
        self._batches = list(DataLoader(picked, batch, collate_fn=getattr(dataset, "collate_fn", None)))
        self._number(LabelNumbers(dict(validator.data["names"]), names_of(model)))

    def _number(self, numbers: LabelNumbers) -> None:
        """Give the labels the model's numbers, and raise where there are none."""
        labels = torch.cat([b["cls"].flatten() for b in self._batches])
        if not len(labels):
            raise InputError(
                f"{self.data}: none of {self.count} images of '{self.split}' has labels; they are expected in label "
                f"files "
                f"beside the images (labels/ instead of images/, .txt), as for training"
            )
        unknown = sorted({int(label) for label in labels} & set(numbers.missing))
        if unknown and (numbers.by_name or labels.max() >= len(numbers.names)):
            raise InputError(
                f"{self.data}: {listed(numbers.data, unknown)} is labelled, but the model's classes are "
                f"{listed(numbers.model)}"
            )
        if numbers.warning:
            LOGGER.warning(f"{self.data}: {numbers.warning}")
        if self.task != "classify":  # of which Ultralytics has paired the names
            self._batches = [{**batch, "cls": numbers.of(batch["cls"])} for batch in self._batches]

    @contextmanager
    def _validator(self):
        """Give a validator of the task, with a folder that goes with it."""
        with tempfile.TemporaryDirectory() as folder:
            kind = RTDETRValidator if self.is_detr else self._kind
            validator = kind(save_dir=Path(folder), args=dict(self.settings))
            validator.device = torch.device("cpu")
            yield validator

    def losses(self, net: nn.Module) -> Iterator[torch.Tensor]:
        """Give each batch's loss, the mean over its images, of a net made by `with_loss`."""
        with self._validator() as validator:
            for batch in self._batches:
                batch = validator.preprocess(dict(batch))
                if hasattr(net, "txt_feats"):  # YOLO-World's loss asks for the texts
                    batch["txt_feats"] = net.txt_feats.to(batch["img"]).expand(len(batch["img"]), -1, -1)
                is_mean = self.task == "classify" or self.is_detr
                yield net.loss(batch)[0].sum() / (1 if is_mean else len(batch["img"]))

    @torch.no_grad()
    def loss(self, net: nn.Module) -> float:
        """Return the mean loss of a net made by `with_loss`."""
        sizes = [len(b["img"]) for b in self._batches]
        return float(np.average([float(v) for v in self.losses(net)], weights=sizes))

    def accuracy(self, net: nn.Module) -> float:
        """Return the task's main measure on these images, mAP50-95 of a detector; `net` is not modified."""
        with self._validator() as validator, logs.only():
            validator.dataloader = DataLoader(self._batches, batch_size=None, collate_fn=dict)
            return float(validator(model=copy.deepcopy(net).eval())[self.metric])


def _read(data: str, split: str, task: str) -> dict:
    with translated(*DATA_ERRORS):
        return check_cls_dataset(data, split=split) if task == "classify" else check_det_dataset(as_yaml(data))


def _is_detr(model: nn.Module) -> bool:
    return is_a(head_of(model), "RTDETRDecoder")


def with_loss(model: nn.Module) -> nn.Module:
    """Return a copy that puts out raw predictions in evaluation mode and knows its loss's settings."""
    net = complete(copy.deepcopy(model).float().eval().requires_grad_(True))
    net.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **as_dict(getattr(model, "args", None))})
    if hasattr(net, "criterion"):
        del net.criterion  # the loss is made anew; None in its place would be called by older releases
    if _is_detr(net):
        net.nc = head_of(net).nc  # its loss asks for that, and takes what the head puts out in evaluation mode
    else:
        set_raw(net)
    for m in net.modules():
        if hasattr(m, "inplace"):
            m.inplace = False  # gradients need what an activation in place would overwrite
    return net
