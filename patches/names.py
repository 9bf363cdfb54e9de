"""What an edited file calls the things that the added lines speak of: parameters, and the batch and its number."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from patches.patterns import find
from patches.seams import BATCH, INDEX, LOOPS, NUMBER_OF_BATCHES, Seam
from patches.source import Function, Source

PROGRESS = "self.slim_progress"


class NoName(Exception):
    """Something that the added lines need has no name where they go."""


class Names(NamedTuple):
    """The names in a loop over batches: of a batch, of its index, and how many batches there are."""

    batch: str | None
    index: str | None
    number: str


def filled(source: Source, seam: Seam, anchor: ast.stmt, lines: list[str]) -> tuple[list[str], list[tuple]]:
    """Return the lines with the names that hold at `anchor`, and what must stand elsewhere: (line, before which).

    Raises:
        NoName: Something is not there, or goes by no name.
    """
    function, others, known = source.function_of(anchor), [], {}
    for name, meaning in seam.names.items():
        if meaning not in (BATCH, INDEX, NUMBER_OF_BATCHES):
            known[name] = _parameter(function, name, meaning)
    if BATCH in seam.names.values():
        loop = _loop(source, seam, anchor)
        names = _names_in(source, loop)
        if source.function_of(loop) is not function:
            names, others = _names_in_helper(source, function, loop, names)
        found = {BATCH: names.batch, INDEX: names.index, NUMBER_OF_BATCHES: names.number}
        known |= {name: found[meaning] for name, meaning in seam.names.items()}
        if others:
            lines = [re.sub(r"\bi / nb\b", PROGRESS, line) for line in lines]
    missing = [name for name, own in known.items() if own is None]
    if missing:
        raise NoName(f"no variable for `{missing[0]}` was found there")
    return [_renamed(line, known) for line in lines], others


def _renamed(line: str, names: dict[str, str]) -> str:
    """Replace names in the code of a line; its comment is left alone."""
    code, mark, comment = line.partition("  #")
    return re.sub(r"(?<![\w.])[A-Za-z_]\w*\b(?!=)", lambda found: names.get(found[0], found[0]), code) + mark + comment


def _parameter(function: Function | ast.Module, name: str, which: int | str) -> str | None:
    """Return `name` if the function knows it, else its parameter at that position, or the one that takes keywords."""
    if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    arguments = function.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    others = [argument.arg for argument in (arguments.vararg, arguments.kwarg, *arguments.kwonlyargs) if argument]
    if name in positional + others or name in _assigned(function):
        return name
    if which == "**":
        return arguments.kwarg.arg if arguments.kwarg else None
    return positional[which] if which < len(positional) else None


def _assigned(scope: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(scope) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


# The loop over batches ---------------------------------------------------------------------------------------------


def _loop(source: Source, seam: Seam, anchor: ast.stmt) -> ast.For:
    """Return the loop over batches that holds a statement, or the one of the trainer."""
    holders = source.ancestors(anchor)
    for pattern in LOOPS:
        loops = [loop for scope in source.scopes(seam.scope)[:1] for loop in find(scope, pattern)]
        around = [loop for loop in loops if loop in holders]
        if around or len(loops) == 1:
            return (around or loops)[-1]
    raise NoName("no loop over the batches was found")


def _names_in(source: Source, loop: ast.For) -> Names:
    target = loop.target
    parts = target.elts if isinstance(target, ast.Tuple) else [None, target]
    index, batch = (part.id if isinstance(part, ast.Name) else None for part in (parts[0], parts[1]))
    number = "nb" if "nb" in _assigned(source.function_of(loop)) else "len(self.train_loader)"
    return Names(_preprocessed(loop) or batch, index, number)


def _preprocessed(scope: ast.AST) -> str | None:
    """Return the name that a batch is given where it is brought to the device."""
    names = [node.targets[0] for node in find(scope, "_ = self.preprocess_batch(*_)")]
    return next((name.id for name in reversed(names) if isinstance(name, ast.Name)), None)


def _names_in_helper(source: Source, helper: Function, loop: ast.For, names: Names) -> tuple[Names, list[tuple]]:
    """Return the names in a method that the loop calls; the progress is kept by the loop if it does not hand it on."""
    calls = find(loop, f"self.{helper.name}(*_)")
    if not calls:
        raise NoName(f"the loop over the batches, line {loop.lineno}, does not call {helper.name}()")
    parameters = [argument.arg for argument in helper.args.args[1:]]
    given = [*zip(parameters, calls[0].args), *((word.arg, word.value) for word in calls[0].keywords)]
    own = {value.id: parameter for parameter, value in given if isinstance(value, ast.Name)}
    batch = _preprocessed(helper) or own.get(names.batch) or own.get(_second(loop))
    if names.index in own:
        return Names(batch, own[names.index], "len(self.train_loader)"), []
    if names.index is None:
        return Names(batch, None, names.number), []
    kept = f"{PROGRESS} = {names.index} / {names.number}  # slim: for the loss, which stands in {helper.name}()"
    return Names(batch, names.index, names.number), [(kept, loop.body[0])]


def _second(loop: ast.For) -> str | None:
    last = loop.target.elts[-1] if isinstance(loop.target, ast.Tuple) else loop.target
    return last.id if isinstance(last, ast.Name) else None
