"""The materialised `ultralytics/` folder: which files are upstream's, their hashes, what was edited, and the swap."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patches.errors import LocalEdits
from patches.fetch import sha256

MANIFEST = ".manifest.json"
STAGING = ".staging-"
OURS = "slim"
Hashes = dict[str, str]


def upstream_files(package: Path) -> Iterator[Path]:
    """Every file under `package` that is not ours (`slim/`), not bytecode and not this tool's own."""
    for folder, names, files in os.walk(package):
        at_top = Path(folder) == package
        names[:] = sorted(name for name in names if name != "__pycache__" and not (at_top and is_own(name)))
        for name in sorted(files):
            if not name.endswith(".pyc") and not (at_top and name == MANIFEST):
                yield Path(folder) / name


def is_own(name: str) -> bool:
    """Whether a folder at the top of the package is ours or this tool's."""
    return name == OURS or name.startswith(STAGING)


def hash_tree(package: Path) -> Hashes:
    """Relative POSIX path -> sha256 of every upstream file."""
    return {path.relative_to(package).as_posix(): sha256(path) for path in upstream_files(package)}


def read_manifest(package: Path) -> dict:
    """What was materialised last: `recipe` and `files`; empty when nothing was, or it cannot be read."""
    try:
        manifest = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
        return {"recipe": manifest["recipe"], "files": dict(manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"recipe": None, "files": {}}


def write_manifest(package: Path, recipe: dict, files: Hashes) -> None:
    """Written last, by rename: a tree with a manifest is a whole tree."""
    fresh = package / f"{STAGING}manifest"
    fresh.write_text(json.dumps({"recipe": recipe, "files": files}, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, package / MANIFEST)


def find_edits(present: Hashes, *known: Hashes) -> list[str]:
    """Files that are in none of the `known` states (materialised last, about to be, upstream's): somebody's work."""
    return [path for path, digest in present.items() if all(digest != state.get(path) for state in known)]


def refuse_edits(package: Path, edits: list[str]) -> None:
    """Raise `LocalEdits` that lists `edits` and says how to keep or drop them."""
    if edits:
        shown = [f"  {package / path}" for path in edits[:20]] + ["  ..."] * (len(edits) > 20)
        raise LocalEdits(
            f"{len(edits)} file(s) hold changes that are not in the patch:\n" + "\n".join(shown) + "\n"
            "Keep them with `python -m patches refresh`, or drop them with `python -m patches materialise --force`."
        )


@contextmanager
def staging_folder(package: Path) -> Iterator[Path]:
    """A temporary folder inside `package`, so that moving files out of it is a rename; leftovers are cleared."""
    package.mkdir(parents=True, exist_ok=True)
    for leftover in package.glob(f"{STAGING}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=package))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_into_place(new: Path, package: Path, present: Hashes, after: Hashes, kept: set[str]) -> None:
    """Rename every changed file into `package` and remove stale ones, but for the `kept`.

    Interrupted half-way, each file is either the old or the new one, so the next run finds no edit and finishes.
    """
    for path in sorted(set(after) - kept):
        if present.get(path) != after[path]:
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(new / path, package / path)
    for path in sorted(set(present) - set(after) - kept):
        (package / path).unlink()
        remove_empty_folders((package / path).parent, package)


def remove_empty_folders(folder: Path, top: Path) -> None:
    """Remove `folder` and its parents below `top` as far as they hold nothing but bytecode."""
    while folder != top:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        if any(folder.iterdir()):
            return
        folder.rmdir()
        folder = folder.parent
