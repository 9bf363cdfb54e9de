"""Where the seams of one file go, found in the parsed code; and what to tell a person where they cannot be placed.

The lines that a seam adds are those of the patch, at the indentation of the statement beside which they are put.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from patches.names import NoName, filled
from patches.patterns import find, matches
from patches.seams import SCALINGS, Place, Seam, is_python, key_line, standing
from patches.source import Source

IN_PLACE, PLACED, AMBIGUOUS, NOT_FOUND = "in place", "would be placed", "ambiguous", "not found"


@dataclass(frozen=True)
class Edit:
    """`lines` instead of `removed` lines from index `at` on; `follows` if they go with what stands before them."""

    at: int
    removed: int
    lines: list[bytes]
    follows: bool = False

    @property
    def rank(self) -> tuple[int, bool, int]:
        """The order of edits: in one gap, what ends a block, the innermost first, then what begins the next."""
        depth = len(self.lines[0]) - len(self.lines[0].lstrip()) if self.follows else 0
        return self.at, not self.follows, -depth


@dataclass(frozen=True)
class Finding:
    """What became of one seam: `lines` are what it adds, `line` is where, counted from 1.

    `candidates` are the numbers of lines among which a person must choose, `kept` those of settings that are there.
    """

    seam: Seam
    state: str
    lines: list[str]
    line: int = 0
    edits: list[Edit] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    reason: str = ""

    @property
    def is_settled(self) -> bool:
        return self.state in (IN_PLACE, PLACED)


class NoPlace(Exception):
    """A seam cannot be placed: `candidates` are the lines that may be meant, empty where there is none."""

    def __init__(self, reason: str, candidates: list[int] | None = None) -> None:
        super().__init__(reason)
        self.candidates = candidates or []


def place_seams(source: Source, seams: list[Seam], additions: dict[Seam, list[str]]) -> list[Finding]:
    """Return for each seam of a file where it stands or would be placed, or why it cannot be."""
    return [_place_seam(source, seam, additions[seam]) for seam in seams if seam in additions]


def _place_seam(source: Source, seam: Seam, addition: list[str]) -> Finding:
    if not is_python(seam.file):
        return _place_keys(source, seam, addition)
    nodes = standing(source, seam)
    if seam.gone:
        return _remove(source, seam, nodes)
    if nodes:
        return Finding(seam, IN_PLACE, addition, nodes[0].lineno)
    try:
        place, statements = _choose(source, seam)
        return _beside(source, seam, place, statements, addition)
    except (NoPlace, NoName) as error:
        candidates = getattr(error, "candidates", [])
        state = AMBIGUOUS if candidates else NOT_FOUND
        return Finding(seam, state, addition, candidates=candidates, reason=str(error))


# Choosing ----------------------------------------------------------------------------------------------------------


def _choose(source: Source, seam: Seam) -> tuple[Place, list[ast.stmt]]:
    """Return the first place that there is, looked for in the seam's function and then in the class, and where."""
    scopes = source.scopes(seam.scope)
    if not scopes:
        raise NoPlace(f"there is no {seam.scope}")
    for scope in scopes:
        for place in seam.places:
            statements = _statements(source, scope, seam, place)
            if statements:
                return place, _agree(source, place, statements)
    raise NoPlace(f"no code in {seam.scope or 'the file'} reads like the one beside which it stands")


def _statements(source: Source, scope: ast.AST, seam: Seam, place: Place) -> list[ast.stmt]:
    """Return the statements of `scope` that a place may mean, in the order of the source."""
    if place.how == "above":
        return [scope] if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
    found = dict.fromkeys(source.statement_of(node) for node in find(scope, *place.codes))
    found = [statement for statement in found if not source.is_handler(statement)]
    if isinstance(scope, ast.Module):
        found = [statement for statement in found if source.parents[statement] is scope]
    if place.how == "instead":  # what is done there now and then is no place for what is done always
        found = [statement for statement in found if source.parents[statement] is scope and _is_bare(statement)]
    if place.how == "after" and seam.before:
        found = [statement for statement in found if not _is_late(source, seam, statement)]
    return [statement for statement in found if not place.anew or _is_anew(statement)]


def _is_bare(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr)


def _is_late(source: Source, seam: Seam, statement: ast.stmt) -> bool:
    """Tell whether what a seam comes before is over when a statement runs."""
    later = find(source.function_of(statement), *seam.before)
    return bool(later) and later[-1].lineno < statement.lineno


def _is_anew(statement: ast.stmt) -> bool:
    """Tell whether an assignment makes its value rather than change what is there; summing makes it."""
    if not isinstance(statement, ast.Assign) or isinstance(statement.value, ast.Constant):
        return False
    return matches("_ = _.sum()", statement) or not _reads_itself(statement)


def _reads_itself(statement: ast.Assign) -> bool:
    target = statement.targets[0]
    first = target.elts[0] if isinstance(target, ast.Tuple) else target
    return bool(find(statement.value, ast.unparse(first)))


