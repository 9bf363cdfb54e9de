"""Carry a change of the newest patch over to the patches for older releases.

For each hunk of the newest patch, the older one may hold a twin: a hunk that adds the same lines, indented as it may
be, at a place of its own. The twin keeps its place; a hunk without one is taken as it is. Where that does not fit,
somebody writes the twin once, by hand; from then on this keeps all patches in step.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from patches.contexts import minimal_diff
from patches.edit import check_result, work_out
from patches.errors import DoesNotFit
from patches.fetch import fetch_release, unpack
from patches.pin import HERE, Range, load_series
from patches.refresh import read_header, write_patch
from patches.unified import FilePatch, Hunk, apply_to_bytes, locate, parse_patch, read_patch, split_lines


def carry(folder: Path = HERE) -> str:
    """Rewrite every patch but the newest; returns what was done. Needs one wheel a range, from the cache or pip."""
    *older, newest = load_series(folder)
    wanted = read_patch(folder / newest.patch)
    return "\n".join(carry_to(entry, wanted, folder) for entry in older) or "There is one patch, so nothing to carry."


def carry_to(entry: Range, wanted: list[FilePatch], folder: Path) -> str:
    """Rewrite the patch of one older range, from the last release in it."""
    path = folder / entry.patch
    twins = {file.path: file.hunks for file in read_patch(path)}
    with tempfile.TemporaryDirectory() as scratch:
        package = unpack(fetch_release(entry.last), Path(scratch))
        body = b""
        for file in wanted:
            target = package / file.inner
            old = target.read_bytes() if target.is_file() else b""
            new = apply_to_bytes(old, choose_hunks(old, file, twins.get(file.path, []), entry))
            target.write_bytes(new)
            body += minimal_diff(file.inner, split_lines(old), split_lines(new))
    carried = parse_patch(body, path)
    for version in (entry.first, entry.last):
        prove(carried, version)
    write_patch(path, read_header(path) + body)
    return f"{path.name}: carried over, tried on {entry.first} and {entry.last}"


def prove(patch: list[FilePatch], version: str) -> None:
    """Raise unless `patch` applies to a release, leaves every seam in place, and can be taken back."""
    with tempfile.TemporaryDirectory() as scratch:
        package = unpack(fetch_release(version), Path(scratch))
        try:
            _, after = work_out(package, patch)
            check_result(package, patch, after)
        except DoesNotFit as error:
            raise DoesNotFit(f"Ultralytics {version}: {error}") from error


def choose_hunks(content: bytes, file: FilePatch, twins: list[Hunk], entry: Range) -> FilePatch:
    """The hunks of `file`, or their twins, that fit `content`, in the order in which they stand there."""
    texts = [line.rstrip(b"\r\n") for line in split_lines(content)]
    placed: list[tuple[int, Hunk]] = []
    for hunk in file.hunks:
        for candidate in (*(twin for twin in twins if essence(twin) == essence(hunk)), hunk):
            place = place_of(texts, candidate, file.path)
            if place is not None:
                placed.append((place, candidate))
                break
        else:
            raise DoesNotFit(
                f"{file.path}: hunk {hunk.number} (line {hunk.start}) of the newest patch does not fit {entry.last}, "
                f"and {entry.patch} has no hunk with the same lines. Add one there by hand:\n"
                + "\n".join(f"  {text.decode()}" for _, text in essence(hunk))
            )
    return FilePatch(file.path, [hunk for _, hunk in sorted(placed, key=lambda pair: pair[0])])


def place_of(texts: list[bytes], hunk: Hunk, path: str) -> int | None:
    """Where `hunk` fits, or None."""
    try:
        return locate(texts, hunk, path, 0, hunk.start - 1)
    except DoesNotFit:
        return None


def essence(hunk: Hunk) -> list[tuple[bytes, bytes]]:
    """What a hunk adds and removes, whatever the indentation and the context."""
    return [(mark, text.strip()) for mark, text in hunk.lines if mark != b" "]
