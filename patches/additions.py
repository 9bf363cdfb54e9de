"""The lines that each seam adds, taken from the patch, without the indentation of their place."""

from __future__ import annotations

import ast
import textwrap
from itertools import groupby

from patches.patterns import find
from patches.seams import Seam, is_python
from patches.unified import FilePatch


def additions_of(file: FilePatch, seams: list[Seam]) -> dict[Seam, list[str]]:
    """Return what a patch adds for each seam of one file, nothing for one that takes code away.

    A seam that the patch does not make is left out.
    """
    runs = [run for hunk in file.hunks for run in _runs(hunk.lines)]
    found = {}
    for seam in seams:
        if seam.gone:
            found[seam] = []
        for run in runs:
            if not seam.gone and _makes(run, seam):
                found[seam] = run
    return found


def _runs(lines: list[tuple[bytes, bytes]]) -> list[list[str]]:
    """Return the added lines of a hunk, each group of neighbours with its common indentation taken off."""
    groups = (list(group) for mark, group in groupby(lines, key=lambda line: line[0]) if mark == b"+")
    return [textwrap.dedent("\n".join(text.decode() for _, text in group)).split("\n") for group in groups]


def _makes(run: list[str], seam: Seam) -> bool:
    """Tell whether lines hold the code of a seam."""
    if not is_python(seam.file):
        return any(line.startswith(seam.code) for line in run)
    text = "\n".join(run)
    try:
        tree = ast.parse(text + "\ndef _(): pass" if text.startswith("@") else text)
    except SyntaxError:
        return False
    return bool(find(tree, seam.code))
