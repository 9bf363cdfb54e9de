"""A Python file as parsed code with its lines: the function and the statement of a node, and what holds it."""

from __future__ import annotations

import ast
import re

Function = ast.FunctionDef | ast.AsyncFunctionDef
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CONDITIONS = (ast.If, ast.For, ast.While, ast.Try, ast.Match)
SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Source:
    """`lines` are without their endings; `tree` is None, and `fault` says why, where the file is not Python."""

    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        self.has_mark = content.startswith(BYTE_ORDER_MARK)
        self.is_terminated = content.endswith(b"\n")
        unmarked = content.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\n")
        self.lines = [line.removesuffix(b"\r") for line in unmarked.split(b"\n")]
        self.tree: ast.Module | None = None
        self.fault, self.parents = "", {}
        try:
            self.tree = ast.parse(re.sub(rb"\r(?!\n)", b" ", content), name)  # a lone \r ends no line in a patch
        except (SyntaxError, ValueError) as error:
            self.fault = f"it does not parse under this Python: line {getattr(error, 'lineno', None)}, {error}"
            return
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def find_scope(self, dotted: str) -> ast.AST | None:
        """Return the class or function named by `BaseTrainer.__init__`; the module itself for an empty name."""
        scope: ast.AST | None = self.tree
        for name in filter(None, dotted.split(".")):
            inner = (node for node in ast.walk(scope) if isinstance(node, SCOPES) and node.name == name)
            scope = next(inner, None)
            if scope is None:
                return None
        return scope

    def scopes(self, dotted: str) -> list[ast.AST]:
        """Return the function `Class.function` and the class, in which its code may stand too; what there is."""
        class_name = dotted.rpartition(".")[0]
        found = [self.find_scope(dotted), self.find_scope(class_name) if class_name else None]
        return [scope for scope in found if scope is not None]

    def ancestors(self, node: ast.AST) -> list[ast.AST]:
        """Return what holds a node, the nearest first, the node itself before that."""
        chain = [node]
        while chain[-1] in self.parents:
            chain.append(self.parents[chain[-1]])
        return chain

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """Return the nearest statement that holds a node; the node itself if it is one."""
        return next(holder for holder in self.ancestors(node) if isinstance(holder, ast.stmt))

    def function_of(self, node: ast.AST) -> Function | ast.Module:
        """Return the function in which a node stands, or the module."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)
        return next(holder for holder in self.ancestors(node)[1:] if isinstance(holder, kinds))

    def is_handler(self, node: ast.AST) -> bool:
        """Tell whether a node stands where an exception is dealt with."""
        return any(isinstance(holder, ast.ExceptHandler) for holder in self.ancestors(node))

    def parting(self, first: ast.AST, second: ast.AST) -> tuple[ast.AST, list[ast.AST], list[ast.AST]]:
        """Return the nearest node that holds both, and what lies between it and the one and the other, these last."""
        ones, others = self.ancestors(first), self.ancestors(second)
        shared = next(holder for holder in ones if holder in others)
        return shared, ones[: ones.index(shared)][::-1], others[: others.index(shared)][::-1]

    def exclude_each_other(self, first: ast.AST, second: ast.AST) -> bool:
        """Tell whether two statements stand in different arms of one `if`."""
        shared, ones, others = self.parting(first, second)
        if not (isinstance(shared, ast.If) and ones and others):
            return False
        return (ones[0] in shared.body) != (others[0] in shared.body)

    def condition_of(self, later: ast.stmt, earlier: ast.stmt) -> ast.stmt:
        """Return the outermost condition of `later` that is none of `earlier`; `later` itself if there is none."""
        between = self.parting(earlier, later)[2]
        return next((holder for holder in between[:-1] if isinstance(holder, CONDITIONS)), later)

    def indent(self, statement: ast.stmt) -> bytes:
        """Return the white space before a statement."""
        line = self.lines[statement.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def last_key(self) -> int:
        """Return the index behind the last line; of the last that begins a key where it must stay the last line."""
        keys = [at for at, line in enumerate(self.lines) if line[:1].isalpha()]
        return len(self.lines) if self.is_terminated or not keys else keys[-1]

    def shares_its_line(self, statement: ast.stmt) -> bool:
        """Tell whether other code stands on the first or the last line of a statement, as after `if x:` or `;`."""
        before = self.lines[statement.lineno - 1][: statement.col_offset]
        after = self.lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
        return bool(before.strip()) or not (after == b"" or after.startswith(b"#"))

    def text(self, line: int) -> str:
        """Return one line, counted from 1, to be shown."""
        return self.lines[line - 1].decode("utf-8", "replace").strip()
