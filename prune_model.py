"""Make a trained Ultralytics detector smaller: sparse-train, prune, retrain, distil, evaluate, export.

From the command line, `python prune_model.py --help`; from Python:

    from prune_model import PruneModel

    model = PruneModel("best.pt")
    model.sparse_train(data="my.yaml")
    model.prune(factor=0.5)
    model.train(data="my.yaml")
    model.distill("best.pt", data="my.yaml")
    PruneModel.compare({"before": "best.pt", "after": "weights/distill.pt"}, data="my.yaml")
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

COMMAND = "prune-model"  # what an installation adds to the path
IS_COMMAND = __name__ == "__main__" or Path(sys.argv[0]).stem == COMMAND
if IS_COMMAND:  # before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", str(min(8, os.cpu_count() or 1)))  # Ultralytics would set 1
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait by spinning crawl where others compute too

import numpy as np

import ultralytics

if "+slim" not in (version := getattr(ultralytics, "__version__", "not made")):
    place = next(iter(ultralytics.__path__))
    if version == "not made":
        found = "is not made yet"
    elif Path(place, "slim").is_dir():
        found = f"is the release {version}, patched, which has the training arguments and ultralytics.slim alone"
    else:
        found = f"is the stock release {version}"
    raise (SystemExit if IS_COMMAND else ImportError)(
        f"prune_model needs this project's fork of Ultralytics, but {place} {found}: run `pip install -e .` in this "
        "project's checkout, which takes its place, or use an environment of its own for it"
    )

from relation import distinct_nodes, find_parent_nodes, metric, read_plabels_dir, visualize_nodes
from relation_errors import compare_nodes, visualize_errors
from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT, get_cfg
from ultralytics.slim import cli, exports, inputs, pipeline, plan, rehearsal, report
from ultralytics.slim.detections import boxes_of
from ultralytics.slim.files import copy_whole
from ultralytics.slim.predictions import Saver, save_picture
from ultralytics.slim.pruning.analyse import analyse_model
from ultralytics.slim.pruning.analysis import Analysis
from ultralytics.slim.pruning.images import is_yaml
from ultralytics.slim.pruning.prune import image_size, prune_model
from ultralytics.slim.pruning.result import PruneResult
from ultralytics.slim.results import Evaluation, Prediction, Predictions, Trained
from ultralytics.slim.run_report.references import check_references
from ultralytics.slim.run_report.run_facts import ORIGINAL, STAGES
from ultralytics.slim.run_report.write import write_report
from ultralytics.slim.terminal import plain_where_piped
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.files import increment_path

HERE = Path(__file__).resolve().parent
DATA, IMGSZ = "diagram.yaml", 640
TRAINING = {"data": DATA, "imgsz": IMGSZ, "batch": 20, "workers": 4, "amp": False, "device": None}
NODES = {"iou": 0.4, "verbose": False}  # less overlap than Ultralytics' own: keeps more relations, docs/relations.md
# `optimizer=auto` would ignore lr0, so distillation names its optimizer; AdamW's biases must not start at lr 0.1.
FINE_TUNING = {"lr0": 0.001, "optimizer": "AdamW", "momentum": 0.9, "warmup_bias_lr": 0.0}


class PruneModel:
    """A detector on its way to a smaller one; each step starts from the weights that the last one left.

    Attributes:
        weights: path of the present checkpoint.
        model: the Ultralytics model loaded from it.
    """

    def __init__(self, weights: str | Path = "weights/last.pt"):
        self._load(inputs.find_weights(weights, HERE))

    def __repr__(self) -> str:
        return f"PruneModel({self.weights!r})"

    def _load(self, weights: str | Path) -> None:
        self.weights, self.model = str(weights), YOLO(str(weights))

    def sparse_train(self, save_dir: str | Path = "weights/sparse.pt", **training) -> Trained:
        """Train with a penalty that drives the scales of dispensable channels to zero."""
        return self._fit(save_dir, {"epochs": 50, "loss_type": "sparse", **training})

    def prune(self, factor: float = 0.7, save_dir: str | Path = "weights/prune.pt", **options) -> PruneResult:
        """Remove `factor` of the channels, 0 <= factor < 1, or down to a target, such as flops=0.5.

        Takes the keywords of `ultralytics.slim.pruning.prune.prune_model`; with images= what is left is re-fitted to them.
        With steps=3 it is pruned in three goes, and with data= and epochs= trained between them; further training
        arguments are then taken, too (batch= is that of the training unless latency_ms= is given).
        """
        factor = None if plan.TARGETS & options.keys() else factor
        pruning, training = plan.split_pruning(options)
        if is_yaml(pruning.get("images")):
            pruning["images"] = inputs.prepare_data(pruning["images"], HERE)
        if training:
            pruning["retrain"] = _trainer_in_place(training)
        result = prune_model(YOLO(self.weights), save_dir, factor, **pruning)
        self._load(save_dir)
        return result

    def analyse(self, data: str | Path = DATA, save_dir: str | Path | None = None, **scan) -> Analysis:
        """Measure how each layer and the whole model bear pruning, and suggest a safe factor.

        Takes the keywords of `ultralytics.slim.pruning.analyse.analyse_model`.
        """
        return analyse_model(YOLO(self.weights), inputs.prepare_data(data, HERE, self.model.task), save_dir, **scan)

    def train(self, save_dir: str | Path = "weights/retrain.pt", **training) -> Trained:
        """Train as Ultralytics does; a pruned model stays pruned."""
        return self._fit(save_dir, {"epochs": 50, **training})

    def distill(
        self, t_weight: str | Path, loss_type: str = "mgd", save_dir: str | Path = "weights/distill.pt", **training
    ) -> Trained:
        """Train so that the features come to resemble those of the teacher, the checkpoint `t_weight`."""
        teacher = inputs.find_weights(t_weight, HERE, "t_weight")
        tuning = {} if "optimizer" in training else FINE_TUNING
        return self._fit(save_dir, {"epochs": 100, **tuning, "Distillation": teacher, "loss_type": loss_type, **training})

    def _fit(self, save_dir: str | Path, training: dict) -> Trained:
        """Train from the present weights, keep the best of the run as `save_dir` and go on from it."""
        save_dir, settings = inputs.check_checkpoint_path(save_dir), {**TRAINING, **training}
        settings["data"] = inputs.prepare_data(settings["data"], HERE, self.model.task)
        model = YOLO(self.weights)
        try:
            metrics = model.train(**settings)
        except KeyboardInterrupt:
            if model.trainer and model.trainer.last.exists():  # none where it stopped while being made
                LOGGER.info(f"\nthe last whole epoch is kept in {model.trainer.last}")
            raise
        trainer = model.trainer
        self._load(copy_whole(trainer.best if trainer.best.exists() else trainer.last, save_dir))
        trained = Trained(save_dir, trainer.save_dir, getattr(metrics, "results_dict", metrics or {}))
        LOGGER.info(f"saved {trained}")
        return trained

    def export(self, format: str = "torchscript", **options) -> str:
        """Export in any format that Ultralytics offers; returns the path of the file or folder.

        `format` may end in -int8, which needs data=, a data YAML with training images to take the ranges from.
        """
        return str(exports.export(self.weights, format, **options))

    def check_exports(self, format: str | list[str], data: str, **options) -> exports.Table:
        """Export in each format, load each file back, and print and return how it compares with PyTorch.

        Args:
            format: one or several, such as "onnx,openvino-int8".
            data: data YAML on whose `val` images detections are compared.
            options: those of `ultralytics.slim.exports.check` and of Ultralytics' `export`.
        """
        table = exports.check(self.weights, format, inputs.prepare_data(data, HERE), **options)
        LOGGER.info(f"\n{table}")
        return table

    @staticmethod
    def compare(weights: list | dict, data: str = DATA, imgsz: int = IMGSZ, device=None, **val) -> report.Table:
        """Print and return a table of checkpoints: a list of paths, or a dictionary of names and paths."""
        named = weights if isinstance(weights, dict) else report.name_paths(weights)
        named = {name: inputs.find_weights(path, HERE) for name, path in named.items()}
        task = YOLO(next(iter(named.values()))).task
        table = report.compare(named, inputs.prepare_data(data, HERE, task), imgsz, device, **val)
        LOGGER.info(f"\n{table}")
        return table

    def predict(
        self,
        source,
        save_dir: str | Path | None = None,
        mode: str = "auto",
        save: bool = True,
        save_txt: bool = False,
        stream: bool = False,
        **kwargs,
    ) -> Predictions | Iterator[Prediction]:
        """Detect nodes, find each one's parent, and draw both: a picture for an image, a video for a video.

        Args:
            source: anything that Ultralytics predicts on: file, folder, pattern, video, address, camera, array, a list.
            save_dir: folder of what is saved, by default runs/slim/predict, numbered.
            mode: how parents are found, see `relation.find_parent_nodes`.
            save: draw.
            save_txt: write a file of plabels for each image or frame into save_dir/plabels.
            stream: return an iterator over images and frames; otherwise a list, in which a video is summed up.
            kwargs: further ones of Ultralytics' `predict`, such as conf, iou, imgsz; `classes` may be names, too, and
                parents are looked for among those classes alone.
        """
        inputs.check_source(source)
        settings = self._detection(mode, kwargs)
        found = self._predict(source, _folder(save_dir, "predict"), mode, save, save_txt, settings)
        return found if stream else Predictions.gather(found)

    def _predict(self, source, folder: Path, mode: str, save: bool, save_txt: bool, settings: dict):
        stride = settings.get("vid_stride", 1)
        count, done = inputs.count_images(source, stride), 0
        with Saver(folder, save, save_txt, stride) as saver:
            for result in TQDM(self._detect(source, settings), total=count, desc="predicting", disable=count == 1):
                boxes, parents = _nodes_of(result, mode)
                draw = partial(visualize_nodes, result.orig_img, boxes, parents)
                yield saver.keep(result, parents, _is_endless(self.model), draw)
                done += 1
        if not done:
            raise ValueError(f"source={source}: nothing in it could be read")
        saved = f", saved in {folder.resolve()}" if save or save_txt else ""
        LOGGER.info(f"{done} image{'s' * (done != 1)}{saved}")

    def evaluate(
        self, data_path: str | Path, mode: str = "auto", save_dir: str | Path | None = None, save: bool = True, **kwargs
    ) -> Evaluation:
        """Print and return how many child -> parent relations of `data_path`'s images/val and plabels/val are found.

        Also saves into a folder, unless save=False: a picture of each image with right, wrong and missed relations,
        the scores by image, and how many relations were lost to which cause.
        """
        settings, images = self._detection(mode, kwargs), Path(data_path, "images/val")
        labelled = read_plabels_dir(images, Path(data_path, "plabels/val"))
        inputs.check_images(image for image, _ in labelled)
        truth = {str(image.absolute()): (image.relative_to(images), labels) for image, labels in labelled}
        folder = _folder(save_dir, "evaluate") if save else None
        pred, true, compared = [], [], {}
        for result in TQDM(self._detect(list(truth), settings), total=len(truth), desc="finding relations"):
            image, labels = truth[result.path]
            pred.append(_nodes_of(result, mode))
            labels = labels.in_pixels(result.orig_shape[::-1])
            true.append((labels.boxes, labels.parents))
            compared[image.as_posix()] = errors = compare_nodes(pred[-1], true[-1], mode)
            if folder:
                picture = visualize_errors(result.orig_img, pred[-1], true[-1], errors)
                save_picture(picture, (folder / image).with_suffix(".jpg"))
        if len(true) != len(truth):
            raise RuntimeError(f"Ultralytics read {len(true)} of the {len(truth)} images in {images}")
        scores = Evaluation.of(metric(pred, true), compared, folder)
        LOGGER.info(f"{self.weights} on {len(true)} images: {scores}\n{scores.losses}".rstrip())
        if folder:
            scores.save(weights=self.weights, data_path=data_path, mode=mode, detection={**NODES, **kwargs})
            LOGGER.info(f"pictures and scores by image saved in {folder.resolve()}")
        return scores

    def _detection(self, mode: str, given: dict) -> dict:
        """Return the settings of a detection, classes as numbers; raise where one or the mode would be refused."""
        find_parent_nodes([], mode)
        settings = {**given}
        if "classes" in given:
            settings["classes"] = inputs.class_numbers(given["classes"], self.model.names)
        get_cfg(overrides={key: value for key, value in settings.items() if key in DEFAULT_CFG_DICT})
        return settings

    def _detect(self, source, settings: dict):
        """Yield Ultralytics' result for each image, without the boxes of nodes that have a better one."""
        for result in self.model.predict(source, stream=True, **{**NODES, **settings}):
            found = boxes_of(result)
            boxes, scores = found.xyxy.cpu().numpy(), found.conf.cpu().numpy()
            whole = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))  # YOLO26 may predict a box inside out
            yield result[whole[distinct_nodes(boxes[whole], scores[whole])]]


