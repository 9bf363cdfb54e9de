"""`PruneModel`, and what each command of the command line calls; in every checkout that the patch is applied to.

`prune_model.py` of this project and `python -m ultralytics.slim` are two doors to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from .compress import compress_run, open_run, rehearse_run
from .errors import InputError, MissingFileError
from .exporting.check import ExportTable, check_exports
from .exporting.export import export_model
from .exporting.npu import Concerns, check_npu
from .front.front import make_front
from .inputs import find_weights, prepare_data
from .inputs.class_view import val_images
from .inputs.weights import open_model
from .installation import PACKAGE, is_fork
from .loading import load_safely
from .measuring.comparison import ComparisonTable, compare_models, name_paths
from .prediction.results import Evaluation, Prediction, Predictions
from .pruning.analysis.findings import Analysis
from .pruning.analysis.scan import analyse_model
from .pruning.result import PruneResult
from .pruning.select.goals import DEFAULT_FACTOR
from .recovery.recover import Recovery, recover_model
from .report.write import write_report
from .runs.rehearsal import Estimate
from .runs.stage_settings import PruningSettings
from .runs.stage_work import prune_checkpoint
from .runs.training import TRAINING, Trained, check_resumed, fit, gently

DATA, IMGSZ = TRAINING["data"], TRAINING["imgsz"]


class PruneModel:
    """A detector on its way to a smaller one; each step starts from the weights that the last one left.

    Every method raises a `ultralytics.slim.errors.SlimError` where what it is given cannot be used.

    Attributes:
        weights: Path of the present checkpoint.
        model: The Ultralytics model loaded from it.
        original: Path of the first checkpoint, which teaches where no other teacher is given.
    """

    def __init__(self, weights: str | Path = "weights/last.pt", safe: bool = False):
        """Open a checkpoint; with `safe`, this one and all after it in this process only if its classes are known."""
        load_safely(safe)
        self._load(find_weights(weights))
        self.original = self.weights

    def __repr__(self) -> str:
        return f"PruneModel({self.weights!r})"

    def _load(self, weights: str | Path) -> None:
        self.weights, self.model = str(weights), open_model(weights)

    def _fit(self, save_dir: str | Path, training: dict[str, Any]) -> Trained:
        """Train from the present weights, keep the best of the run as `save_dir` and go on from it."""
        check_resumed(training.get("resume"), self.weights)
        trained = fit(self.weights, save_dir, training)
        self._load(trained.path)
        return trained

    def sparse_train(self, save_dir: str | Path = "weights/sparse.pt", **training) -> Trained:
        """Train with a penalty that drives the scales of dispensable channels to zero."""
        return self._fit(save_dir, {"epochs": 50, "loss_type": "sparse", **training})

    def prune(
        self, factor: float = DEFAULT_FACTOR, save_dir: str | Path = "weights/prune.pt", **options
    ) -> PruneResult:
        """Remove `factor` of the channels, 0 <= factor < 1, or down to a target, such as flops=0.5.

        Takes the keywords of `ultralytics.slim.pruning.options.PruneOptions`; with images= what is left is re-fitted to
        them. With keep=0.99 it looks for the smallest model that keeps 99 % of the accuracy after a short recovery, and
        saves that one. With steps=3 it is pruned in three goes, and with data= and epochs= trained between them;
        further training arguments are then taken, too (batch= is that of the training unless latency_ms= is given).
        """
        pruning = PruningSettings.read(options, factor)
        pruning.check(has_images=pruning.options.images is not None)
        result = prune_checkpoint(self.weights, save_dir, pruning)
        self._load(save_dir)
        return result

    def analyse(self, data: str | Path = DATA, save_dir: str | Path | None = None, **scan) -> Analysis:
        """Measure how each layer and the whole model bear pruning, and suggest a safe factor.

        Takes the keywords of `ultralytics.slim.pruning.options.AnalyseOptions`.
        """
        return analyse_model(open_model(self.weights), prepare_data(data, task=self.model.task), save_dir, **scan)

    def train(self, save_dir: str | Path = "weights/retrain.pt", **training) -> Trained:
        """Train as Ultralytics does; a pruned model stays pruned."""
        return self._fit(save_dir, {"epochs": 50, **training})

    def distill(
        self, t_weight: str | Path, loss_type: str = "mgd", save_dir: str | Path = "weights/distill.pt", **training
    ) -> Trained:
        """Train so that the features come to resemble those of the teacher, the checkpoint `t_weight`."""
        teacher = {"Distillation": find_weights(t_weight, key="t_weight"), "loss_type": loss_type}
        return self._fit(save_dir, gently({"epochs": 100, **teacher, **training}))

    def recover(
        self,
        images: Any,
        teacher: str | Path | None = None,
        save_dir: str | Path = "weights/recover.pt",
        resume: bool = False,
        **options,
    ) -> Recovery:
        """Train without labels, so that the predictions on `images` come to resemble those of a teacher.

        Never makes it worse: what agrees best with the teacher on images kept back is saved, if need be the model as it
        came. Takes the keywords of `ultralytics.slim.recovery.options.RecoverOptions`.

        Args:
            images: A folder, a list of paths or arrays, or a data set's YAML, whose labels are not read.
            teacher: A checkpoint; by default the one that this object was made of, before it was pruned.
            save_dir: The .pt file to write.
            resume: Go on with a recovery that was interrupted.
        """
        if teacher is None and self.weights == self.original:
            raise InputError("recover: give teacher=, the checkpoint that this one was pruned from")
        wise = open_model(find_weights(teacher or self.original, key="teacher"))
        recovered = recover_model(self.model, wise, images, save_dir, resume, **options)
        self._load(save_dir)
        return recovered

    def export(self, format: str = "torchscript", **options) -> str:
        """Export in any format that Ultralytics offers; returns the path of the file or folder.

        `format` may end in -int8, which needs data=, a data YAML with training images to take the ranges from, or
        images=, any others.
        """
        return str(export_model(self.weights, format, **options))

    def check_exports(self, format: str | list[str], data: str | None = None, **options) -> ExportTable:
        """Export in each format, load each file back, and print and return how it compares with PyTorch.

        Args:
            format: One or several, such as "onnx,openvino-int8".
            data: Data YAML on whose `val` images detections are compared; without it images= gives the images.
            options: Those of `ultralytics.slim.exporting.check.check_exports` and of Ultralytics' `export`.
        """
        table = check_exports(self.weights, format, prepare_data(data) if data else None, **options)
        LOGGER.info(f"\n{table}")
        return table

    def check_npu(self, check: str = "npu", **options) -> Concerns:
        """Print and return what compilers for NPUs commonly refuse or put on the CPU, with sources.

        Args:
            check: 'npu'; there is no other check.
            options: Those of Ultralytics' `export` that the model will have, such as imgsz, nms and dynamic.
        """
        if check != "npu":
            raise InputError(f"check={check}: there is no such check of an export; expected npu")
        concerns = check_npu(self.weights, **options)
        LOGGER.info(f"\n{concerns}")
        return concerns

    @staticmethod
    def compare(
        weights: list | dict,
        data: str | None = None,
        imgsz: int = IMGSZ,
        device: Any = None,
        safe: bool = False,
        agreement: bool = False,
        images: Any = None,
        **val,
    ) -> ComparisonTable:
        """Print and return a table of checkpoints.

        Args:
            weights: A list of paths, or a dictionary of names and paths.
            data: Data YAML on whose `val` split the accuracy is measured; by default the example's, unless there are
                `images`.
            imgsz: Size of validation and of the timed image, in pixels.
            device: As in Ultralytics.
            safe: Open files of known classes alone.
            agreement: Also measure how far each agrees with what the first one detects, without labels.
            images: On which images that is measured, by default the `val` split of `data`.
            val: Further arguments of Ultralytics' `val`.
        """
        load_safely(safe)
        data = data or (DATA if images is None else None)
        named = weights if isinstance(weights, dict) else name_paths(weights)
        if not named:
            raise InputError("compare: no checkpoint is given; weights= is one path or several")
        named = {name: find_weights(path) for name, path in named.items()}
        task = open_model(next(iter(named.values()))).task
        data = data and prepare_data(data, task=task)
        if agreement and images is None:
            images = val_images(data, task)
        elif data and task == "classify":
            val_images(data, task)  # raises where there are none
        table = compare_models(named, data, imgsz, device, images, **val)
        LOGGER.info(f"\n{table}")
        return table

    def predict(
        self,
        source: Any,
        save_dir: str | Path | None = None,
        mode: str = "auto",
        save: bool = True,
        save_txt: bool = False,
        stream: bool = False,
        **kwargs,
    ) -> Predictions | Iterator[Prediction]:
        """Detect nodes, find each one's parent, and draw both: a picture for an image, a video for a video.

        Args:
            source: Anything that Ultralytics predicts on: file, folder, pattern, video, address, camera, array; a
                list of images.
            save_dir: Folder of what is saved, by default runs/slim/predict, numbered.
            mode: How parents are found, see `relation.find_parent_nodes`.
            save: Draw.
            save_txt: Write a file of plabels for each image or frame into save_dir/plabels.
            stream: Return an iterator over images and frames; otherwise a list, in which a video is summed up.
            kwargs: Further ones of Ultralytics' `predict`, such as conf, iou, imgsz; `classes` may be names, too, and
                parents are looked for among those classes alone.
        """
        _check_relations("predict")
        from .prediction.predict import predict_nodes  # needs relation.py

        predicted = predict_nodes(self.model, source, save_dir, mode, save, save_txt, kwargs)
        return predicted if stream else Predictions.gather(predicted)

    def evaluate(
        self, data_path: str | Path, mode: str = "auto", save_dir: str | Path | None = None, save: bool = True, **kwargs
    ) -> Evaluation:
        """Print and return how many child -> parent relations of `data_path`'s images/val and plabels/val are found.

        Also saves into a folder, unless save=False: a picture of each image with right, wrong and missed relations,
        the scores by image, and how many relations were lost to which cause.
        """
        _check_relations("evaluate")
        from .prediction.evaluate import evaluate_relations  # needs relation.py

        return evaluate_relations(self.model, self.weights, data_path, mode, save_dir, save, kwargs)


def _check_relations(command: str) -> None:
    """Raise MissingFileError where relation.py, which finds parents of nodes, is not beside Ultralytics."""
    if not is_fork():
        raise MissingFileError(
            f"{command} needs relation.py and connectors/, which find the parents of nodes: they are in this project's "
            f"own installation, and not beside the patched {PACKAGE}; all but predict and evaluate works there"
        )


def compress(
    project: str = "runs/slim",
    name: str | None = None,
    resume: bool | str = False,
    dry_run: bool = False,
    safe: bool = False,
    **given,
) -> ComparisonTable | Estimate:
    """Sparse-train, prune, retrain, distil, compare, evaluate and export, in one folder; return the comparison.

    Args:
        project, name: The folder of the run is `project/name`, numbered where it exists.
        resume: Go on with the run `name`, with the newest unfinished one, or with the one whose folder this is.
        dry_run: Check everything, try each stage for a moment, print and return how long the run would take, and stop.
        safe: Open files of known classes alone, as `PruneModel` does.
        given: `weights` and `data` (both or, for the demonstration, neither), `factor`, `loss_type`, `epochs` (of the
            distillation; half as many of each training before it, `sparse.epochs=0` or `retrain.epochs=0` for none),
            export `format`, `compare` (checkpoints to show beside the run's in the report), any training argument of
            Ultralytics, and `STAGE.key` for one stage alone.
    """
    load_safely(safe)
    if not isinstance(dry_run, bool):
        raise InputError(f"dry_run={dry_run}: expected True or False")
    if dry_run:
        return rehearse_run(given, resume)
    return compress_run(open_run(project, name, resume, given))


def front(
    project: str = "runs/slim",
    name: str | None = None,
    resume: bool | str = False,
    train: float | None = None,
    safe: bool = False,
    **given,
) -> ComparisonTable:
    """Make models from large to small, each pruned from the one before it and taught by the original; compare them all.

    Args:
        project, name: The folder is `project/name`, by default runs/slim/front, numbered where it exists.
        resume: Go on with the front `name`, or with the one whose folder this is.
        train: With `resume`, the share of the model that is to be trained further, for `epochs` or `iterations`.
        safe: Open files of known classes alone, as `PruneModel` does.
        given: `weights`, and `data` or, where nothing is labelled, `images`; `shares` of the GFLOPs, `iterations` of
            each model's recovery, `epochs` of its training after it (by default none), `compare`, and what else
            `PruneModel.prune` takes but goals; with `epochs` also arguments of a training.
    """
    load_safely(safe)
    return make_front(project, name, resume, train, given)


METHODS = {
    "run": compress,
    "sparse": PruneModel.sparse_train,
    "analyse": PruneModel.analyse,
    "prune": PruneModel.prune,
    "train": PruneModel.train,
    "distill": PruneModel.distill,
    "recover": PruneModel.recover,
    "front": front,
    "compare": PruneModel.compare,
    "predict": PruneModel.predict,
    "evaluate": PruneModel.evaluate,
    "export": PruneModel.export,
    "report": write_report,
}
