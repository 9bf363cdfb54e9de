"""What the patch must have made of upstream's source, asserted on the parsed code rather than on the diff.

A diff that applies proves only that its context was found. (`git apply` even exits 0 when it skipped a file.) Each seam
names the function it belongs in and, where order matters, the upstream code that it must follow.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from patches.errors import DoesNotFit
from patches.pin import version_key


@dataclass(frozen=True)
class Seam:
    """`code` stands in function `scope` of `file`, after `after` if given; or, with `gone`, stands there no more.

    In a file that is not Python, a line begins with `code`. `since` and `until` name the first and the last release
    that the seam is for, where that is not all.
    """

    file: str
    scope: str
    code: str
    after: str = ""
    gone: bool = False
    since: str = ""
    until: str = ""


TRAINER = "engine/trainer.py"
SEAMS: tuple[Seam, ...] = (
    Seam(TRAINER, "BaseTrainer.__init__", "overrides = slim.read_overrides(overrides)"),
    Seam(TRAINER, "BaseTrainer.train", "slim.closing"),
    Seam(
        TRAINER,
        "BaseTrainer._setup_train",
        "self.slim = slim.prepare(self)",
        after="self.ema = ModelEMA(self.model)",
    ),
    Seam(TRAINER, "BaseTrainer._do_train", "self.slim.start_epoch()"),
    Seam(
        TRAINER,
        "BaseTrainer._do_train",
        "self.loss += self.slim.distillation_loss(batch, i / nb)",
        after="self.loss, self.loss_items = self.model(batch)",
        until="8.3.98",
    ),
    Seam(
        TRAINER,
        "BaseTrainer._do_train",
        "self.loss += self.slim.distillation_loss(batch, i / nb)",
        after="self.loss = loss.sum()",
        since="8.3.99",
    ),
    Seam(TRAINER, "BaseTrainer._do_train", "self.slim.end_epoch()", after="self.slim.start_epoch()"),
    Seam(
        TRAINER,
        "BaseTrainer.optimizer_step",
        "self.slim.before_step()",
        after="self.scaler.unscale_(self.optimizer)",
    ),
    Seam(TRAINER, "BaseTrainer.optimizer_step", "self.slim.after_step()", after="self.scaler.step(self.optimizer)"),
    Seam(TRAINER, "BaseTrainer.check_resume", "slim.resume_with(self.args, overrides)"),
    Seam("engine/model.py", "Model.train", "checks.check_pip_update_available()", gone=True),
    Seam("engine/model.py", "Model.train", "self.ckpt = checkpoint_of(self, kwargs)"),
    Seam("nn/tasks.py", "BaseModel.load", "keep_widths(self, weights)"),
    Seam("cfg/default.yaml", "", "Distillation:"),
    Seam("cfg/default.yaml", "", "loss_type:"),
)


def seams_for(version: str) -> tuple[Seam, ...]:
    """The seams that a patched `version` must have."""
    key = version_key(version)
    return tuple(
        seam
        for seam in SEAMS
        if (not seam.since or version_key(seam.since) <= key) and (not seam.until or key <= version_key(seam.until))
    )


def verify_seams(package: Path, seams: tuple[Seam, ...]) -> None:
    """Raise `DoesNotFit` naming every seam that is missing or out of place in the `ultralytics` folder `package`."""
    faults = [fault for seam in seams for fault in find_faults(package, seam)]
    if faults:
        raise DoesNotFit("the patched source is not as it must be:\n" + "\n".join(f"  {fault}" for fault in faults))


def find_faults(package: Path, seam: Seam) -> list[str]:
    """What is wrong with one seam, as lines to print; empty when it is right."""
    path = package / seam.file
    if not path.is_file():
        return [f"{seam.file}: no such file"]
    if path.suffix != ".py":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [] if any(line.startswith(seam.code) for line in lines) else [f"{seam.file}: no line {seam.code!r}"]
    scope = find_scope(ast.parse(path.read_bytes(), str(path)), seam.scope)
    if scope is None:
        return [f"{seam.file}: no {seam.scope}"]
    places = positions(scope, seam.code)
    if seam.gone:
        return [f"{seam.file}:{line}: {seam.code!r} is still in {seam.scope}" for line in places]
    if not places:
        return [f"{seam.file}: {seam.code!r} is missing in {seam.scope}"]
    if seam.after and not any(line < places[0] for line in positions(scope, seam.after)):
        return [f"{seam.file}:{places[0]}: {seam.code!r} must come after {seam.after!r}"]
    return []


def find_scope(tree: ast.AST, dotted: str) -> ast.AST | None:
    """The class or function named by `BaseTrainer.__init__`; the module itself for an empty name."""
    scope: ast.AST = tree
    for name in filter(None, dotted.split(".")):
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        inner = [node for node in ast.walk(scope) if isinstance(node, kinds) and node.name == name]
        if not inner:
            return None
        scope = inner[0]
    return scope


def positions(scope: ast.AST, code: str) -> list[int]:
    """Line numbers in `scope` of every statement or expression that reads like `code`, however it is laid out."""
    wanted = ast.parse(code).body[0]
    wanted = wanted.value if isinstance(wanted, ast.Expr) else wanted
    nodes = (node for node in ast.walk(scope) if type(node) is type(wanted))
    text = ast.unparse(wanted)
    return sorted(node.lineno for node in nodes if ast.unparse(node) == text)