def _trainer_in_place(training: dict):
    """Return a function that trains a checkpoint and puts the result in its place."""
    return lambda checkpoint: PruneModel(checkpoint).train(checkpoint, **training)


def _nodes_of(result, mode: str):
    """Return (boxes xyxy in pixels, parents) of an Ultralytics result."""
    boxes = boxes_of(result).xyxy.cpu().numpy()
    return boxes, find_parent_nodes(boxes, mode)


def _folder(save_dir: str | Path | None, step: str) -> Path:
    return Path(save_dir) if save_dir else increment_path(Path("runs/slim", step))


def _is_endless(model: YOLO) -> bool:
    """Return whether the model is looking at a camera or another source without end."""
    return getattr(getattr(model.predictor, "dataset", None), "mode", "") == "stream"


# ------------------------------------------------------------------------------------------------- the whole pipeline

# About ten minutes on two cores. So short a training gets better without mosaic, and so does a gentle sparsity.
DEMO = {"weights": "weights/diagram-yolov8n.pt", "data": DATA, "factor": 0.7, "imgsz": 320, "epochs": 12}
DEMO |= {"batch": 16, "nbs": 16, "mosaic": 0.0, "warmup_epochs": 0.5, "sparse.sparsity": 0.1}
DEMO |= {**FINE_TUNING, "lr0": 0.0005}
WHOLE = (ORIGINAL, "sparse")  # a run's models that may teach


