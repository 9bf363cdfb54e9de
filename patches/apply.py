"""`check` and `apply`: the patch and `slim/` into somebody's own Ultralytics, all or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from patches.checkout import Checkout, find_checkout, find_package, refuse_uncommitted, refuse_unwritable
from patches.edit import check_result, swap, work_out
from patches.errors import DoesNotFit, PatchError
from patches.journal import is_interrupted, noted, recover
from patches.pin import HERE, ROOT
from patches.seams import seams_for
from patches.state import STATE, Contents, make_state
from patches.unified import read_patch

SLIM = ROOT / "ultralytics" / "slim"


class Plan(NamedTuple):
    """What `apply` is about to do; `before` lacks the files that are not there yet."""

    checkout: Checkout
    before: Contents
    after: Contents

    def __str__(self) -> str:
        warning = f"Warning: {self.checkout.warning}\n" if self.checkout.warning else ""
        return f"{warning}{self.checkout.patch.name} for Ultralytics {self.checkout.version}"


def check(place: Path, folder: Path = HERE, slim: Path = SLIM) -> str:
    """Whether the patch would apply; changes nothing."""
    plan = make_plan(place, folder, slim)
    return f"{plan} would apply: {len(plan.before)} files edited, slim/ added, every seam in place."


def apply(place: Path, folder: Path = HERE, slim: Path = SLIM) -> str:
    """Apply the patch for the release found at `place` and copy `slim/` into it, or change nothing."""
    undone = recover(find_package(Path(os.path.abspath(place))))
    plan = make_plan(place, folder, slim)
    package = plan.checkout.package
    with noted(package, {path: plan.before.get(path) for path in plan.after}, plan.after):
        swap(plan.before, plan.after)
    return "An interrupted apply or revert was undone first.\n" * undone + (
        f"{plan} applied to {package}: {len(plan.before)} files edited, slim/ added, every seam in place.\n"
        f'Next: YOLO("student.pt").train(data="my.yaml", Distillation="teacher.pt", loss_type="cwd").\n'
        f"Before you update or uninstall Ultralytics: python -m patches revert {package}"
    )


def make_plan(place: Path, folder: Path, slim: Path) -> Plan:
    """Find, work out and check everything that can be wrong, before anything is written."""
    checkout = find_checkout(place, folder)
    package = checkout.package
    refuse_applied(package)
    patch = read_patch(checkout.patch)
    try:
        before, after = work_out(package, patch)
        check_result(package, patch, after, seams_for(checkout.version))
    except DoesNotFit as error:
        raise DoesNotFit(explain(checkout, error)) from error
    refuse_uncommitted(package, before)
    added = slim_files(slim, package)
    note = make_state(package, checkout.patch, checkout.version, before, after, added)
    after = {**added, **after, package / STATE: note}  # what is called before what calls it, and the note last
    refuse_unwritable(after, package)
    return Plan(checkout, before, after)


def refuse_applied(package: Path) -> None:
    """Raise if the package is patched already, by this tool or by hand, or half so, or is this project's own."""
    if is_interrupted(package):
        raise PatchError(f"an apply or revert of {package} was interrupted; run either of them, which undoes it first.")
    if (package / STATE).is_file():
        raise PatchError(f"{package} is patched already; see `python -m patches status {package}`, or revert it first.")
    if (package / "slim").exists():
        raise PatchError(f"{package / 'slim'} is there already, from a fork or a patch by hand; remove it first.")


def explain(checkout: Checkout, error: DoesNotFit) -> str:
    """Why a patch that should fit may not."""
    name = checkout.patch.name
    reason = checkout.warning or f"{name} fits an unedited {checkout.version}, so there are local edits in this file."
    return f"{error}\nUltralytics {checkout.version} in {checkout.package}. {reason} Nothing was changed."


def slim_files(slim: Path, package: Path) -> Contents:
    """Our own modules, as they will lie in `package`."""
    files = (path for path in sorted(slim.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    found = {package / "slim" / path.relative_to(slim): path.read_bytes() for path in files}
    if not found:
        raise PatchError(f"{slim} is empty; restore it from git.")
    return found
