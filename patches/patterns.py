"""Patterns of Python code, written as code: `_` stands for anything, `*_` for any further arguments.

`self.loss, _ = _` is an assignment of two values whose first goes to `self.loss`; `get_cfg(*_)` a call of `get_cfg`
with any arguments; `from _ import _` any such line. Layout, quotes and comments do not matter. The body of a loop in a
pattern stands for one statement or expression, somewhere in the body of the loop that is meant, not of one within it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

ANYTHING = "_"
LAYOUT = {"ctx", "type_comment", "kind"}  # fields that say nothing about what code does


def find(scope: ast.AST, *patterns: str) -> list[ast.AST]:
    """Return the nodes in `scope` that read like one of the patterns, in the order of the source."""
    wanted = [_parse(pattern) for pattern in patterns]
    found = [node for node in ast.walk(scope) if any(_matches(pattern, node) for pattern in wanted)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def matches(pattern: str, node: ast.AST) -> bool:
    """Tell whether a node reads like a pattern."""
    return _matches(_parse(pattern), node)


@cache
def _parse(pattern: str) -> ast.AST:
    """Return the pattern as a statement, or as an expression if it is one, which may then stand in any statement."""
    (statement,) = ast.parse(pattern).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def _matches(pattern: object, node: object) -> bool:
    if isinstance(pattern, ast.Name) and pattern.id == ANYTHING:
        return isinstance(node, ast.expr)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(map(_matches, pattern, node))
    if isinstance(pattern, ast.Call) and _is_open(pattern):
        given = pattern.args[:-1]
        return _matches(pattern.func, node.func) and _matches(given, node.args[: len(given)])
    if isinstance(pattern, ast.For):
        head = all(_matches(getattr(pattern, part), getattr(node, part)) for part in ("target", "iter"))
        return head and any(_matches(_unwrapped(pattern.body[0]), inner) for inner in _of_this_loop(node))
    if isinstance(pattern, ast.ImportFrom) and pattern.names[0].name == ANYTHING:
        return pattern.module in (ANYTHING, node.module)
    if isinstance(pattern, ast.AST):
        fields = [field for field in pattern._fields if field not in LAYOUT]
        return all(_matches(getattr(pattern, field), getattr(node, field)) for field in fields)
    return pattern == node


def _is_open(call: ast.Call) -> bool:
    """Tell whether a call in a pattern ends in `*_`."""
    last = call.args[-1] if call.args else None
    return isinstance(last, ast.Starred) and isinstance(last.value, ast.Name) and last.value.id == ANYTHING


def _unwrapped(statement: ast.stmt) -> ast.AST:
    return statement.value if isinstance(statement, ast.Expr) else statement


def _of_this_loop(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands in a loop, loops within it left out."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.For, ast.While, ast.FunctionDef, ast.Lambda)):
            yield from _of_this_loop(child)
