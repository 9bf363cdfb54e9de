"""`check` and `apply`: the patch and `slim/` into somebody's own Ultralytics, all or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from patches.checkout import Checkout, find_checkout, find_package, find_version, refuse_uncommitted, refuse_unwritable
from patches.edit import check_result, swap
from patches.errors import DoesNotFit, PatchError
from patches.fit import FileFit, fit
from patches.journal import is_interrupted, noted, recover
from patches.pin import FORK, HERE, ROOT
from patches.placing import IN_PLACE, PLACED
from patches.seams import is_python
from patches.show import by_hand
from patches.state import STATE, Contents, make_state
from patches.unified import read_patch, render

SLIM = ROOT / "ultralytics" / "slim"


class Plan(NamedTuple):
    """What `apply` is about to do; `before` lacks the files that are not there yet. `notes` are for the user."""

    checkout: Checkout
    before: Contents
    after: Contents
    notes: list[str]

    def __str__(self) -> str:
        return "".join(f"{note}\n" for note in self.notes) + f"{self.checkout.patch.name} for {self.checkout.release}"


def check(place: Path, folder: Path = HERE, slim: Path = SLIM) -> str:
    """Whether the patch would apply; changes nothing."""
    plan = make_plan(place, folder, slim)
    refuse_untouchable(plan)
    return f"{plan} would apply: {len(plan.before)} files edited, slim/ added, every seam in place."


def apply(place: Path, folder: Path = HERE, slim: Path = SLIM) -> str:
    """Apply the patch for the release found at `place` and copy `slim/` into it, or change nothing."""
    undone = recover(find_package(Path(os.path.abspath(place))))
    plan = make_plan(place, folder, slim)
    refuse_untouchable(plan)
    package = plan.checkout.package
    with noted(package, {path: plan.before.get(path) for path in plan.after}, plan.after):
        swap(plan.before, plan.after)
    return "An interrupted apply or revert was undone first.\n" * undone + (
        f"{plan} applied to {package}: {len(plan.before)} files edited, slim/ added, every seam in place.\n"
        f'Next: YOLO("student.pt").train(data="my.yaml", Distillation="teacher.pt", loss_type="cwd").\n'
        f"Before you update or uninstall Ultralytics: python -m patches revert {package}"
    )


def make_plan(place: Path, folder: Path, slim: Path) -> Plan:
    """Find and work out what `apply` would do, and check that it fits."""
    checkout = find_checkout(place, folder)
    package = checkout.package
    refuse_applied(package)
    fits = fit(package, read_patch(checkout.patch))
    if any(file.fault for file in fits):
        raise DoesNotFit(explain(checkout, fits))
    edited = [file for file in fits if file.after != file.before]
    before = {package / file.patch.inner: file.before for file in edited}
    after = {package / file.patch.inner: file.after for file in edited}
    check_result(package, [file.patch for file in fits], {package / file.patch.inner: file.after for file in fits})
    added = slim_files(slim, package)
    text = patch_text(checkout.patch, fits)
    note = make_state(package, checkout.patch.name, text, checkout.version, before, after, added)
    after = {**added, **after, package / STATE: note}  # what is called before what calls it, and the note last
    return Plan(checkout, before, after, notes_on(checkout, fits))


def refuse_untouchable(plan: Plan) -> None:
    """Raise where a file has changes that git does not know yet, or cannot be replaced."""
    refuse_uncommitted(plan.checkout.package, plan.before)
    refuse_unwritable(plan.after, plan.checkout.package)


def patch_text(patch: Path, fits: list[FileFit]) -> bytes:
    """What is applied: the patch as it is, or, where an edit was placed by the code, one of this checkout."""
    content = patch.read_bytes()
    if not any(file.misfit for file in fits):
        return content
    return content.split(b"--- a/")[0] + b"".join(render(file.patch) for file in fits if file.patch.hunks)


def notes_on(checkout: Checkout, fits: list[FileFit]) -> list[str]:
    """What the user should know of an unusual checkout."""
    notes = [f"Warning: {checkout.warning}"] if checkout.warning else []
    for file in fits:
        if file.misfit and is_python(file.patch.path):
            states = [finding.state for finding in file.findings if not finding.seam.gone]
            there = f", {states.count(IN_PLACE)} there already" * (IN_PLACE in states)
            notes.append(f"{file.patch.path} is edited: {states.count(PLACED)} places found by its code{there}.")
        notes += [f"Warning: {key} is there already; it stays, and slim reads it." for key in foreign_keys(file)]
    return notes


def foreign_keys(file: FileFit) -> list[str]:
    """Settings of that name which are not from us, as they stand in the file."""
    lines = file.before.decode("utf-8", "replace").split("\n")
    numbers = sorted({line for finding in file.findings for line in finding.kept})
    return [
        f"{file.patch.path}:{number}: `{lines[number - 1].strip()}`"
        for number in numbers
        if " slim: " not in lines[number - 1]
    ]


def refuse_applied(package: Path) -> None:
    """Raise if the package is patched already, by this tool or by hand, or half so, or is this project's own."""
    if is_interrupted(package):
        raise PatchError(f"an apply or revert of {package} was interrupted; run either of them, which undoes it first.")
    if (package / STATE).is_file():
        raise PatchError(f"{package} is patched already; see `python -m patches status {package}`, or revert it first.")
    if FORK in find_version(package):
        raise PatchError(f"{package} is a fork that this project made: it has the edits and slim/ already, as its own.")
    if (package / "slim").exists():
        raise PatchError(f"{package / 'slim'} is there already, from a fork or a patch by hand; remove it first.")


def explain(checkout: Checkout, fits: list[FileFit]) -> str:
    """Which edits could not be placed, and what to write by hand where."""
    faults = []
    for file in fits:
        if file.unsettled:
            faults.append(f"{file.patch.path}: {len(file.unsettled)} edits need a hand.")
            faults += [by_hand(finding, file.before) for finding in file.unsettled]
        elif file.fault:
            faults.append(file.fault)
    unedited = f"{checkout.patch.name} fits an unedited {checkout.version}, so there are local edits in this file."
    reason = checkout.warning or unedited
    if any(file.unsettled for file in fits):
        reason += " Edits that are there already are left alone, also by revert."
    listed = "\n".join(faults)
    return f"{listed}\n{checkout.release} in {checkout.package}. {reason} Nothing was changed."


def slim_files(slim: Path, package: Path) -> Contents:
    """Our own modules, as they will lie in `package`."""
    files = (path for path in sorted(slim.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    found = {package / "slim" / path.relative_to(slim): path.read_bytes() for path in files}
    if not found:
        raise PatchError(f"{slim} is empty; restore it from git.")
    return found
