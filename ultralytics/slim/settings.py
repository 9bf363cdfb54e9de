"""The training arguments that this fork adds, read and validated in one place.

They stand in `cfg/default.yaml` (see patches/), so they reach the trainer from Python, from the `yolo` command line,
in DDP workers and on resume, and are written to `args.yaml`, like any other training argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .losses import FEATURE_LOSSES

SCHEDULES = ("run", "epoch", "constant")
SPARSE = "sparse"

# name -> default, as in cfg/default.yaml
TRAIN_ARGS: dict[str, Any] = {
    "Distillation": None,
    "loss_type": None,
    "distill_weight": None,
    "distill_schedule": "run",
    "distill_layers": None,
    "sparsity": 1.0,
}


@dataclass(frozen=True)
class SlimSettings:
    """Validated settings of one training run.

    Attributes:
        teacher: Path of the teacher's checkpoint, or None.
        losses: Names of the feature losses, in the order given.
        sparse: Whether γ is penalised.
        distill_weight: Factor on the sum of the losses (before the schedule); None takes each loss's default.
        distill_schedule: 'run' or 'epoch' (cosine from 1 to 0.1 over the run or each epoch) or 'constant'.
        distill_layers: Indices of the tapped layers in `model.model`, or None to choose them from the model.
        sparsity: Strength of the penalty: how far it alone would move γ over the run, in units of the median |γ|.
    """

    teacher: str | None = None
    losses: tuple[str, ...] = ()
    sparse: bool = False
    distill_weight: float | None = None
    distill_schedule: str = "run"
    distill_layers: tuple[int, ...] | None = None
    sparsity: float = 1.0

    @classmethod
    def from_args(cls, args: dict[str, Any]) -> SlimSettings:
        """Read the settings from training arguments.

        Raises:
            ValueError: On an unknown or contradictory value; the message lists what is possible.
        """
        values = {k: args.get(k, default) for k, default in TRAIN_ARGS.items()}
        names = _parse_loss_type(values["loss_type"])
        losses = tuple(n for n in names if n != SPARSE)
        teacher = values["Distillation"]
        teacher = None if teacher in (None, "", "None") else str(teacher)
        _check_teacher(teacher, losses, args)
        if (losses or SPARSE in names) and args.get("compile"):
            raise ValueError(
                "compile=True cannot be combined with Distillation or loss_type: the feature hooks and the γ penalty "
                "need the eager model. Pass compile=False."
            )
        return cls(
            teacher=teacher,
            losses=losses,
            sparse=SPARSE in names,
            distill_weight=_number("distill_weight", values["distill_weight"], optional=True),
            distill_schedule=_choice("distill_schedule", values["distill_schedule"], SCHEDULES),
            distill_layers=_layers(values["distill_layers"]),
            sparsity=_number("sparsity", values["sparsity"]),
        )


def loss_choices() -> list[str]:
    """Return every name that `loss_type` takes; feature losses and 'sparse' may also be joined with '+'."""
    return ["None", SPARSE, *FEATURE_LOSSES]


def _parse_loss_type(value: Any) -> tuple[str, ...]:
    if value is None or str(value).strip().lower() in {"", "none"}:
        return ()
    names = tuple(part.strip().lower() for part in str(value).split("+"))
    for name in names:
        if name not in loss_choices()[1:]:
            close = get_close_matches(name, loss_choices(), n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"loss_type={value!r}: '{name}' is not one of {', '.join(loss_choices())}, "
                f"nor a sum of them such as 'cwd+{SPARSE}'.{hint}"
            )
    if len(set(names)) != len(names):
        raise ValueError(f"loss_type={value!r} names a loss twice")
    return names


def _check_teacher(teacher: str | None, losses: tuple[str, ...], args: dict[str, Any]) -> None:
    choices = ", ".join(FEATURE_LOSSES)
    if teacher and not losses:
        raise ValueError(
            f"Distillation={teacher!r} needs a distillation loss, got loss_type={args.get('loss_type')!r}. "
            f"Pass loss_type= one of {choices}."
        )
    if losses and not teacher:
        raise ValueError(
            f"loss_type={args.get('loss_type')!r} distils, so it needs a teacher: pass Distillation= the path of a "
            "checkpoint, a YOLO object or a module."
        )
    if teacher and args.get("distill_model"):
        raise ValueError(
            "Distillation= (this fork) and distill_model= (Ultralytics' own distillation) are both set. Pass only one."
        )


def _number(name: str, value: Any, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number ≥ 0, got {value!r}")
    return float(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def _layers(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    layers = [value] if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else None
    if not layers or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in layers):
        raise ValueError(f"distill_layers must be a list of layer indices such as [15, 18, 21], got {value!r}")
    return tuple(layers)
