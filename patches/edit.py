"""All or nothing: work out every new file in memory, check the result aside, then swap all of them or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from patches.errors import DoesNotFit, PatchError
from patches.journal import SUFFIX, remove_empty
from patches.materialise import check_syntax
from patches.seams import verify_seams
from patches.state import Contents
from patches.unified import FilePatch, apply_to_bytes, reversed_patch


def work_out(package: Path, patch: list[FilePatch]) -> tuple[Contents, Contents]:
    """The files that `patch` edits, as they are and as they would be; raises `DoesNotFit` at the first misfit."""
    before, after = {}, {}
    for file in patch:
        path = package / file.inner
        before[path] = read_edited(package, file)
        after[path] = apply_both_ways(before[path], file)
    return before, after


def read_edited(package: Path, file: FilePatch) -> bytes:
    """The content of a file that the patch edits."""
    path = package / file.inner
    if not path.is_file():
        raise DoesNotFit(f"{file.path}: the patch edits this file, and {package} has none of that name.")
    return path.read_bytes()


def apply_both_ways(content: bytes, file: FilePatch) -> bytes:
    """Apply `file`; raises `DoesNotFit` also where taking it back would not give `content` again."""
    result = apply_to_bytes(content, file)
    if apply_to_bytes(result, reversed_patch(file)) != content:
        raise DoesNotFit(f"{file.path}: mixed line endings around an edit, which could not be taken back.")
    return result


def check_result(package: Path, patch: list[FilePatch], after: Contents) -> None:
    """Seams and syntax of the new files, in a scratch folder that holds only those."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "ultralytics"
        for path, content in after.items():
            target = copy / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        verify_seams(copy)
        check_syntax(copy, patch)


def swap(before: Mapping[Path, bytes | None], after: Mapping[Path, bytes | None]) -> None:
    """Make every file of `after` hold its content (None: be gone), or, if one cannot, all be as `before`.

    New content is written beside each file first, so what can fail (space, permissions) fails before the first rename.
    """
    fresh = {path: path.with_name(path.name + SUFFIX) for path, content in after.items() if content is not None}
    done: list[Path] = []
    try:
        for path, temporary in fresh.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(after[path])
            if path.exists():
                os.chmod(temporary, path.stat().st_mode)
        for path, content in after.items():
            done.append(path)
            path.unlink() if content is None else os.replace(fresh[path], path)
    except OSError as error:
        put_back({path: before.get(path) for path in done})
        raise PatchError(f"{error.filename}: {error.strerror}. Nothing was changed.") from error
    finally:
        for temporary in fresh.values():
            temporary.unlink(missing_ok=True)
        remove_empty(path.parent for path in after)


def put_back(contents: Mapping[Path, bytes | None]) -> None:
    """Undo what `swap` had done when it failed."""
    for path, content in contents.items():
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
