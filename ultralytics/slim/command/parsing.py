"""Read a command line of `STAGE key=value ...` in Ultralytics' manner, with a hint for what is misspelt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

from ultralytics.cfg import DEFAULT_CFG_DICT, merge_equals_args, parse_key_value_pair

from ..errors import UsageError
from ..hints import hint

ULTRALYTICS = frozenset(DEFAULT_CFG_DICT) - {"model", "mode", "task", "cfg"}  # keys of any stage

NAMES = frozenset(  # of files and folders, which may be called 2024
    "weights t_weight teacher original data images unlabelled compare project name save_dir folder data_path".split()
)


def parse(
    args: list[str], stages: dict[str, set[str]], parts: dict[str, set[str]] | None = None
) -> tuple[str, dict[str, object]]:
    """Return (stage, {key: value}).

    Args:
        args: The words after the program's name.
        stages: Stage -> the keys it takes; the first one is meant where none is named.
        parts: Part of the first stage -> the keys that may be given for it alone, as `PART.key=value`.

    Raises:
        UsageError: An unknown stage or key, or a key without a value; names the nearest known one.
    """
    default, parts = next(iter(stages)), parts or {}
    try:
        words = merge_equals_args([a.removeprefix("--") for a in args])
    except SyntaxError as error:  # a bracket that is not closed
        raise UsageError(str(error)) from error
    first = words[0] if words else ""
    named = first in stages or (bool(first) and "=" not in first and first not in stages[default])
    stage = words.pop(0) if named else default
    if stage not in stages:
        raise UsageError(f"no stage '{stage}'{hint(stage, stages)}; the stages are {', '.join(stages)}")
    pairs = dict(_pair(word, stages[stage]) for word in words)
    for key in pairs:
        part, dot, name = key.rpartition(".")
        if dot and stage != default:
            raise UsageError(f"'{key}' is for {default}, which has parts; for {stage} alone write {name}=VALUE")
        if dot and part not in parts:
            listed = ", ".join(parts)
            raise UsageError(f"'{key}': no part '{part}'{hint(part, parts)}; the parts of {default} are {listed}")
        known = parts[part] if dot else stages[stage]
        if name not in known:
            instead = hint(name, known)
            raise UsageError(f"'{name}' is not a key of {part or stage}{instead}; --help shows the usual ones")
    return stage, pairs


def require(stage: str, keys: dict, method: Callable) -> None:
    """Raise UsageError where a key is missing without which the stage's method cannot be called."""
    parameters = inspect.signature(method).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if missing := [name for name in needed if name != "self" and name not in keys]:
        raise UsageError(f"{stage} needs {' and '.join(f'{name}=...' for name in missing)}")


def _pair(word: str, known: Iterable[str]) -> tuple[str, object]:
    if "=" in word:
        try:
            key, value = parse_key_value_pair(word.rstrip(","))
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return key, word.rstrip(",").partition("=")[2].strip() if key in NAMES and is_number else value
        except AssertionError:
            raise UsageError(f"'{word}' lacks a value; write {word.rstrip('= ')}=VALUE") from None
    if word in ("resume", "dry_run", "safe", *(k for k, v in DEFAULT_CFG_DICT.items() if isinstance(v, bool))):
        return word, True
    if word in known:
        raise UsageError(f"'{word}' lacks a value; write {word}=VALUE")
    raise UsageError(f"'{word}' is not key=value{hint(word, known)}")