def compress(
    project: str = "runs/slim", name: str | None = None, resume: bool | str = False, dry_run: bool = False, **given
) -> report.Table | rehearsal.Estimate:
    """Sparse-train, prune, retrain, distil, compare, evaluate and export, in one folder; return the comparison.

    Args:
        project, name: the folder of the run is `project/name`, numbered where it exists.
        resume: go on with the run `name`, with the newest unfinished one, or with the one whose folder this is.
        dry_run: check everything, try each stage for a moment, print and return how long the run would take, and stop.
        given: `weights` and `data` (both or, for the demonstration, neither), `factor`, `loss_type`, `epochs` (of the
            distillation; half as many of each training before it, `sparse.epochs=0` or `retrain.epochs=0` for none),
            export `format`, `compare` (checkpoints to show beside the run's in the report), any training argument of
            Ultralytics, and `STAGE.key` for one stage alone.
    """
    if dry_run and resume:
        raise ValueError("dry_run=True tells how long a new run would take; give it or resume=True, not both")
    if dry_run:
        return _rehearse(_checked(given))
    if isinstance(resume, (str, Path)):
        project, name = Path(resume).parent, Path(resume).name
    name = None if name is None else str(name)  # a command line reads name=2 as a number
    run = pipeline.Run.resume(project, name, given, _in_strides) if resume else _start(project, name or "run", given)
    settings, data = run.settings, inputs.prepare_data(run.settings["data"], HERE)
    LOGGER.info(f"{run.folder}\n{plan.describe(settings)}")
    with run, pipeline.quiet(not settings.get("verbose")), report.measured_once():
        models = _make(run, data)
        distilled = models["distilled"]
        exported = PruneModel(distilled).check_exports(settings["format"], data, **plan.only(settings, "export"))
        picture = _picture(data, distilled, run.folder, settings["device"])
        relations = _relations(settings, data, {name: models[name] for name in (ORIGINAL, "distilled")})
        table = report.compare(models, data, settings["imgsz"], settings["device"])
        causes = {name: scores.causes for name, scores in relations.items()}
        measured = {"table": table.to_dicts(), "relations": relations, "relation_causes": causes}
        run.finish({**measured, "exports": exported.to_dicts()})
        made = {row.format: row.path for row in exported[1:]}
        saved = {**run.files(), **made, "picture": picture.saved, "record": run.record}
        try:
            saved["report"] = write_report(run.folder)
        finally:  # the figures are shown even where the page fails
            files = "\n".join(f"{what:<14} {path}" for what, path in saved.items())
            LOGGER.info(f"\n{table}\n\n{table.verdict}\n\n{_relations_text(relations)}\n\n{files}")
    return table


