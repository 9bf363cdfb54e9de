"""Read and apply unified diffs strictly: every context and removed line must be there, byte for byte.

A hunk may have moved as a whole (other releases have other line numbers), but only to a place that is unique; nothing
is matched approximately and no whitespace is ignored. The one freedom is the line ending: a CRLF file stays CRLF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from patches.errors import DoesNotFit, PatchError

HUNK_HEADER = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
NO_NEWLINE = b"\\"


@dataclass
class Hunk:
    """One hunk: `lines` are (mark, text) with mark ' ', '-' or '+', text without its line ending."""

    number: int
    start: int
    new_start: int
    lines: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def old(self) -> list[bytes]:
        return [text for mark, text in self.lines if mark in b" -"]

    @property
    def new(self) -> list[bytes]:
        return [text for mark, text in self.lines if mark in b" +"]


@dataclass
class FilePatch:
    """The hunks for one file; `path` is relative to the package's parent, such as `ultralytics/engine/trainer.py`."""

    path: str
    hunks: list[Hunk] = field(default_factory=list)

    @property
    def inner(self) -> str:
        """The path inside the package: `engine/trainer.py`."""
        return self.path.removeprefix("ultralytics/")


def read_patch(path: Path) -> list[FilePatch]:
    """Parse a patch file."""
    try:
        return parse_patch(path.read_bytes(), path)
    except OSError as error:
        raise PatchError(f"{path}: cannot be read ({error.strerror}). Restore it from git.") from error


def parse_patch(content: bytes, path: Path) -> list[FilePatch]:
    """Parse a patch's text; what stands before the first `---` line is commentary. `path` is for messages."""
    lines = content.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    files: list[FilePatch] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(b"--- ") and lines[at + 1 : at + 2] and lines[at + 1].startswith(b"+++ "):
            files.append(FilePatch(target_path(lines[at + 1], path, at + 2)))
            at += 2
        elif files and lines[at].startswith(b"@@ "):
            at = read_hunk(lines, at, files[-1], path)
        else:
            at += 1
    return files


def target_path(line: bytes, source: Path, number: int) -> str:
    """`+++ b/ultralytics/x.py` -> `ultralytics/x.py`, refusing anything that leaves the package."""
    name = line[4:].split(b"\t")[0].decode("utf-8").strip()
    parts = name.split("/")
    if len(parts) < 3 or parts[:2] != ["b", "ultralytics"] or ".." in parts or "" in parts:
        raise PatchError(f"{source}:{number}: expected a path b/ultralytics/..., got {name!r}.")
    return "/".join(parts[1:])


def read_hunk(lines: list[bytes], at: int, file: FilePatch, source: Path) -> int:
    """Append the hunk whose header is at `lines[at]` to `file`; return the index of the line after it."""
    match = HUNK_HEADER.match(lines[at])
    if not match:
        raise PatchError(f"{source}:{at + 1}: expected a hunk header such as '@@ -1,3 +1,4 @@'.")
    old_left, new_left = (int(match[group] or 1) for group in (2, 4))
    hunk = Hunk(len(file.hunks) + 1, int(match[1]), int(match[3]))
    while old_left or new_left:
        at += 1
        line = lines[at] if at < len(lines) else b"?"
        mark, text = line[:1] or b" ", line[1:]
        if mark not in b" -+":
            raise PatchError(f"{source}:{at + 1}: hunk {hunk.number} for {file.path} is cut short or damaged.")
        old_left, new_left = old_left - (mark in b" -"), new_left - (mark in b" +")
        hunk.lines.append((mark, text))
    if lines[at + 1 : at + 2] and lines[at + 1].startswith(NO_NEWLINE):
        raise PatchError(f"{source}:{at + 2}: an edit at a missing last newline; end the file with one first.")
    file.hunks.append(hunk)
    return at + 1


def apply_to_bytes(content: bytes, file: FilePatch) -> bytes:
    """Return `content` with all hunks of `file` applied; raises `DoesNotFit` at the first that does not fit."""
    lines = split_lines(content)
    texts = [line.removesuffix(b"\n").removesuffix(b"\r") for line in lines]
    result: list[bytes] = []
    done, shift = 0, 0
    for hunk in file.hunks:
        at = locate(texts, hunk, file.path, done, hunk.start - 1 + shift)
        shift = at - (hunk.start - 1)
        result += lines[done:at]
        result += rewrite(lines[at : at + len(hunk.old)], hunk)
        done = at + len(hunk.old)
    return b"".join(result + lines[done:])


def render(file: FilePatch) -> bytes:
    """The text of the patch of one file."""
    head = f"--- a/{file.path}\n+++ b/{file.path}\n".encode()
    return head + b"".join(
        f"@@ -{hunk.start},{len(hunk.old)} +{hunk.new_start},{len(hunk.new)} @@\n".encode()
        + b"".join(mark + text + b"\n" for mark, text in hunk.lines)
        for hunk in file.hunks
    )


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a file with their endings, which are \\n or \\r\\n; a lone \\r ends no line."""
    return re.findall(rb"[^\n]*\n|[^\n]+", content)


def reversed_patch(file: FilePatch) -> FilePatch:
    """The patch that takes `file` back."""
    swapped = {b"+": b"-", b"-": b"+", b" ": b" "}
    hunks = [
        Hunk(hunk.number, hunk.new_start, hunk.start, [(swapped[mark], text) for mark, text in hunk.lines])
        for hunk in file.hunks
    ]
    return FilePatch(file.path, hunks)


def locate(texts: list[bytes], hunk: Hunk, path: str, first: int, expected: int) -> int:
    """Index where the old lines of `hunk` stand: the expected one if it matches, else the only one that does."""
    old = hunk.old
    if not old:
        raise DoesNotFit(f"{path}: hunk {hunk.number} has no context, so its place cannot be checked.")
    places = [at for at in range(first, len(texts) - len(old) + 1) if texts[at : at + len(old)] == old]
    if expected in places:
        return expected
    if len(places) == 1:
        return places[0]
    if not places:
        raise DoesNotFit(f"{path}: hunk {hunk.number} (line {hunk.start}) does not fit: {explain(texts, old, first)}")
    found = ", ".join(str(at + 1) for at in places[:5]) + (", ..." if len(places) > 5 else "")
    raise DoesNotFit(f"{path}: hunk {hunk.number} (line {hunk.start}) fits at lines {found}; it needs more context.")


def explain(texts: list[bytes], old: list[bytes], first: int) -> str:
    """Say which line is missing, or where it stands instead, as the reason why a hunk does not fit."""
    for text in old:
        if text in texts[first:]:
            continue
        shown = repr(text.decode("utf-8", "replace").strip())
        if text in texts:
            return f"the line {shown} stands before the place of the previous hunk, at line {texts.index(text) + 1}."
        alike = [str(at) for at, other in enumerate(texts, 1) if other.strip() == text.strip()]
        if alike:
            listed = ", ".join(alike[:5]) + (", ..." if len(alike) > 5 else "")
            return f"the line {shown} has other white space around it: line {listed}."
        return f"the line {shown} is not there."
    return "its lines are there, but not next to each other."


def rewrite(lines: list[bytes], hunk: Hunk) -> list[bytes]:
    """The new lines of `hunk`; kept lines stay as they are, added ones take the line ending around them."""
    ending = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    kept, result = iter(lines), []
    for mark, text in hunk.lines:
        if mark == b"+":
            result.append(text + ending)
            continue
        line = next(kept)
        if mark == b" ":
            result.append(line)
    return result
