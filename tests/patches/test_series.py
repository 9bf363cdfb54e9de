"""The patches themselves: what they hold, and that they fit the releases that they claim."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from patches.additions import additions_of
from patches.apply import apply
from patches.carry import carry, choose_hunks, essence, prove
from patches.errors import DoesNotFit, PatchError
from patches.fetch import fetch_release, unpack
from patches.materialise import materialise
from patches.patterns import find
from patches.pin import HERE, Range, load_pin, patch_for, version_key
from patches.revert import revert
from patches.seams import SEAMS, verify_seams
from patches.tree import hash_tree
from patches.unified import parse_patch, read_patch

from releases import MIDDLE, SERIES

every_patch = pytest.mark.parametrize("entry", SERIES, ids=[entry.patch for entry in SERIES])


# What they hold ----------------------------------------------------------------------------------------------------


@every_patch
def test_a_patch_quotes_little_and_says_why(entry: Range):
    """A line or two of upstream's around each edit; a commentary on top; no address in it."""
    for file in read_patch(HERE / entry.patch):
        for hunk in file.hunks:
            assert len(hunk.old) <= 4, f"{file.path}: hunk {hunk.number} quotes {len(hunk.old)} lines"
    text = (HERE / entry.patch).read_text(encoding="utf-8")
    assert len(text.split("--- a/")[0].splitlines()) >= 4
    assert "://" not in text


def test_the_table_lists_every_patch_once_oldest_first_without_overlap():
    assert sorted(entry.patch for entry in SERIES) == sorted(path.name for path in HERE.glob("*.patch"))
    ends = [version_key(end) for entry in SERIES for end in (entry.first, entry.last)]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends) or all(entry.first == entry.last for entry in SERIES)
    assert SERIES[-1].holds(load_pin().version)


@every_patch
def test_all_patches_make_the_same_edits(entry: Range):
    """After an edit of the newest patch, `python -m patches carry` brings the others in step."""
    assert edits(entry) == edits(SERIES[-1]), "run `python -m patches carry`"


def edits(entry: Range) -> dict[str, list]:
    """File -> what is added and removed there, whatever the place."""
    files = read_patch(HERE / entry.patch)
    return {file.path: sorted(line for hunk in file.hunks for line in essence(hunk)) for file in files}


@every_patch
def test_every_call_into_slim_is_a_listed_seam(entry: Range):
    """A seam that is in the patch but not in the table would go unchecked on other releases."""
    for file in read_patch(HERE / entry.patch):
        codes = [seam.code for seam in SEAMS if seam.file == file.inner]
        for mark, text in (line for hunk in file.hunks for line in hunk.lines):
            code = text.decode().split("  #")[0].strip()
            if mark == b"+" and file.path.endswith(".py") and "slim" in code + text.decode() and "import" not in code:
                whole = f"{code}\ndef _(): pass" if code.startswith("@") else code + " pass" * code.endswith(":")
                assert find(ast.parse(whole), *codes), f"{file.path}: {code} is not in seams.py"


@every_patch
def test_every_seam_has_its_lines_in_the_patch(entry: Range):
    for file in read_patch(HERE / entry.patch):
        own = [seam for seam in SEAMS if seam.file == file.inner]
        assert list(additions_of(file, own)) == own


# That they fit -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("entry", "version"),
    [(entry, version) for entry in SERIES for version in (entry.first, MIDDLE[entry.first], entry.last)],
    ids=str,
)
def test_a_range_holds_at_its_borders_and_in_the_middle(tmp_path: Path, entry: Range, version: str):
    """Apply, verify, take back: identical."""
    package = unpack(fetch_release(version), tmp_path)
    before = hash_tree(package)
    said = apply(tmp_path)
    assert f"{entry.patch} for Ultralytics {version} applied" in said and "Warning" not in said
    verify_seams(package)
    revert(tmp_path)
    assert hash_tree(package) == before


@pytest.mark.network
@pytest.mark.parametrize(("older", "newer"), list(zip(SERIES, SERIES[1:])), ids=str)
def test_the_borders_are_exact(older: Range, newer: Range):
    """Neither patch fits the other's nearest release, so no wider range and no fewer patches would do."""
    with pytest.raises(DoesNotFit, match=f"Ultralytics {re.escape(newer.first)}: "):
        prove(read_patch(HERE / older.patch), newer.first)
    with pytest.raises(DoesNotFit, match=f"Ultralytics {re.escape(older.last)}: "):
        prove(read_patch(HERE / newer.patch), older.last)


def test_a_release_before_the_first_is_refused_and_the_nearest_named():
    with pytest.raises(PatchError, match=r"no patch for Ultralytics 8\.0\.195.*The nearest is 8\.0\.196"):
        patch_for("8.0.195")


@pytest.mark.network
def test_the_pinned_release_materialises(tmp_path: Path, stock_ultralytics: Path):
    """Only what the patch names, and the version, differs from the pristine wheel."""
    assert "materialised" in materialise(tmp_path)
    ours, stock = hash_tree(tmp_path / "ultralytics"), hash_tree(stock_ultralytics / "ultralytics")
    assert set(ours) == set(stock)
    names = {file.inner for file in read_patch(patch_for(load_pin().version))}
    assert {name for name in ours if ours[name] != stock[name]} == names | {"__init__.py"}
    assert "nothing to do" in materialise(tmp_path)


@pytest.mark.network
@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_apply_makes_the_same_tree(tmp_path: Path, stock_ultralytics: Path):
    """The patch is for people too: `git apply` by hand gives what the tool gives."""
    materialise(tmp_path / "tool")
    shutil.copytree(stock_ultralytics / "ultralytics", tmp_path / "hand" / "ultralytics")
    patch = patch_for(load_pin().version)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "hand", check=True)
    subprocess.run(["git", "apply", str(patch)], cwd=tmp_path / "hand", check=True)
    tool, hand = (hash_tree(tmp_path / name / "ultralytics") for name in ("tool", "hand"))
    assert {name for name in tool if tool[name] != hand[name]} == {"__init__.py"}  # the version stamp
    verify_seams(tmp_path / "hand" / "ultralytics")


# Carrying a change over --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.network
def test_carrying_changes_nothing_when_all_is_in_step(tmp_path: Path):
    for path in [*HERE.glob("*.patch"), HERE / "series.json"]:
        shutil.copy2(path, tmp_path)
    assert "carried over" in carry(tmp_path)
    for path in HERE.glob("*.patch"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def hunks_of(body: bytes) -> list:
    (file,) = parse_patch(b"--- a/ultralytics/x.py\n+++ b/ultralytics/x.py\n" + body, Path("x.patch"))
    return file


OLD = Range("old.patch", "1.0", "1.1")
NEWEST = b"@@ -1,1 +1,2 @@\n+seam()\n line\n"


def test_a_hunk_that_fits_is_taken_and_a_twin_keeps_its_place():
    twin = hunks_of(b"@@ -1,1 +1,2 @@\n+    seam()\n     other\n")
    assert choose_hunks(b"line\n", hunks_of(NEWEST), [], OLD).hunks == hunks_of(NEWEST).hunks
    assert choose_hunks(b"line\n    other\n", hunks_of(NEWEST), twin.hunks, OLD).hunks == twin.hunks


def test_a_hunk_without_a_place_asks_for_a_twin():
    with pytest.raises(DoesNotFit, match=r"(?s)does not fit 1\.1, and old\.patch has no hunk.*by hand:\n  seam\(\)"):
        choose_hunks(b"else\n", hunks_of(NEWEST), [], OLD)