def _start(project: str, name: str, given: dict) -> pipeline.Run:
    """Check what is given and make the folder of the run."""
    settings = _checked(given)
    return pipeline.Run.start(project, name, settings, settings["weights"])


def _rehearse(settings: dict) -> rehearsal.Estimate:
    """Print and return how long a run would take."""
    LOGGER.info(plan.describe(settings))
    estimate = rehearsal.rehearse(settings, inputs.prepare_data(settings["data"], HERE))
    LOGGER.info(f"\n{estimate}")
    return estimate


def _checked(given: dict) -> dict:
    """Return the settings of a run, completed and checked, with absolute paths."""
    settings = plan.complete(given, DEMO, TRAINING)
    model = YOLO(inputs.find_weights(settings["weights"], HERE))
    if model.task not in inputs.BOX_TASKS:
        raise ValueError(
            f"weights={settings['weights']}: a run is for models that find boxes, and this one's task is {model.task}; "
            "take it through the stages one by one: sparse, prune, train, distill, compare, export"
        )
    settings["weights"] = str(Path(model.model_name).resolve())
    settings["imgsz"] = image_size(model.model, settings["imgsz"])
    if settings.get("compare"):
        found = [inputs.find_weights(path, HERE, "compare") for path in cli.paths(settings["compare"])]
        settings["compare"] = [str(Path(path).resolve()) for path in found]
        check_references(settings["compare"], settings["weights"])
    settings["data"] = str(Path(inputs.find_data(settings["data"], HERE)).resolve())
    inputs.prepare_data(settings["data"], HERE)
    return settings


