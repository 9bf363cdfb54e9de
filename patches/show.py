"""`show`: where each of our edits stands, or would be placed, or what a person has to choose."""

from __future__ import annotations

import os
from pathlib import Path

from patches.checkout import find_checkout
from patches.fit import FileFit, fit
from patches.pin import HERE
from patches.placing import Finding
from patches.seams import Seam
from patches.unified import read_patch


def show(place: Path, folder: Path = HERE) -> str:
    """Every edit, in the order of the files, with the lines that it adds; changes nothing."""
    checkout = find_checkout(Path(os.path.abspath(place)), folder)
    parts = [f"{checkout.release} in {checkout.package}, {checkout.patch.name}."]
    parts += [f"Warning: {checkout.warning}"] if checkout.warning else []
    for file in fit(checkout.package, read_patch(checkout.patch)):
        parts.append("\n" + file.patch.path)
        parts += dict.fromkeys(_told(finding, file) for finding in file.findings)
        if file.fault and not file.unsettled:
            parts.append(f"  cannot be patched: {file.fault}")
    return "\n".join(parts)


def _told(finding: Finding, file: FileFit) -> str:
    """Where one edit is or goes, with its lines."""
    if not finding.is_settled:
        return by_hand(finding, file.before)
    if finding.seam.gone:
        where = f"to be removed at {file.patch.path}:{finding.line}" if finding.line else "removed"
        return f"  {where}: {finding.seam.text}"
    return "\n".join([f"  {finding.state} at {file.patch.path}:{finding.line}:", *_indented(finding.lines)])


def by_hand(finding: Finding, content: bytes) -> str:
    """Why one edit could not be placed, which lines may be meant, and what to add beside the one that is."""
    lines = content.decode("utf-8", "replace").split("\n")
    told = [f"  {finding.state}: {finding.seam.text}: {finding.reason}"]
    told += [f"    line {number}: {lines[number - 1].strip()}" for number in finding.candidates]
    if finding.seam.gone:
        return "\n".join([*told, "    Take it away by hand."])
    return "\n".join([*told, f"    Add by hand, {_where(finding.seam)}:", *_indented(finding.lines)])


def _where(seam: Seam) -> str:
    scope = f" in {seam.scope}" if seam.scope else ""
    return f"{seam.places[0]}{scope}, at its indentation" if seam.places[0].codes else f"{seam.places[0]}{scope}"


def _indented(lines: list[str]) -> list[str]:
    return [f"        {line}".rstrip() for line in lines]
