"""Our edits to upstream's source: what the patched source must look like, and where each edit goes.

One table serves two ends. `verify_seams` asserts on the parsed code, rather than on the diff, that every edit is where
it must be: a diff that applies proves only that its context was found. (`git apply` even exits 0 when it skipped a
file.) And where an edited file does not take the patch as text, `placing` finds each place by what the code does.
Code is written as a pattern, see `patterns`; the lines to add stand in the patch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from patches.errors import DoesNotFit
from patches.patterns import find
from patches.source import Source

Codes = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """`how` is before, after or instead of the statement that reads like one of `codes`; above the scope's `def`; end.

    In a file that is not Python, `codes` are beginnings of lines. Statements in different arms of an `if` are all
    meant. Of several in a row the last is meant if `latest`; else that is ambiguous. `anew` leaves out assignments that
    change a value that is there, or set a constant.
    """

    how: str
    codes: Codes = ()
    latest: bool = False
    anew: bool = False

    def __str__(self) -> str:
        if not self.codes:
            return {"above": "right above its `def` line", "end": "at the end of the file"}[self.how]
        codes = " or ".join(f"`{code.replace('*_', '...')}`" for code in self.codes)
        return f"{self.how.replace('instead', 'instead of')} {codes}"


@dataclass(frozen=True)
class Seam:
    """`code` stands in function `scope` of `file`, or elsewhere in its class; or, with `gone`, stands there no more.

    `alike` is what may stand in its place. It comes after one of `after`; and after one of `follows` and before one of
    `before` where these are in the same function. In a file that is not Python, a line begins with `code`. `places` are
    where it goes, the first that there is; `names` says what is meant by a name in the lines to add, for a function
    that calls it otherwise: the parameter at a position, or `**`, or a part of the loop over batches.
    """

    file: str
    scope: str
    code: str
    alike: Codes = ()
    after: Codes = ()
    follows: Codes = ()
    before: Codes = ()
    gone: bool = False
    places: tuple[Place, ...] = ()
    names: Mapping[str, int | str] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """The code as it is shown."""
        return self.code.replace("*_", "...")


BATCH, INDEX, NUMBER_OF_BATCHES = "the batch", "its index", "how many there are"  # in the loop over batches

TRAINER = "engine/trainer.py"
LAST_IMPORT = Place("after", ("from _ import _",), latest=True)
ARGUMENTS = ("self.args = get_cfg(*_)",)
LOSSES = ("self.loss = _.sum()", "self.loss, _ = _", "self.loss = _")
SCALINGS = tuple(f"self.loss{code}" for code in (" *= _", " /= _", ".mul_(_)", ".div_(_)"))
LOOPS = (  # over batches; the innermost that holds the call
    "for _ in _: self.run_callbacks('on_train_batch_start')",
    "for _ in _: _.backward(*_)",
    "for _ in pbar: _",
)
STEPS = ("self.scaler.step(self.optimizer)", "self.optimizer.step(*_)")
PIP_ADVICE = ("_.check_pip_update_available()", "check_pip_update_available()")

SEAMS: tuple[Seam, ...] = (
    Seam(
        TRAINER,
        "",
        "from ultralytics.slim import trainer as slim",
        places=(Place("before", ("from ultralytics.utils.autobatch import _",), latest=True), LAST_IMPORT),
    ),
    Seam(
        TRAINER,
        "BaseTrainer.__init__",
        "_ = slim.read_overrides(*_)",
        before=ARGUMENTS,
        places=(Place("before", ARGUMENTS),),
        names={"overrides": 2},
    ),
    Seam(TRAINER, "BaseTrainer.train", "slim.closing", places=(Place("above"),)),
    Seam(
        TRAINER,
        "BaseTrainer._setup_train",
        "self.slim = slim.prepare(self)",
        after=("self.ema = _",),
        places=(
            Place("before", ("self.resume_training(*_)",)),
            Place("before", ("self.run_callbacks('on_pretrain_routine_end')",)),
        ),
    ),
    Seam(
        TRAINER,
        "BaseTrainer._do_train",
        "self.slim.start_epoch()",
        places=tuple(Place("before", (loop,)) for loop in LOOPS),
    ),
    Seam(
        TRAINER,
        "BaseTrainer._do_train",
        "self.loss += self.slim.distillation_loss(*_)",
        alike=("self.loss = self.loss + self.slim.distillation_loss(*_)",),
        after=LOSSES,
        before=("_.backward(*_)",),
        places=(Place("after", LOSSES, latest=True, anew=True),),
        names={"batch": BATCH, "i": INDEX, "nb": NUMBER_OF_BATCHES},
    ),
    Seam(
        TRAINER,
        "BaseTrainer._do_train",
        "self.slim.end_epoch()",
        after=("self.slim.start_epoch()",),
        places=(Place("before", ("self.run_callbacks('on_train_epoch_end')",)),),
    ),
    Seam(
        TRAINER,
        "BaseTrainer.optimizer_step",
        "self.slim.before_step()",
        follows=("self.scaler.unscale_(*_)",),
        before=STEPS,
        places=(Place("before", STEPS),),
    ),
    Seam(
        TRAINER,
        "BaseTrainer.optimizer_step",
        "self.slim.after_step()",
        after=STEPS,
        places=(Place("after", STEPS),),
    ),
    Seam(
        TRAINER,
        "BaseTrainer.check_resume",
        "slim.resume_with(*_)",
        places=(Place("before", ("self.resume = _",), latest=True),),
        names={"overrides": 1},
    ),
    Seam(
        "engine/model.py",
        "Model.train",
        "self.ckpt = checkpoint_of(self, _)",
        places=(
            Place("instead", PIP_ADVICE),
            Place("before", ("overrides = _",)),
            Place("after", ("self._check_is_pytorch_model()",)),
        ),
        names={"kwargs": "**"},
    ),
    Seam("engine/model.py", "Model.train", PIP_ADVICE[0], alike=PIP_ADVICE[1:], gone=True),
    Seam(
        "nn/tasks.py",
        "",
        "from ultralytics.slim.widths import keep_widths",
        places=(Place("before", ("from ultralytics.utils.torch_utils import _",), latest=True), LAST_IMPORT),
    ),
    Seam(
        "nn/tasks.py",
        "BaseModel.load",
        "keep_widths(self, _)",
        places=(
            Place("before", ("_ = _.float().state_dict()",)),
            Place("before", ("_ = intersect_dicts(*_)",)),
            Place("before", ("self.load_state_dict(*_)",)),
        ),
        names={"weights": 1},
    ),
    Seam("cfg/default.yaml", "", "Distillation:", places=(Place("before", ("# Custom config",)), Place("end"))),
    Seam("cfg/default.yaml", "", "loss_type:", places=(Place("before", ("# Custom config",)), Place("end"))),
)


def verify_seams(package: Path, seams: tuple[Seam, ...] | None = None) -> None:
    """Raise `DoesNotFit` naming every seam that is missing or out of place in the `ultralytics` folder `package`."""
    seams = SEAMS if seams is None else seams
    faults = []
    for file in dict.fromkeys(seam.file for seam in seams):
        path = package / file
        own = [seam for seam in seams if seam.file == file]
        faults += find_faults(path.read_bytes(), own) if path.is_file() else [f"{file}: no such file"]
    if faults:
        raise DoesNotFit("the patched source is not as it must be:\n" + "\n".join(f"  {fault}" for fault in faults))


def find_faults(content: bytes, seams: list[Seam]) -> list[str]:
    """Return what is wrong with the seams of one file, as lines to print; empty when all are right."""
    source = Source(content, seams[0].file if seams else "")
    return list(dict.fromkeys(fault for seam in seams for fault in _find_faults(source, seam)))


def _find_faults(source: Source, seam: Seam) -> list[str]:
    if not is_python(seam.file):
        return [] if key_line(source, seam.code) else [f"{seam.file}: no line {seam.code!r}"]
    if source.tree is None:
        return [f"{seam.file}: {source.fault}"]
    if not source.scopes(seam.scope):
        return [f"{seam.file}: no {seam.scope}"]
    nodes = standing(source, seam)
    if seam.gone:
        return [f"{seam.file}:{node.lineno}: {seam.text!r} is still in {seam.scope}" for node in nodes]
    if not nodes:
        return [f"{seam.file}: {seam.text!r} is missing in {seam.scope or 'the file'}"]
    return [f"{seam.file}:{nodes[0].lineno}: {fault}" for fault in _find_disorder(source, seam, nodes[0])]


def is_python(name: str) -> bool:
    return name.endswith(".py")


def key_line(source: Source, code: str) -> int:
    """Return the number of the first line that begins with `code`, or 0."""
    found = (number for number, line in enumerate(source.lines, 1) if line.startswith(code.encode()))
    return next(found, 0)


def standing(source: Source, seam: Seam) -> list[ast.AST]:
    """Return where a seam's code stands: in its scope if it does so there, else elsewhere in the class."""
    every = (find(scope, seam.code, *seam.alike) for scope in source.scopes(seam.scope)[: 1 if seam.gone else 2])
    return next((nodes for nodes in every if nodes), [])


def _find_disorder(source: Source, seam: Seam, node: ast.AST) -> list[str]:
    """Return what a seam at `node` should come after or before and does not."""
    function, faults = source.function_of(node), []
    own, elsewhere = find(function, *seam.after), find(source.tree, *seam.after)
    if seam.after and not (any(other.lineno < node.lineno for other in own) if own else elsewhere):
        faults.append(f"{seam.text!r} must come after {shown(seam.after)}")
    if (earlier := find(function, *seam.follows)) and earlier[0].lineno > node.lineno:
        faults.append(f"{seam.text!r} must come after {shown(seam.follows)}")
    if (later := find(function, *seam.before)) and later[-1].lineno < node.lineno:
        faults.append(f"{seam.text!r} must come before {shown(seam.before)}")
    return faults


def shown(codes: Codes) -> str:
    return " or ".join(repr(code.replace("*_", "...")) for code in codes)