def _in_strides(settings: dict) -> dict:
    """Return the settings of a run with the image size that `_checked` records."""
    return {**settings, "imgsz": image_size(YOLO(settings["weights"]).model, settings["imgsz"])}


def _training(run: pipeline.Run, stage: str) -> dict:
    return {**plan.training_of(run.settings, stage), **run.training(stage)}


def _pruning(run: pipeline.Run) -> dict:
    pruning, training = plan.pruning_of(run.settings)
    between = {**training, "project": str(run.folder), "name": "prune_step"}
    return {**pruning, "retrain": _trainer_in_place(between)} if training else pruning


def _make(run: pipeline.Run, data: str) -> dict[str, str | Path]:
    """Do what has not been done of the run's stages; return the checkpoint of each model, in order, the original first."""
    models = {ORIGINAL: run.settings["weights"]}
    pruning = {"images": data, "factor": run.settings["factor"], **_pruning(run)}
    works = {
        "sparse": lambda model, out: model.sparse_train(out, **_training(run, "sparse")),
        "prune": lambda model, out: model.prune(save_dir=out, **pruning),
        "retrain": lambda model, out: model.train(out, **_training(run, "retrain")),
        "distill": lambda model, out: _distill(run, model, data, [models[n] for n in WHOLE if n in models], out),
    }
    for stage, name in STAGES.items():
        if not plan.is_left_out(run.settings, stage):
            start = list(models.values())[-1]
            models[name] = run.stage(stage, lambda out: works[stage](PruneModel(start), out))  # at once
    return models


