"""The stages of a run: the one table that the help, the plan, the dry run, the run, the report and the verdict read."""

from __future__ import annotations

from dataclasses import dataclass

ORIGINAL = "original"  # the model that a run starts from


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: In `STAGE.key=value`, in run.json, and of its checkpoint, `weights/NAME.pt`.
        makes: The model that it leaves, as tables and the report call it; empty where it leaves none.
        does: What it does, for the command line's help.
        noun: The same in the plan.
        command: The command that does this stage alone.
        needs: Models of the run that it needs besides the one before it, as far as they are made.
        share: Epochs of its training as a share of the run's `epochs`; None where nothing is trained.
        optional: Whether it may be left out, by `STAGE.epochs=0`.
    """

    name: str
    makes: str
    does: str
    noun: str
    command: str
    needs: tuple[str, ...] = ()
    share: float | None = None
    optional: bool = False


SPARSE = Stage("sparse", "sparse", "train towards sparse", "sparse training", "sparse", share=0.5, optional=True)
PRUNE = Stage("prune", "pruned", "remove channels", "pruning", "prune")
RECOVER = Stage(
    "recover",
    "recovered",
    "learn without labels",
    "recovery",
    "recover",
    needs=(ORIGINAL,),
    optional=True,
)
RETRAIN = Stage("retrain", "retrained", "retrain", "retraining", "train", share=0.5, optional=True)
DISTILL = Stage(
    "distill", "distilled", "learn from a teacher", "distillation", "distill", needs=(ORIGINAL, SPARSE.makes), share=1.0
)
# Besides these: of a teacher that is given, and trained on the data first where that is asked for.
TEACHER = Stage("teacher", "", "train the teacher", "training the teacher", "train", share=0.0, optional=True)
EXPORT = Stage("export", "", "onnx,openvino,...", "export", "export")

STAGES = (SPARSE, PRUNE, RECOVER, RETRAIN, DISTILL)  # each leaves a checkpoint, in this order
TRAININGS = tuple(stage for stage in STAGES if stage.share is not None)
FINAL = STAGES[-1].makes


def stage_of(model: str) -> str | None:
    """Return the name of the stage that makes a model; None for the original, and for models of no stage."""
    return next((stage.name for stage in STAGES if stage.makes == model), None)
