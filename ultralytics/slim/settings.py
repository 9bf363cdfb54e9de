"""The training arguments that this fork adds, read and validated in one place.

They stand in `cfg/default.yaml` (see patches/), so they reach the trainer from Python, from the `yolo` command line,
in DDP workers and on resume, and are written to `args.yaml`, like any other training argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ultralytics.utils import DEFAULT_CFG_DICT

from .errors import InputError
from .losses.layer_losses import FEATURE_LOSSES, LossOptions

SCHEDULES = ("run", "epoch", "constant")
SPARSE_TRAINING = "sparse"
LOGIT = "logit"  # the loss on raw predictions, see response.py

# name -> default, as in cfg/default.yaml
TRAIN_ARGS: dict[str, Any] = {
    "Distillation": None,
    "loss_type": None,
    "distill_weight": 1.0,
    "distill_schedule": "run",
    "distill_layers": None,
    "distill_imgsz": None,
    "distill_tau": 1.0,
    "distill_alpha": 2e-5,
    "distill_mask": 0.65,
    "distill_close_mosaic": True,
    "distill_check": True,
    "sparsity": None,
    "unlabelled": None,
}


@dataclass(frozen=True)
class SlimSettings:
    """Validated settings of one training run.

    Attributes:
        teacher: Path of the teacher's checkpoint, or None.
        losses: Names of the distillation losses, in the order given.
        sparse: Whether γ is penalised.
        distill_weight: Factor on the distillation loss, on top of each loss's own weight and the schedule.
        distill_schedule: 'run' or 'epoch' (cosine from 1 to 0.1 over the run or each epoch) or 'constant'.
        distill_layers: Indices of the tapped layers in `model.model`, or None to choose them from the model.
        distill_imgsz: Side in pixels of the images that the teacher sees, or None for the student's.
        options: τ of CWD and of the box distributions, α and λ of MGD.
        distill_close_mosaic: Whether to go on distilling in the last epochs, which train without mosaic.
        distill_check: Whether to measure teacher and student on the validation data before the first epoch.
        sparsity: Strength of the penalty: how far it alone would move γ over the run, in units of the median |γ|; None
            for as far as the length of the run allows.
        unlabelled: Where images are that the teacher alone teaches on: a folder, a text file of paths or a data YAML,
            or a list of these; None where there are none.
    """

    teacher: str | None = None
    losses: tuple[str, ...] = ()
    sparse: bool = False
    distill_weight: float = 1.0
    distill_schedule: str = "run"
    distill_layers: tuple[int, ...] | None = None
    distill_imgsz: int | None = None
    options: LossOptions = LossOptions()
    distill_close_mosaic: bool = True
    distill_check: bool = True
    sparsity: float | None = None
    unlabelled: str | tuple[str, ...] | None = None

    @classmethod
    def from_args(cls, args: dict[str, Any]) -> SlimSettings:
        """Read the settings from training arguments.

        Raises:
            InputError: On an unknown or contradictory value; the message lists what is possible.
        """
        values = {k: args.get(k, default) for k, default in TRAIN_ARGS.items()}
        names = _parse_loss_type(values["loss_type"])
        losses = tuple(n for n in names if n != SPARSE_TRAINING)
        teacher = values["Distillation"]
        teacher = None if teacher in (None, "", "None") else str(teacher)
        _check_teacher(teacher, losses, args)
        if (losses or SPARSE_TRAINING in names) and args.get("compile"):
            raise InputError(
                "compile=True cannot be combined with Distillation or loss_type: the feature hooks and the γ penalty "
                "need the eager model. Pass compile=False."
            )
        close = _flag("distill_close_mosaic", values["distill_close_mosaic"])
        if losses and not close:
            _check_epochs_with_mosaic({**DEFAULT_CFG_DICT, **args})
        return cls(
            teacher=teacher,
            losses=losses,
            sparse=SPARSE_TRAINING in names,
            distill_weight=_number("distill_weight", values["distill_weight"]),
            distill_schedule=_choice("distill_schedule", values["distill_schedule"], SCHEDULES),
            distill_layers=_layers(values["distill_layers"]),
            distill_imgsz=_imgsz(values["distill_imgsz"], losses),
            options=_options(values),
            distill_close_mosaic=close,
            distill_check=_flag("distill_check", values["distill_check"]),
            sparsity=None if values["sparsity"] is None else _number("sparsity", values["sparsity"]),
            unlabelled=_unlabelled(values, losses),
        )


def distill_losses() -> list[str]:
    """Return the names of all distillation losses, those that a user has registered among them."""
    return [*FEATURE_LOSSES, LOGIT]


def loss_choices() -> list[str]:
    """Return every name that `loss_type` takes; all but 'None' may also be joined with '+'."""
    return ["None", SPARSE_TRAINING, *distill_losses()]


def _parse_loss_type(value: Any) -> tuple[str, ...]:
    if value is None or str(value).strip().lower() in {"", "none"}:
        return ()
    known = loss_choices()[1:]
    any_case = {name.lower(): name for name in known}
    words = [part.strip() for part in str(value).split("+")]
    names = tuple(word if word in known else any_case.get(word.lower(), word) for word in words)
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), loss_choices(), n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise InputError(
                f"loss_type={value!r}: '{name}' is not one of {', '.join(loss_choices())}, "
                f"nor a sum of them such as 'cwd+{SPARSE_TRAINING}'.{hint}"
            )
    if len(set(names)) != len(names):
        raise InputError(f"loss_type={value!r} names a loss twice")
    return names


def _check_teacher(teacher: str | None, losses: tuple[str, ...], args: dict[str, Any]) -> None:
    choices = ", ".join(distill_losses())
    if teacher and not losses:
        raise InputError(
            f"Distillation={teacher!r} needs a distillation loss, got loss_type={args.get('loss_type')!r}. "
            f"Pass loss_type= one of {choices}."
        )
    if losses and not teacher:
        raise InputError(
            f"loss_type={args.get('loss_type')!r} distils, so it needs a teacher: pass Distillation= the path of a "
            "checkpoint, a YOLO object or a module."
        )
    if teacher and args.get("distill_model"):
        raise InputError(
            "Distillation= (this fork) and distill_model= (Ultralytics' own distillation) are both set. Pass only one."
        )


def _check_epochs_with_mosaic(args: dict[str, Any]) -> None:
    if not args.get("time") and args["epochs"] <= args["close_mosaic"]:
        raise InputError(
            f"distill_close_mosaic=False leaves out the last close_mosaic={args['close_mosaic']} epochs, which is all "
            f"of epochs={args['epochs']}: nothing would be distilled. Pass distill_close_mosaic=True, a smaller "
            "close_mosaic=, or more epochs=."
        )


def _options(values: dict[str, Any]) -> LossOptions:
    tau, mask = _number("distill_tau", values["distill_tau"]), _number("distill_mask", values["distill_mask"])
    if tau == 0:
        raise InputError("distill_tau must be a number > 0, got 0")
    if mask >= 1:
        raise InputError(f"distill_mask must be the share of locations that MGD drops, in [0, 1), got {mask}")
    return LossOptions(tau, _number("distill_alpha", values["distill_alpha"]), mask)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise InputError(f"{name} must be a number ≥ 0, got {value!r}")
    return float(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def _imgsz(value: Any, losses: tuple[str, ...]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 32:
        raise InputError(f"distill_imgsz must be the side in pixels of the teacher's images, from 32, got {value!r}")
    if LOGIT in losses:
        raise InputError(
            "distill_imgsz= cannot be combined with loss_type=logit: at another image size the teacher's predictions "
            "lie "
            "on another grid. Use feature losses, such as cwd."
        )
    return value


def _unlabelled(values: dict[str, Any], losses: tuple[str, ...]) -> str | tuple[str, ...] | None:
    value = () if values["unlabelled"] is None else as_paths(values["unlabelled"], "unlabelled")
    if value in ("", "None", [], ()):
        return None
    if not losses:
        raise InputError(
            f"unlabelled={value!r}: on images without labels a teacher alone can teach; pass Distillation= and "
            "loss_type="
        )
    if values["distill_imgsz"] is not None:
        raise InputError("unlabelled= and distill_imgsz= cannot be combined: the teacher sees the student's images")
    if values["distill_close_mosaic"] is False:
        raise InputError(
            "unlabelled= needs distill_close_mosaic=True: in epochs without distillation nothing is to be learned from "
            "images without labels"
        )
    return tuple(value) if isinstance(value, list) else value


def as_paths(value: Any, key: str) -> str | list[str]:
    """Return where images are, a path or a list of them, as words.

    Args:
        value: What was given.
        key: The argument that it was given as, for the message.

    Raises:
        InputError: Something else, such as an array, which no record could name.
    """
    several = isinstance(value, (list, tuple))
    words = [as_word(part) for part in value] if several else as_word(value)
    if not all(isinstance(part, str) for part in (words if several else [words])):
        raise InputError(f"{key} must be a folder of images, or a list of folders or images, got {value!r}")
    return words


def as_word(value: Any) -> Any:
    """Return a path as a word, also one that `yolo` took for a whole number (a folder 2024); all else as it is."""
    is_path = isinstance(value, (Path, int)) and not isinstance(value, bool)
    return str(value) if is_path else value


def _layers(value: Any) -> tuple[int, ...] | None:
    if value in (None, [], ()):
        return None
    layers = [value] if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else None
    if not layers or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in layers):
        raise InputError(f"distill_layers must be a list of layer indices such as [15, 18, 21], got {value!r}")
    return tuple(layers)