def _distill(run: pipeline.Run, student: PruneModel, data: str, teachers: list[Path | str], out: Path) -> Trained:
    """Distil from the most accurate of the teachers."""
    settings = run.settings
    accuracies = {path: report.accuracy(path, data, settings["imgsz"], settings["device"]) for path in teachers}
    teacher = max(accuracies, key=accuracies.get)
    others = "".join(f" (the other {accuracies[path]:.4f})" for path in teachers if path != teacher)
    LOGGER.info(f"teacher: {teacher}, mAP50-95 {accuracies[teacher]:.4f}{others}")
    training = {"distill_check": False, **_training(run, "distill")}  # the teacher has just been measured
    return student.distill(teacher, settings["loss_type"], out, **training)


def _relations(settings: dict, data: str, weights: dict[str, Path | str]) -> dict[str, Evaluation]:
    """Return the relation scores of each checkpoint at the run's image size; empty where the data has no relations."""
    root = inputs.relations_folder(inputs.check_data(data))
    labelled = read_plabels_dir(root / "images/val", root / "plabels/val") if root else []
    if not any(parent >= 0 for _, labels in labelled for parent in labels.parents):
        return {}
    how = {"save": False, "imgsz": settings["imgsz"], "device": settings["device"]}
    return {name: PruneModel(path).evaluate(root, **how) for name, path in weights.items()}


def _relations_text(relations: dict[str, Evaluation]) -> str:
    lines = [f"{name:<9} {scores}" for name, scores in relations.items()]
    return "\n".join(lines) or "no relation scores: no plabels/val beside the data's images/val, or no relation in it"


def _picture(data: str, weights: Path, folder: Path, device) -> Prediction:
    """Return the prediction for a typical image of the validation split, one with many relations where there are any."""
    model = PruneModel(weights)
    images = inputs.typical_images(inputs.check_data(data)["val"], 9)
    parents = [_nodes_of(r, "auto")[1] for r in model._detect(images, {"device": device})]
    share = [sum(p >= 0 for p in of_image) / max(len(of_image), 1) for of_image in parents]
    image = images[share.index(max(share))]
    (folder / f"{image.stem}.jpg").unlink(missing_ok=True)  # of the run that is resumed
    return model.predict(str(image), folder, device=device)[0]


# --------------------------------------------------------------------------------------------------- the command line

