"""What a front is asked for: read and checked once, and kept in `front.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError, KindError
from ..files import plain
from ..hints import split_list
from ..inputs.data import as_yaml, find_data, prepare_data
from ..inputs.places import absolute
from ..inputs.references import check_references
from ..inputs.weights import find_weights, open_model
from ..pruning.options import PruneOptions
from ..pruning.prune import check_for, image_size
from ..recovery.images import split_images
from ..recovery.loss import RecoveryLoss
from ..recovery.options import RecoverOptions
from ..runs.training import TRAINING, check_training, gently
from ..settings import as_paths

SHARES = (0.8, 0.65, 0.5, 0.38, 0.28, 0.2, 0.15)  # of the original's GFLOPs
OWN = ("weights", "data", "images", "shares", "iterations", "epochs", "compare", "imgsz", "device", "loss_type")
NOT_OF_PRUNING = ("images", "imgsz", "device", "retrain", "steps", "batch")
NOT_OF_PRUNING += ("flops", "params", "size_mb", "latency_ms")
PRUNING = tuple(f.name for f in fields(PruneOptions) if f.name not in NOT_OF_PRUNING)
FRONT_KEYS = frozenset((*OWN, *PRUNING))  # the others are for the training


@dataclass(frozen=True)
class FrontSettings:
    """What a front is made of; made by `read`.

    Attributes:
        weights: The checkpoint of the original, an absolute path.
        data: The YAML of the data set; empty where there are unlabelled `images`.
        images: A folder of images in its place; empty where there is `data`.
        shares: Shares of the original's GFLOPs, falling.
        iterations: Steps of each model's recovery; 0 for none.
        epochs: Of each model's training after it, by distillation from the original; 0 for none.
        compare: Checkpoints to show beside it.
        imgsz: Side of the images in pixels.
        device: As in Ultralytics.
        pruning: How each is pruned.
        training: Arguments of the training.
        recorded: The flat keywords, completed, as they are kept in front.json.
    """

    weights: str
    data: str
    images: str | list[str]
    shares: tuple[float, ...]
    iterations: int
    epochs: int
    compare: tuple[str, ...]
    imgsz: int
    device: Any
    pruning: PruneOptions
    training: Mapping[str, Any]
    recorded: Mapping[str, Any]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> FrontSettings:
        """Return what is given, checked and completed.

        Raises:
            SlimError: Something that a later step would refuse.
        """
        if given.get("images") is not None:
            given = {**given, "images": as_paths(given["images"], "images")}
        sources = [key for key in ("data", "images") if given.get(key)]
        if len(sources) != 1 or not given.get("weights"):
            raise InputError(
                "front: give weights= (a trained checkpoint) and data= (its data YAML) or, where nothing is labelled, "
                "images= (a folder)"
            )
        if "factor" in given or "keep" in given:
            raise InputError("front goes through several sizes: give shares=0.8,0.5,0.3 in the place of a single goal")
        weights = str(Path(find_weights(given["weights"])).resolve())
        model = open_model(weights)
        settings = cls.of_record({**given, "weights": weights, "imgsz": image_size(model.model, given.get("imgsz"))})
        settings.check()
        check_for(model.model, None, settings.pruning)
        if settings.iterations:
            RecoveryLoss(model.model, model.model)  # raises where its predictions cannot be compared
        settings = settings.found()
        check_references(list(settings.compare), weights)
        if settings.images:
            split_images(settings.images, 1)
        else:
            prepare_data(settings.data, task=model.task)
        return settings

    def found(self) -> FrontSettings:
        """Return the settings with absolute paths of what is found, and the image size that the model can take.

        Raises:
            SlimError: A file is missing.
        """
        weights = str(Path(find_weights(self.weights)).resolve())
        found: dict[str, Any] = {"weights": weights, "imgsz": image_size(open_model(weights).model, self.imgsz)}
        found["compare"] = [str(Path(find_weights(p, key="compare")).resolve()) for p in self.compare]
        if self.images:
            found["images"] = absolute(self.images)
        else:
            found["data"] = str(Path(as_yaml(find_data(self.data))).resolve())
        return self.of_record({**self.recorded, **found})

    @classmethod
    def of_record(cls, recorded: Mapping[str, Any]) -> FrontSettings:
        """Return the settings that front.json holds; nothing is checked."""
        flat = {"data": "", "images": "", "shares": SHARES, "iterations": 400, "epochs": 0, "compare": (), **recorded}
        flat["shares"] = [_number(part) for part in split_list(flat["shares"])]
        flat["compare"] = split_list(flat["compare"]) if flat["compare"] else []
        training = {key: value for key, value in flat.items() if key not in FRONT_KEYS}
        shared = {key: flat[key] for key in ("imgsz", "device") if flat.get(key) is not None}
        pruning = {key: flat[key] for key in PRUNING if key in flat}
        pruning = PruneOptions(images=flat["images"] or flat["data"], **shared, **pruning)
        loss = {"loss_type": flat.get("loss_type", "mgd")}
        return cls(
            weights=flat["weights"],
            data=flat["data"],
            images=flat["images"],
            shares=tuple(flat["shares"]),
            iterations=flat["iterations"],
            epochs=flat["epochs"],
            compare=tuple(flat["compare"]),
            imgsz=flat["imgsz"],
            device=flat.get("device"),
            pruning=pruning,
            training=MappingProxyType({**training, **loss, **shared}),
            recorded=MappingProxyType(plain(flat)),
        )

    def check(self) -> None:
        """Raise a SlimError where a value is out of its range."""
        numbers = all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in self.shares)
        if not numbers or not self.shares or not all(0 < share < 1 for share in self.shares):
            listed = ",".join(map(str, self.shares))
            raise InputError(f"shares={listed}: expected shares of the GFLOPs between 0 and 1, such as 0.8,0.5,0.3")
        if any(after >= before for before, after in zip(self.shares, self.shares[1:])):
            raise InputError(f"shares={','.join(map(str, self.shares))}: each model is cut from the last, so they fall")
        for name in ("iterations", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name}={value}: expected a whole number, 0 for none")
        if self.images and self.epochs:
            raise InputError("epochs= trains on labels, and with images= there are none; recover longer: iterations=")
        if self.epochs:
            check_training({**self.fitting(1), "Distillation": "a teacher"}, pruned=True)
        elif unknown := self.training.keys() - {"imgsz", "device", "loss_type"}:
            raise KindError(f"front takes no {', '.join(sorted(unknown))} unless it trains (epochs=)")

    def fitting(self, epochs: int) -> dict[str, Any]:
        """Return the arguments of a training of so many epochs, but for the teacher and the place of the result."""
        return gently({**TRAINING, "distill_check": False, **self.training, "data": self.data, "epochs": epochs})

    def recovering(self, iterations: int) -> dict[str, Any]:
        """Return the options of a recovery of so many steps."""
        return {"imgsz": self.imgsz, "device": self.device, "iterations": iterations}

    def split(self) -> tuple[Any, Any]:
        """Return (images to learn from, images to measure the agreement on; None where there are labels)."""
        if not self.images:
            return prepare_data(self.data), None
        return split_images(self.images, RecoverOptions().holdout, tell=False)


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:  # said by `_check`
        return word
