"""From the words of a command line to the method that does what they ask for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..classes import BOX_TASKS
from ..errors import UsageError
from ..exporting.formats import read_formats
from ..hints import split_list
from ..installation import MODULE, SCRIPT
from ..loading import load_safely
from ..logs import quiet
from ..pruning.options import TARGETS
from ..runs.stages import EXPORT, PRUNE
from .commands import COMPARE, FRONT, REPORT, RUN, help_text, keys_of, stage_help
from .parsing import parse, require
from .running import run_command, use_cores
from .terminal import plain_where_piped

COMPARING = ("accuracy", "original", "ranges")  # keys of an export that only its comparison reads


def main_of(
    wrapper: type, methods: Mapping[str, Callable], args: list[str], cores: str | None = None, called: str = SCRIPT
) -> int:
    """Do what a command line asks for; return the exit status.

    Args:
        wrapper: `PruneModel`, which is made of the weights that are given.
        methods: What each command calls, by its name: methods of the wrapper, or functions; the default first.
        args: The words after the program's name.
        cores: On how many to compute, as the user set it; all of them if not given.
        called: How this command line is called, for the help.
    """
    program = MODULE if called == MODULE else Path(sys.argv[0]).name
    if any(word in ("help", "-h", "--help") for word in args):
        stage = next((word for word in args if word in methods), None)
        text = stage_help(stage, methods, called) if stage else help_text(called)
        return run_command(program, lambda: print(text, flush=True))
    use_cores(cores)
    warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)  # of what Ultralytics' exporter calls
    with plain_where_piped():
        return run_command(program, lambda: _do(wrapper, methods, args))


def _do(wrapper: type, methods: Mapping[str, Callable], args: list[str]) -> None:
    command, keys = parse(args, *keys_of(methods))
    load_safely(keys.pop("safe", False))
    require(command, keys, methods[command])
    if command == PRUNE.command and "factor" in keys and (targets := sorted(keys.keys() & {*TARGETS, "keep"})):
        raise UsageError(f"give either factor= or {targets[0]}=, which is a target instead of it")
    if command in (RUN, REPORT, FRONT):
        methods[command](**keys)
    elif command == COMPARE:
        with quiet():
            methods[command](split_list(keys.pop("weights")), **keys)
    else:
        model = wrapper(keys.pop("weights", "weights/last.pt"))
        method = getattr(model, methods[command].__name__)
        _export(model, **keys) if command == EXPORT.command else method(**keys)


def _export(
    model: Any, format: str = "torchscript", data: str | None = None, check: str | None = None, **options
) -> None:
    """Export in one format or several, and where there are images compare the files with PyTorch; or only check."""
    compared = (data or "images" in options) and model.model.task in BOX_TASKS
    if check is not None:
        model.check_npu(check, **options)
    elif compared:
        if data and isinstance(count := options.get("images"), str) and count.lstrip("-").isdecimal():
            options["images"] = int(count)  # how many, where data= gives them
        model.check_exports(format, data, **options)
    elif idle := [key for key in COMPARING if key in options]:
        raise UsageError(
            f"{idle[0]}= is for a comparison with PyTorch: add data= or images=, of a model that finds boxes"
        )
    else:
        options |= {"data": data} if data else {}
        for name in read_formats(format):
            model.export(name, **options)