HELP = """\
usage: python prune_model.py [STAGE] [key=value ...]  (installed: prune-model)
Without arguments: the whole pipeline on the shipped diagrams, in ten minutes.
  python prune_model.py data=my.yaml weights=best.pt factor=0.3 epochs=100
  python prune_model.py resume=True     goes on with the last unfinished run
  python prune_model.py dry_run=True    checks all, tells how long it would take

STAGE, by default run            its own keys besides weights=
  run       all of these           data factor epochs loss_type format name
  sparse    train towards sparse   data epochs save_dir
  analyse   how far can it shrink  data save_dir
  prune     remove channels        factor flops latency_ms steps save_dir
  train     retrain                data epochs save_dir
  distill   learn from a teacher   t_weight loss_type data epochs save_dir
  compare   table of checkpoints   weights=a.pt,b.pt data imgsz
  predict   nodes and parents      source save save_txt classes save_dir mode
  evaluate  relation scores        data_path save_dir mode
  export    onnx,openvino,...      format data (compares with PyTorch)
  report    page about a run       folder compare
factor=0.3 removes 30 % of the channels; flops=0.5, params=0.5, size_mb=3 or
latency_ms=20 is a target instead. loss_type is cwd, mgd or another loss.
Every argument of Ultralytics works too, such as imgsz=640 device=0 batch=16.
run also takes STAGE.key=value for one stage alone, such as prune.flops=0.5.
Results of run: runs/slim/NAME. TRACEBACK=1 in the environment shows tracebacks.
"""
METHODS = {
    "run": compress,
    "sparse": PruneModel.sparse_train,
    "analyse": PruneModel.analyse,
    "prune": PruneModel.prune,
    "train": PruneModel.train,
    "distill": PruneModel.distill,
    "compare": PruneModel.compare,
    "predict": PruneModel.predict,
    "evaluate": PruneModel.evaluate,
    "export": PruneModel.export,
    "report": write_report,
}


def main(args: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    args = sys.argv[1:] if args is None else args
    if any(word in ("help", "-h", "--help") for word in args):
        return cli.run(Path(sys.argv[0]).name, lambda: print(HELP, flush=True))
    cli.use_cores(int(os.environ["OMP_NUM_THREADS"]))
    warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)  # of what Ultralytics' exporter calls
    with plain_where_piped():
        return cli.run(Path(sys.argv[0]).name, lambda: _do(args))


def _do(args: list[str]) -> None:
    stages = {stage: cli.ULTRALYTICS | _parameters(method) | {"weights"} for stage, method in METHODS.items()}
    stages["run"] |= plan.RUN_KEYS
    stages["report"] = _parameters(write_report)
    stages["analyse"] |= _parameters(analyse_model) - {"yolo"}
    stages["export"] |= _parameters(exports.check) - {"formats"}
    stages["predict"] -= {"stream"}
    stages["prune"] |= plan.PRUNING - {"yolo", "retrain"}
    parts = {stage: cli.ULTRALYTICS - plan.PLACED for stage in (*plan.PACE, "export")}
    stage, keys = cli.parse(args, stages, {**parts, "prune": stages["prune"] - plan.PLACED})
    cli.require(stage, keys, METHODS[stage])
    if stage == "prune" and "factor" in keys and (targets := sorted(plan.TARGETS & keys.keys())):
        raise cli.UsageError(f"give either factor= or {targets[0]}=, which is a target instead of it")
    if stage in ("run", "report"):
        METHODS[stage](**keys)
    elif stage == "compare":
        with pipeline.quiet():
            PruneModel.compare(cli.paths(keys.pop("weights")), **keys)
    elif stage == "export":
        _export(PruneModel(keys.pop("weights", "weights/last.pt")), **keys)
    else:
        model = PruneModel(keys.pop("weights", "weights/last.pt"))
        getattr(model, METHODS[stage].__name__)(**keys)


def _export(model: PruneModel, format: str = "torchscript", data: str | None = None, **options) -> None:
    """Export in one format or several, and where there is data compare the files with PyTorch."""
    if data:
        model.check_exports(format, data, **options)
        return
    for name in exports.parse(format):
        model.export(name, **options)


def _parameters(method) -> set[str]:
    kinds = inspect.signature(method).parameters
    return {name for name, p in kinds.items() if p.kind is not p.VAR_KEYWORD} - {"self"}


if __name__ == "__main__":
    sys.exit(main())
