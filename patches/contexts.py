"""Write unified diffs that quote as little of the edited file as makes each place certain.

Usually that is the one line after an edit. Less quoted text is less that can differ in another release, so that one
patch serves more of them; and it occurs once in the file, so that the patch cannot land, or be taken back, elsewhere.
"""

from __future__ import annotations

import difflib

Lines = list[bytes]
MOST_LINES = 60  # of context that are tried, before the whole file is quoted
Change = tuple[int, int, int, int]  # old[i:j] becomes new[k:l]


def minimal_diff(name: str, old: Lines, new: Lines) -> bytes:
    """The diff of one file; `old` and `new` are its lines with their endings."""
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return diff_of_changes(name, old, new, [tuple(span) for tag, *span in opcodes if tag != "equal"])


def diff_of_changes(name: str, old: Lines, new: Lines, changes: list[Change]) -> bytes:
    """The diff of one file of which it is known what changed where."""
    hunks = b"".join(hunk(old, new, *group) for group in widen(old, new, changes))
    return f"--- a/ultralytics/{name}\n+++ b/ultralytics/{name}\n".encode() + hunks


def widen(old: Lines, new: Lines, changes: list[Change]) -> list[tuple[int, int, list[Change]]]:
    """Give each change the span of old lines that shows where it is; changes whose spans meet share a hunk."""
    groups: list[tuple[int, int, list[Change]]] = []
    for change in changes:
        first, last = certain_span(old, new, change)
        if groups and first <= groups[-1][1]:
            first, _, together = groups.pop()
            groups.append((first, last, [*together, change]))
        else:
            groups.append((first, last, [change]))
    return groups


def certain_span(old: Lines, new: Lines, change: Change) -> tuple[int, int]:
    """The smallest span of old lines around `change` that occurs once, before and after, and goes on behind the change.

    Git wants that; at the end of the file the span begins before the change instead, so that there is context at all.
    Docstrings are quoted only where nothing else makes the place certain: they are prose, and change often.
    """
    start, end, new_start, new_end = change
    most = min(len(old) + 1, MOST_LINES)
    sizes = [(size, before) for size in range(1, most + 1) for before in range(size)]
    for quoting_prose in (False, True):
        for size, before in sizes:
            first, last = max(start - before, 0), min(end + size - before, len(old))
            changed = new[new_start - (start - first) : new_end + (last - end)]
            shown = last > end or (last == len(old) and first < start)
            prose = any(b'"""' in line for line in old[first:start] + old[end:last])
            if shown and prose <= quoting_prose and occurrences(old, old[first:last]) == occurrences(new, changed) == 1:
                return first, last
    return 0, len(old)


def occurrences(lines: Lines, part: Lines) -> int:
    """How often `part` stands in `lines`; a part of blank lines only is nowhere certain."""
    if not any(line.strip() for line in part):
        return 0
    return sum(lines[at : at + len(part)] == part for at in range(len(lines) - len(part) + 1))


def hunk(old: Lines, new: Lines, first: int, last: int, changes: list[Change]) -> bytes:
    """The text of one hunk over `old[first:last]`."""
    body, at = [], first
    for start, end, new_start, new_end in changes:
        body += [b" " + line for line in old[at:start]]
        body += [b"-" + line for line in old[start:end]]
        body += [b"+" + line for line in new[new_start:new_end]]
        at = end
    body += [b" " + line for line in old[at:last]]
    new_first = changes[0][2] - (changes[0][0] - first)
    new_size = sum(not line.startswith(b"-") for line in body)
    head = f"@@ -{first + 1},{last - first} +{new_first + 1},{new_size} @@\n"
    return head.encode() + b"".join(body)
