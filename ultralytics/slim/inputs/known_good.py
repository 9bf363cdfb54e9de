"""Look at many files at once, and at each content once: what was found good is kept, by its size and time of change."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import PIL

from ultralytics import __version__
from ultralytics.utils import TQDM, USER_CONFIG_DIR

from ..errors import SlimError
from ..files import write_whole

MANY = 2000  # items of which a bar is shown
AT_ONCE = 500  # items that are handed to the threads together: an interrupt waits for them
JUDGES = (__version__, PIL.__version__, cv2.__version__)


def find_faults(
    items: Sequence[tuple[Path, ...]], judge: Callable[..., str], doing: str, rules: object = ""
) -> list[str]:
    """Return what is wrong with each item, empty where nothing is.

    Args:
        items: A file each, or several that are judged together.
        judge: Returns the fault of an item's files, empty for none. It is called in threads, and not for what it found
            good before, in this process or another, unless the files changed.
        doing: What the bar says.
        rules: Whatever else its verdict depends on.
    """
    store = _store(items, doing, rules)
    known, stamps = _read(store), [_digest(*map(_state, item)) for item in items]
    new = [i for i, stamp in enumerate(stamps) if stamp not in known]
    faults, judged = {}, 0
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            parts = (new[i : i + AT_ONCE] for i in range(0, len(new), AT_ONCE))
            found = chain.from_iterable(pool.map(lambda i: judge(*items[i]), part) for part in parts)
            for i, fault in zip(new, TQDM(found, total=len(new), desc=doing, disable=len(new) < MANY)):
                judged += 1
                if fault:
                    faults[i] = fault
    finally:  # an interrupted look is gone on with
        left = {*faults, *new[judged:]}
        if judged > len(faults):
            _write(store, [stamp for i, stamp in enumerate(stamps) if i not in left])
    return [faults.get(i, "") for i in range(len(items))]


def _state(file: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:  # the judge will say
        return os.path.abspath(file), -1, -1
    return os.path.abspath(file), found.st_size, found.st_mtime_ns


def _digest(*parts: object) -> int:
    return int.from_bytes(blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _store(items: Sequence[tuple[Path, ...]], doing: str, rules: object) -> Path:
    """Return the file of what is known of files in the same folders."""
    folders = sorted({os.path.abspath(file.parent) for item in items for file in item})
    return USER_CONFIG_DIR / "slim-known-good" / f"{_digest(folders, doing, rules, JUDGES):016x}.bin"


def _read(store: Path) -> set[int]:
    try:
        content = store.read_bytes()
    except OSError:
        return set()
    return set(np.frombuffer(content[: len(content) // 8 * 8], "<u8").tolist())


def _write(store: Path, stamps: list[int]) -> None:
    try:
        write_whole(store, lambda partial: partial.write_bytes(np.array(stamps, "<u8").tobytes()))
    except SlimError:
        pass  # it is only for speed