def _agree(source: Source, place: Place, statements: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements beside which a seam goes: one, or one in each arm of an `if`; else that is ambiguous."""
    kept = [statements[0]]
    for statement in statements[1:]:
        after = statement
        for other in [other for other in kept if place.latest and not source.exclude_each_other(other, statement)]:
            outermost = source.condition_of(statement, other)
            if outermost is statement or (isinstance(statement, ast.Assign) and _reads_itself(statement)):
                kept.remove(other)
                after = outermost
        kept.append(after)
    pairs = ((one, other) for at, one in enumerate(kept) for other in kept[at + 1 :])
    if not all(source.exclude_each_other(one, other) for one, other in pairs):
        raise NoPlace("more than one statement may be the one that is meant", [node.lineno for node in kept])
    return kept


# Placing -----------------------------------------------------------------------------------------------------------


def _beside(source: Source, seam: Seam, place: Place, anchors: list[ast.stmt], addition: list[str]) -> Finding:
    """Return the edits that put the lines before, after or instead of each of the statements."""
    edits: list[Edit] = []
    for anchor in anchors:
        if place.anew and isinstance(anchor, ast.Assign) and _is_scaled(anchor.value):
            raise NoPlace("it is scaled in the statement that makes it; sum and scale in two", [anchor.lineno])
        if place.how != "above" and source.shares_its_line(anchor):
            raise NoPlace("it shares its line with other code; give it one of its own", [anchor.lineno])
        lines, elsewhere = filled(source, seam, anchor, addition)
        span = _span(source, place, anchor)
        edits.append(Edit(*span, _indented(lines, source.indent(anchor)), follows=span[0] == anchor.end_lineno))
        edits += [Edit(first.lineno - 1, 0, _indented([line], source.indent(first))) for line, first in elsewhere]
    return Finding(seam, PLACED, addition, edits[0].at + 1, edits)


def _is_scaled(value: ast.expr) -> bool:
    """Tell whether a value is a product or a quotient, in one of its forms at least."""
    if isinstance(value, ast.IfExp):
        return _is_scaled(value.body) or _is_scaled(value.orelse)
    return isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Mult, ast.Div))


def scaled_before(source: Source, seam: Seam) -> list[int]:
    """Return the lines that scale a loss before the seam that adds to it, where placing puts it before them."""
    if not any(place.anew for place in seam.places):
        return []
    try:
        made = _choose(source, seam)[1]
    except NoPlace:
        return []
    seen = standing(source, seam)[0]
    function = source.function_of(seen)
    assigned = [node for node in find(function, *seam.after) if isinstance(node, ast.Assign)]
    scaled = [node for node in assigned if _scales_itself(node) or (node in made and _is_scaled(node.value))]
    lines = [node.lineno for node in [*scaled, *find(function, *SCALINGS)]]
    return sorted(line for line in lines if made[0].lineno <= line < seen.lineno)


def _scales_itself(statement: ast.Assign) -> bool:
    """Tell whether an assignment changes a value that is there by a product or a quotient."""
    target = ast.unparse(statement.targets[0])
    return any(_is_scaled(node) and find(node, target) for node in ast.walk(statement.value))


def _span(source: Source, place: Place, anchor: ast.stmt) -> tuple[int, int]:
    """Return the index of the first line that an edit replaces, and how many it does."""
    if place.how == "after" or (anchor.lineno == 1 and source.has_mark):
        return anchor.end_lineno, 0
    return anchor.lineno - 1, (anchor.end_lineno - anchor.lineno + 1) * (place.how == "instead")


def _indented(lines: list[str], indent: bytes) -> list[bytes]:
    return [indent + line.encode() if line else b"" for line in lines]


def _remove(source: Source, seam: Seam, nodes: list[ast.AST]) -> Finding:
    """Return the edit that takes a statement away; one that stands alone in its block becomes `pass`."""
    edits = []
    for node in nodes:
        statement = source.statement_of(node)
        if not _is_bare(statement) or source.shares_its_line(statement):
            return Finding(seam, AMBIGUOUS, [], candidates=[node.lineno], reason="it is part of other code")
        lines = [source.indent(statement) + b"pass"] if _is_alone(source, statement) else []
        edits.append(Edit(statement.lineno - 1, statement.end_lineno - statement.lineno + 1, lines))
    return Finding(seam, PLACED if edits else IN_PLACE, [], edits[0].at + 1 if edits else 0, edits)


def _is_alone(source: Source, statement: ast.stmt) -> bool:
    blocks = (value for _, value in ast.iter_fields(source.parents[statement]) if isinstance(value, list))
    return any(block == [statement] for block in blocks)


# Files that are not Python -----------------------------------------------------------------------------------------


def _place_keys(source: Source, seam: Seam, addition: list[str]) -> Finding:
    """Return the edit that adds the keys that are not there yet."""
    missing = [line for line in addition if not line or not key_line(source, key_of(line))]
    kept = [key_line(source, key_of(line)) for line in addition if line not in missing]
    if not any(missing):
        return Finding(seam, IN_PLACE, addition, key_line(source, seam.code), kept=kept)
    for place in seam.places:
        at = next((at for at in (key_line(source, code) for code in place.codes) if at), 0)
        if at or place.how == "end":
            index = at - 1 if at else source.last_key()
            edit = Edit(index, 0, _indented(missing, b""))
            return Finding(seam, PLACED, addition, index + 1, [edit], kept=kept)
    return Finding(seam, NOT_FOUND, addition, reason="the file has no such line")


def key_of(line: str) -> str:
    return line.split(":")[0] + ":"
