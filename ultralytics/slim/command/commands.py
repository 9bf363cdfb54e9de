"""The commands of the command line: one table, which the help and the reading of keys go by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from textwrap import fill

from ..exporting.check import check_exports
from ..front.settings import FRONT_KEYS
from ..installation import SCRIPT, is_fork
from ..pruning.options import AnalyseOptions
from ..recovery.options import RecoverOptions
from ..runs.run_settings import PARTS, PLACED, RUN_KEYS
from ..runs.stage_settings import PRUNE_KEYS
from ..runs.stages import DISTILL, EXPORT, PRUNE, RECOVER, RETRAIN, SPARSE, Stage
from ..settings import TRAIN_ARGS
from .parsing import ULTRALYTICS


@dataclass(frozen=True)
class Command:
    """One command: what it does, and the usual ones of its own keys, for the help."""

    name: str
    does: str
    keys: str


def _of(stage: Stage, keys: str) -> Command:
    return Command(stage.command, stage.does, keys)


RUN, ANALYSE, FRONT, COMPARE, PREDICT, REPORT = "run", "analyse", "front", "compare", "predict", "report"
COMMANDS = (
    Command(RUN, "all, in runs/slim/NAME", "data factor epochs loss_type format name"),
    _of(SPARSE, "data epochs save_dir"),
    Command(ANALYSE, "how far can it shrink", "data save_dir"),
    _of(PRUNE, "factor flops latency_ms keep save_dir"),
    _of(RECOVER, "images teacher iterations save_dir"),
    _of(RETRAIN, "data epochs save_dir"),
    _of(DISTILL, "t_weight loss_type data epochs save_dir"),
    Command(FRONT, "models of all sizes", "data|images shares compare train=0.5"),
    Command(COMPARE, "table of checkpoints", "weights=a.pt,b.pt data imgsz"),
    Command(PREDICT, "nodes and parents", "source save save_txt classes save_dir mode"),
    Command("evaluate", "relation scores", "data_path save_dir mode"),
    _of(EXPORT, "format data (compares with PyTorch)"),
    Command(REPORT, "page about a run", "folder compare"),
)
HELP = """\
usage: {called} [STAGE] [key=value ...]{installed}
{alone}
  {called} data=my.yaml weights=best.pt factor=0.3 epochs=100
  {called} images=photos/ weights=best.pt  without any labels
resume=True goes on with the last unfinished run, dry_run=True checks all first.
STAGE, by default run            its own keys besides weights=
{commands}
factor=0.3 removes 30 % of the channels; flops=0.5, latency_ms=20, keep=0.99
or others are the goal instead. STAGE --help lists all its keys.
Ultralytics' arguments work too; run takes STAGE.key=value, as prune.flops=0.5.
TRACEBACK=1 in the environment shows tracebacks; safe=True opens no unsafe file.
"""


STAGE_HELP = """\
usage: {called} {stage} [key=value ...]
{stage}: {does}
Its own keys, beside Ultralytics' arguments:
{keys}
docs/stages.md tells what each does, under {stage}.
"""
RECOVER_KEYS = {field.name for field in fields(RecoverOptions)}
ALSO_OWN = {  # which are arguments of Ultralytics', too, and no parameters of the method
    RUN: RUN_KEYS,
    SPARSE.command: {key for key in TRAIN_ARGS if key.startswith("spars")},
    PRUNE.command: PRUNE_KEYS,
    RECOVER.command: RECOVER_KEYS,
    DISTILL.command: {key for key in TRAIN_ARGS if not key.startswith("spars")} - {"Distillation"},
    FRONT: {"data", "classes", "epochs"},
}
IN_FORK = "Without arguments: the whole pipeline on the shipped diagrams."
PATCHED = "Patched: give weights=, and data= or images=; predict and evaluate are not here."


def help_text(called: str = SCRIPT) -> str:
    """Return what `--help` prints; `called` is how the command line was called."""
    installed = "  (installed: prune-model)" if called == SCRIPT else ""
    about = {"called": called, "installed": installed, "alone": IN_FORK if is_fork() else PATCHED}
    return HELP.format(**about, commands="\n".join(f"  {c.name:<9} {c.does:<22} {c.keys}" for c in COMMANDS))


def stage_help(stage: str, methods: Mapping[str, Callable], called: str = SCRIPT) -> str:
    """Return what `STAGE --help` prints: what it does, and all keys that are its own; arguments as for `help_text`."""
    command = next(command for command in COMMANDS if command.name == stage)
    keys = keys_of(methods)[0][stage]
    named = parameters_of(methods[stage]).union(command.keys.split(), ALSO_OWN.get(stage, ()))
    own = keys - ULTRALYTICS | keys & named
    listed = fill(" ".join(sorted(own)), 78, initial_indent="  ", subsequent_indent="  ")
    return STAGE_HELP.format(called=called, stage=stage, does=command.does, keys=listed)


def keys_of(methods: Mapping[str, Callable]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return the keys that each command takes, and those that `STAGE.key` may give to each stage of a run.

    Args:
        methods: What each command calls, by its name, the default first.
    """
    keys = {name: ULTRALYTICS | parameters_of(method) | {"weights"} for name, method in methods.items()}
    keys[RUN] |= RUN_KEYS
    keys[REPORT] = parameters_of(methods[REPORT])
    keys[FRONT] |= FRONT_KEYS
    keys[ANALYSE] |= {field.name for field in fields(AnalyseOptions)} | {"data", "save_dir"}
    keys[EXPORT.command] |= parameters_of(check_exports) - {"formats"} | {"check"}
    keys[PREDICT] -= {"stream"}
    keys[RECOVER.command] |= RECOVER_KEYS
    keys[PRUNE.command] |= PRUNE_KEYS | {"save_dir"}
    keys = {name: own | {"safe"} for name, own in keys.items()}
    parts = {name: ULTRALYTICS - PLACED for name in PARTS}
    parts[RECOVER.name] = RECOVER_KEYS
    parts[EXPORT.name] |= {"iterations"}
    return keys, {**parts, PRUNE.name: keys[PRUNE.command] - PLACED - {"safe"}}


def parameters_of(method: Callable) -> set[str]:
    """Return the names of a function's parameters that a command line can give."""
    kinds = inspect.signature(method).parameters
    return {name for name, p in kinds.items() if p.kind is not p.VAR_KEYWORD} - {"self"}
