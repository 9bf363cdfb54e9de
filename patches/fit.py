"""Fit the patch to one checkout: as text where it fits so, else each edit where the parsed code says that it goes.

What was placed is written as an exact patch of this checkout, so that it is applied, noted and taken back like any.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from patches import seams
from patches.additions import additions_of
from patches.contexts import diff_of_changes
from patches.edit import apply_both_ways, read_edited
from patches.errors import DoesNotFit
from patches.placing import IN_PLACE, PLACED, Edit, Finding, place_seams, scaled_before
from patches.seams import find_faults, is_python, key_line, standing
from patches.source import Source
from patches.unified import FilePatch, parse_patch


@dataclass(frozen=True)
class FileFit:
    """One file: its content before and after, the patch that makes it so, and what became of each seam.

    `fault` says why it cannot be patched. Where the patch did not fit as text, `misfit` says why.
    """

    patch: FilePatch
    before: bytes
    after: bytes
    findings: list[Finding] = field(default_factory=list)
    misfit: str = ""
    fault: str = ""

    @property
    def unsettled(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.is_settled]


def fit(package: Path, patch: list[FilePatch]) -> list[FileFit]:
    """Fit every file of a patch to `package`; raises `DoesNotFit` for one that is not there."""
    return [fit_file(read_edited(package, file), file) for file in patch]


def fit_file(content: bytes, file: FilePatch) -> FileFit:
    """Fit the patch of one file to its content."""
    own = [seam for seam in seams.SEAMS if seam.file == file.inner]
    source = Source(content, file.inner)
    findings = place_seams(source, own, additions_of(file, own)) if _is_read(source) else []
    try:
        if any(finding.kept or (finding.state == IN_PLACE and not finding.seam.gone) for finding in findings):
            raise DoesNotFit(f"{file.path}: some of the edits are there already.")
        after = apply_both_ways(content, file)
        if faults := find_faults(after, own):
            raise DoesNotFit(f"{file.path}: put where its lines fit, the patch is out of place: {'; '.join(faults)}")
        patched = Source(after, file.inner)
        if lines := [line for seam in own for line in scaled_before(patched, seam)]:
            raise DoesNotFit(f"{file.path}:{lines[0]}: the loss is scaled before the place where the patch adds to it.")
        return FileFit(file, content, after, [_made(finding, after) for finding in findings])
    except DoesNotFit as error:
        return _place(content, file, source, findings, str(error))


def _is_read(source: Source) -> bool:
    """Tell whether a file that is Python parses."""
    return source.tree is not None or not is_python(source.name)


def _made(finding: Finding, after: bytes) -> Finding:
    """Return what is known of a seam that the patch makes as text, even where it could not be placed otherwise."""
    if finding.is_settled:
        return finding
    source = Source(after, finding.seam.file)
    nodes = standing(source, finding.seam) if is_python(finding.seam.file) else []
    line = nodes[0].lineno if nodes else key_line(source, finding.seam.code)
    return replace(finding, state=PLACED, line=line, candidates=[], reason="")


def _place(content: bytes, file: FilePatch, source: Source, findings: list[Finding], misfit: str) -> FileFit:
    """Put each edit where the parsed code says; `misfit` is why the patch did not fit as text."""
    if not _is_read(source):
        return FileFit(file, content, content, [], misfit, fault=f"{file.path}: {source.fault}.")
    placeable = {finding.seam for finding in findings}
    own = [seam for seam in seams.SEAMS if seam.file == file.inner]
    if not own or any(seam not in placeable or not (seam.places or seam.gone) for seam in own):
        return FileFit(file, content, content, [], misfit, fault=misfit)
    unsettled = FileFit(file, content, content, findings, misfit)
    if unsettled.unsettled:
        return replace(unsettled, fault=misfit)
    placed = as_patch(file, source, [edit for finding in findings for edit in finding.edits])
    try:
        after = apply_both_ways(content, placed)
        faults = find_faults(after, own)
    except DoesNotFit as error:
        return replace(unsettled, fault=str(error))
    if faults:
        return replace(unsettled, fault=f"{file.path}: placed by its code, the patch is wrong: {'; '.join(faults)}")
    return FileFit(placed, content, after, findings, misfit)


def as_patch(file: FilePatch, source: Source, edits: list[Edit]) -> FilePatch:
    """Return edits of a file as a patch that quotes as little of it as makes each place certain."""
    old = [line + b"\n" for line in source.lines]
    new: list[bytes] = []
    done, changes = 0, []
    for edit in sorted(_distinct(edits), key=lambda edit: edit.rank):
        if edit.at < done:
            continue  # a line that is replaced is gone already
        new += old[done : edit.at]
        changes.append((edit.at, edit.at + edit.removed, len(new), len(new) + len(edit.lines)))
        new += [line + b"\n" for line in edit.lines]
        done = edit.at + edit.removed
    new += old[done:]
    files = parse_patch(diff_of_changes(file.inner, old, new, changes), Path(file.path)) if changes else []
    return files[0] if files else FilePatch(file.path)


def _distinct(edits: list[Edit]) -> list[Edit]:
    return [edit for at, edit in enumerate(edits) if edit not in edits[:at]]
