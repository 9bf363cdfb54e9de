"""`diff`: one patch file with everything in it, `slim/` included, for `git apply` by hand."""

from __future__ import annotations

import difflib
from pathlib import Path

from patches.apply import SLIM, make_plan
from patches.pin import HERE
from patches.state import STATE, inner
from patches.unified import split_lines


def diff(place: Path, folder: Path = HERE, slim: Path = SLIM) -> bytes:
    """What `apply` would do to the Ultralytics at `place`, as a patch for the folder that holds the package."""
    plan = make_plan(place, folder, slim)
    package = plan.checkout.package
    parts = [plan.checkout.patch.read_bytes().split(b"--- a/")[0]]
    for path, content in plan.after.items():
        if path.name != STATE:
            parts.append(file_diff(f"ultralytics/{inner(package, path)}", plan.before.get(path), content))
    return b"".join(parts)


def file_diff(name: str, old: bytes | None, new: bytes) -> bytes:
    """The diff of one file in git's dialect; `old` is None for a file that is added."""
    head = f"diff --git a/{name} b/{name}\n" + ("new file mode 100644\n" if old is None else "")
    before = "/dev/null" if old is None else f"a/{name}"
    lines = difflib.diff_bytes(
        difflib.unified_diff, split_lines(old or b""), split_lines(new), before.encode(), f"b/{name}".encode(), n=3
    )
    return head.encode() + b"".join(terminated(line) for line in lines)


def terminated(line: bytes) -> bytes:
    """A line of a diff; where the file lacks its last newline, the diff says so."""
    return line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
