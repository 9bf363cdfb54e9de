"""Which parts of a module its code can come to use: whether a part that did not run may run for other inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import nn

ANY_PART = frozenset("children modules named_children named_modules _modules getattr __getattr__".split())


def may_use(module: nn.Module, part: str) -> bool:
    """Return whether a module's code names one of its parts, or takes parts without naming them."""
    words = words_of(module)
    return part in words or bool(words & ANY_PART) or not words


def words_of(module: nn.Module) -> set[str]:
    """Return the names and strings in the code that runs when a module is called; none of PyTorch's own modules."""
    words: set[str] = set()
    todo, seen = list(_starts(module)), set()
    while todo:
        function = todo.pop()
        if function in seen or (function.__module__ or "").startswith("torch."):
            continue
        seen.add(function)
        found = set(_words(function.__code__))
        words |= found
        todo += _called(module, function, found)
    return words


def _starts(module: nn.Module) -> Iterator[FunctionType]:
    """Give what runs when a module is called: its `forward`, and functions that were put into the object itself."""
    for name in ("forward", "__call__"):
        yield from _functions(inspect.getattr_static(type(module), name, None))
    for value in vars(module).values():
        yield from _functions(getattr(value, "__func__", value))


def _called(module: nn.Module, function: FunctionType, words: Iterable[str]) -> Iterator[FunctionType]:
    """Give the methods of a module, and the functions beside a function's own, that its code names."""
    for word in words:
        yield from _functions(inspect.getattr_static(type(module), word, None))
        yield from _functions(function.__globals__.get(word))


def _functions(value: Any) -> Iterator[FunctionType]:
    """Give the plain functions behind a method, a property or a decorated function."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)  # of static and class methods
    wrapped: Callable | None = value if callable(value) else None
    while wrapped is not None:
        if isinstance(wrapped, FunctionType):
            yield wrapped
        wrapped = getattr(wrapped, "__wrapped__", None)


def _words(code: CodeType) -> Iterator[str]:
    """Give the names and strings that code holds, those of functions in it too."""
    yield from code.co_names
    for value in code.co_consts:
        if isinstance(value, str):
            yield value
        elif isinstance(value, CodeType):
            yield from _words(value)
