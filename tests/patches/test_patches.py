"""The patch tool, on a made-up upstream of four files."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from patches.__main__ import main
from patches.contexts import minimal_diff
from patches.errors import DoesNotFit, LocalEdits, PatchError
from patches.fetch import WHEEL_VARIABLE, cache_folder, fetch_wheel, pip_environment, unpack
from patches.pin import Pin, load_pin, patch_for, version_key
from patches.seams import Seam, verify_seams
from patches.unified import FilePatch, apply_to_bytes, parse_patch, reversed_patch

from fake_upstream import PATCH, UPSTREAM, Project


def patched(text: bytes, patch: bytes) -> bytes:
    """Apply a patch body for one file."""
    return apply_to_bytes(text, only_file(patch))


def only_file(body: bytes) -> FilePatch:
    (file,) = parse_patch(b"--- a/ultralytics/x.py\n+++ b/ultralytics/x.py\n" + body, Path("test.patch"))
    return file


# The applier -------------------------------------------------------------------------------------------------------


def test_applies_where_the_header_says():
    assert patched(b"a\nb\nc\n", b"@@ -2,2 +2,2 @@\n b\n-c\n+C\n") == b"a\nb\nC\n"


def test_follows_a_hunk_that_moved_as_a_whole():
    assert patched(b"1\n2\n3\na\nb\n", b"@@ -1,2 +1,3 @@\n a\n+new\n b\n") == b"1\n2\n3\na\nnew\nb\n"


def test_the_shift_of_one_hunk_carries_to_the_next():
    """Both places hold x, y; the second is meant, since the first hunk moved by two lines."""
    text = b"p\nq\na\nx\ny\nx\ny\n"
    body = b"@@ -1,1 +1,2 @@\n a\n+A\n@@ -4,2 +5,3 @@\n x\n+X\n y\n"
    assert patched(text, body) == b"p\nq\na\nA\nx\ny\nx\nX\ny\n"


def test_two_possible_places_are_an_error_that_names_both():
    with pytest.raises(DoesNotFit, match=r"x\.py: hunk 1 \(line 9\) fits at lines 1, 3; it needs more context"):
        patched(b"x\ny\nx\ny\n", b"@@ -9,2 +9,3 @@\n x\n+X\n y\n")


@pytest.mark.parametrize("text", [b"  a\nb\n", b"a \nb\n", b"\ta\nb\n", b"A\nb\n", b"", b"b\n"])
def test_nothing_is_matched_approximately(text: bytes):
    """The reason is the true one: a line that stands there with other white space is not called missing."""
    reason = "has other white space around it: line 1" if text.split(b"\n")[0].strip() == b"a" else "is not there"
    with pytest.raises(DoesNotFit, match=f"line 'a' {reason}"):
        patched(text, b"@@ -1,2 +1,3 @@\n a\n+new\n b\n")


def test_lines_that_are_apart_do_not_fit():
    with pytest.raises(DoesNotFit, match="not next to each other"):
        patched(b"a\nother\nb\n", b"@@ -1,2 +1,3 @@\n a\n+new\n b\n")


def test_windows_line_endings_survive():
    assert patched(b"a\r\nb\r\nc\r\n", b"@@ -1,2 +1,3 @@\n a\n+new\n b\n") == b"a\r\nnew\r\nb\r\nc\r\n"


def test_a_patch_file_with_windows_line_endings_applies_to_a_file_without():
    assert patched(b"a\nb\n", b"@@ -1,2 +1,3 @@\n a\n+new\n b\n".replace(b"\n", b"\r\n")) == b"a\nnew\nb\n"


def test_a_missing_last_newline_stays_missing():
    assert patched(b"a\nb\nc", b"@@ -1,2 +1,3 @@\n a\n+new\n b\n") == b"a\nnew\nb\nc"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"@@ -1,3 +1,3 @@\n a\n", "test.patch:5: hunk 1 for ultralytics/x.py is cut short or damaged"),
        (b"@@ nonsense @@\n", "test.patch:3: expected a hunk header"),
        (b"@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n", "missing last newline"),
    ],
)
def test_a_damaged_patch_names_its_line(body: bytes, message: str):
    with pytest.raises(PatchError, match=message):
        only_file(body)


@pytest.mark.parametrize("name", ["b/../../etc/passwd", "b/other/x.py", "b/ultralytics/../x.py", "/ultralytics/x.py"])
def test_a_path_outside_the_package_is_refused(name: str):
    with pytest.raises(PatchError, match=r"expected a path b/ultralytics/\.\.\."):
        parse_patch(f"--- a/x\n+++ {name}\n".encode(), Path("test.patch"))


def lines(text: str) -> list[bytes]:
    return [line.encode() + b"\n" for line in text.split()]


@pytest.mark.parametrize(
    ("old", "new", "hunks"),
    [
        ("a b c", "a X b c", "@@ -2,1 +2,2 @@ +X _b"),  # the line after is enough
        ("a b x b", "a b x X b", "@@ -3,2 +3,3 @@ _x +X _b"),  # b occurs twice, so the line before is needed
        ("a b c", "a c", "@@ -2,2 +2,1 @@ -b _c"),
        ("c a b c", "c a c", "@@ -2,3 +2,2 @@ _a -b _c"),  # c alone could not be taken back with certainty
        ("a b", "a b X", "@@ -2,1 +2,2 @@ _b +X"),  # nothing after: the end of the file
        ("a b c", "a X b Y c", "@@ -2,2 +2,4 @@ +X _b +Y _c"),  # spans that meet share a hunk
        ("a b c d", "X a b c Y d", "@@ -1,1 +1,2 @@ +X _a @@ -4,1 +5,2 @@ +Y _d"),
    ],
)
def test_context_is_as_little_as_makes_the_place_certain(old: str, new: str, hunks: str):
    diff = minimal_diff("x.py", lines(old), lines(new)).decode()
    assert diff.split("\n", 2)[2].replace("\n ", "\n_").split() == hunks.split()


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_random_edits_round_trip_and_git_agrees(tmp_path: Path):
    """What refresh writes, the applier and git read alike: random edits of files with many equal lines."""
    rng = random.Random(0)
    (tmp_path / "ultralytics").mkdir()
    for trial in range(200):
        old = [rng.choice([b"a", b"b", b"", b"  c"]) + b"\n" for _ in range(rng.randrange(1, 30))]
        new = [line for line in old if rng.random() > 0.1]
        for _ in range(rng.randrange(4)):
            new.insert(rng.randrange(len(new) + 1), b"new\n")
        diff = minimal_diff("x.py", old, new)
        (file,) = parse_patch(diff, Path("test.patch"))
        assert apply_to_bytes(b"".join(old), file) == b"".join(new)
        assert apply_to_bytes(b"".join(new), reversed_patch(file)) == b"".join(old)
        if trial < 20 and old != new:
            (tmp_path / "ultralytics" / "x.py").write_bytes(b"".join(old))
            subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff, check=True)
            assert (tmp_path / "ultralytics" / "x.py").read_bytes() == b"".join(new)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


# Materialising -----------------------------------------------------------------------------------------------------


def test_materialises_patched_and_stamped_and_leaves_slim_alone(project: Project):
    project.materialise()
    files = project.snapshot()
    assert b"loss = 1\n        loss += slim.loss(self)\n" in files["engine/trainer.py"]
    assert files["__init__.py"] == b'__version__ = "1.2.3+slim.0.1.0"\n'
    assert files["cfg/default.yaml"] == UPSTREAM["cfg/default.yaml"]
    assert files["slim/__init__.py"] == b"ours = True\n"
    assert set(files) == {*UPSTREAM, "slim/__init__.py", ".manifest.json"}


def test_twice_is_the_same_tree_without_the_wheel(project: Project):
    project.materialise()
    before, stamp = project.snapshot(), (project.package / "__init__.py").stat().st_mtime_ns
    project.wheel.unlink()
    assert "nothing to do" in project.materialise()
    assert project.snapshot() == before
    assert (project.package / "__init__.py").stat().st_mtime_ns == stamp


def test_a_plain_copy_of_upstream_is_taken_over(project: Project):
    for name, content in UPSTREAM.items():
        (project.package / name).parent.mkdir(exist_ok=True)
        (project.package / name).write_bytes(content)
    project.materialise()
    assert b"slim.loss" in project.snapshot()["engine/trainer.py"]


@pytest.mark.parametrize("edit", ["cfg/default.yaml", "engine/added.py"])
def test_a_local_edit_is_named_and_kept(project: Project, edit: str):
    project.materialise()
    (project.package / edit).write_text("mine: 1\n")
    before = project.snapshot()
    with pytest.raises(LocalEdits, match=f"(?s)1 file.*{edit}.*refresh.*materialise --force"):
        project.materialise()
    assert project.snapshot() == before


def test_force_drops_local_edits_but_not_slim(project: Project):
    project.materialise()
    wanted = project.snapshot()
    (project.package / "cfg/default.yaml").write_text("mine: 1\n")
    (project.package / "engine/added.py").write_text("mine = 1\n")
    (project.package / "slim/more.py").write_text("mine = 1\n")
    project.materialise(force=True)
    assert project.snapshot() == {**wanted, "slim/more.py": b"mine = 1\n"}


def test_a_missing_file_is_put_back(project: Project):
    project.materialise()
    before = project.snapshot()
    (project.package / "engine/trainer.py").unlink()
    project.materialise()
    assert project.snapshot() == before


def test_bytecode_is_neither_an_edit_nor_in_the_way(project: Project):
    project.materialise()
    cache = project.package / "engine" / "__pycache__"
    cache.mkdir()
    (cache / "trainer.cpython-311.pyc").write_bytes(b"x")
    assert "nothing to do" in project.materialise()


def test_a_new_release_replaces_files_and_removes_stale_ones(project: Project):
    project.materialise()
    trainer = b"# moved\n" + UPSTREAM["engine/trainer.py"]
    project.release({"__init__.py": b'__version__ = "1.3.0"\n', "engine/trainer.py": trainer}, version="1.3.0")
    project.materialise()
    assert set(project.snapshot()) == {"__init__.py", "engine/trainer.py", "slim/__init__.py", ".manifest.json"}
    assert not (project.package / "cfg").exists()


def test_our_own_version_is_bumped_in_one_place(project: Project):
    project.materialise()
    project.release(UPSTREAM, slim="0.2.0")
    project.materialise()
    assert project.snapshot()["__init__.py"] == b'__version__ = "1.2.3+slim.0.2.0"\n'


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (PATCH.replace(b"loss = 1", b"loss = 2"), "engine/trainer.py: hunk 1"),
        (PATCH.replace(b"trainer.py", b"gone.py"), "engine/gone.py: the patch changes this file"),
        (PATCH.replace(b"slim.loss(self)", b"other(self)"), "'loss .. slim.loss.self.' is missing in Trainer.train"),
        (PATCH.replace(b"+        loss += ", b"+     loss += "), "unindent|does not compile"),
    ],
)
def test_a_patch_that_does_not_fit_changes_nothing(project: Project, patch: bytes, message: str):
    project.materialise()
    before = project.snapshot()
    project.write_patch(patch)
    if b"+     loss" in patch:
        project.expect_seams()
    with pytest.raises(DoesNotFit, match=message):
        project.materialise()
    assert project.snapshot() == before


def test_another_file_than_the_pinned_one_is_refused(project: Project):
    project.wheel.write_bytes(project.wheel.read_bytes() + b"x")
    with pytest.raises(PatchError, match="expected sha256 .* got .*SLIM_UPSTREAM_WHEEL"):
        project.materialise()
    assert set(project.snapshot()) == {"slim/__init__.py"}


def test_interrupted_half_way_the_next_run_finishes(project: Project):
    """A failing rename leaves old and new files mixed; none of them is taken for a local edit."""
    project.materialise()
    project.write_patch(PATCH.replace(b"loss += slim.loss(self)", b"loss += slim.loss(self)  # again"))
    project.release(UPSTREAM, slim="0.2.0")
    real, calls = os.replace, []

    def replace_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise OSError("disk gone")
        real(source, target)

    with project.monkeypatch.context() as patcher:
        patcher.setattr(os, "replace", replace_once)
        with pytest.raises(OSError, match="disk gone"):
            project.materialise()
    assert b"0.2.0" in project.snapshot()["__init__.py"]
    assert b"# again" not in project.snapshot()["engine/trainer.py"]
    project.materialise()
    assert b"# again" in project.snapshot()["engine/trainer.py"]
    assert not list(project.package.glob(".staging*"))


def test_a_wheel_cannot_write_outside_its_folder(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bad.whl", "w") as archive:
        archive.writestr("../evil.py", "")
    with pytest.raises(PatchError, match="unsafe path"):
        unpack(tmp_path / "bad.whl", tmp_path / "out")


# Refreshing --------------------------------------------------------------------------------------------------------


def edit_trainer(project: Project, old: bytes, new: bytes) -> None:
    path = project.package / "engine" / "trainer.py"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def test_refresh_of_an_unedited_tree_writes_the_same_patch_with_less_context(project: Project):
    project.materialise()
    before = project.snapshot()
    for _ in range(2):
        project.refresh()
        wanted = PATCH.replace(b"@@ -3,2 +3,3 @@\n         loss = 1\n", b"@@ -4,1 +4,2 @@\n")
        assert (project.folder / "x.patch").read_bytes() == wanted
    assert {**project.snapshot(), ".manifest.json": b""} == {**before, ".manifest.json": b""}


def test_refresh_takes_edits_and_keeps_the_commentary(project: Project):
    project.materialise()
    edit_trainer(project, b"return loss", b"return slim.end(loss)")
    (project.package / "cfg/default.yaml").write_bytes(b"epochs: 100\nslim: 1\nbatch: 16\n")
    project.refresh()
    text = (project.folder / "x.patch").read_bytes()
    assert text.startswith(b"Why each seam is there.\n\n--- a/ultralytics/cfg/default.yaml\n")
    assert b"+        return slim.end(loss)\n" in text
    assert b"__init__" not in text
    before = project.snapshot()
    assert "nothing to do" in project.materialise()
    project.materialise(force=True)
    assert project.snapshot() == before


def test_refresh_refuses_added_files(project: Project):
    project.materialise()
    (project.package / "engine/added.py").write_text("")
    with pytest.raises(PatchError, match=r"added or missing.*engine/added\.py.*slim"):
        project.refresh()
    assert (project.folder / "x.patch").read_bytes() == PATCH


def test_refresh_refuses_a_tree_that_lost_a_seam(project: Project):
    project.materialise()
    edit_trainer(project, b"        loss += slim.loss(self)\n", b"")
    with pytest.raises(DoesNotFit, match=r"is missing in Trainer\.train"):
        project.refresh()
    assert (project.folder / "x.patch").read_bytes() == PATCH


def test_refresh_takes_in_a_patch_that_was_changed_elsewhere(project: Project):
    """The tree was made from the old patch; an edit elsewhere in the tree must not undo the new one."""
    project.materialise()
    (project.package / "cfg/default.yaml").write_bytes(b"epochs: 100\nmine: 1\nbatch: 16\n")
    project.write_patch(PATCH.replace(b"slim.loss(self)", b"slim.loss(self)  # theirs"))
    project.refresh()
    text = (project.folder / "x.patch").read_bytes()
    assert b"# theirs" in text and b"+mine: 1" in text


def test_refresh_refuses_when_both_changed_the_same_file(project: Project):
    project.materialise()
    edit_trainer(project, b"return loss", b"return loss  # mine")
    changed = PATCH.replace(b"slim.loss(self)", b"slim.loss(self)  # theirs")
    project.write_patch(changed)
    with pytest.raises(LocalEdits, match=r"engine/trainer\.py"):
        project.refresh()
    assert (project.folder / "x.patch").read_bytes() == changed


# Seams, pin, command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f():\n    a()\n    b(1, x = 2)\n", None),
        ("def f():\n    b(1, x=2)\n    a()\n", r"m\.py:2: 'b\(1, x=2\)' must come after 'a\(\)'"),
        ("def f():\n    a()\n", "'b.1, x=2.' is missing in f"),
        ("def g():\n    a()\n    b(1, x=2)\n", "m.py: no f"),
        ("def f():\n    a()\n    # b(1, x=2)\n", "is missing"),
        ("def f():\n    a()\n    b(1, x=2)\n    old()\n", r"m\.py:4: 'old\(\)' is still in f"),
    ],
)
def test_seams_are_read_from_the_parsed_source(tmp_path: Path, source: str, message: str | None):
    (tmp_path / "m.py").write_text(source)
    seams = (Seam("m.py", "f", "b(1, x=2)", after=("a()",)), Seam("m.py", "f", "old()", gone=True))
    if message is None:
        return verify_seams(tmp_path, seams)
    with pytest.raises(DoesNotFit, match=message):
        verify_seams(tmp_path, seams)


def test_a_version_without_a_patch_names_what_is_covered(tmp_path: Path):
    (tmp_path / "series.json").write_text('[{"patch": "a.patch", "first": "8.0.196", "last": "8.3.100"}]')
    assert patch_for("8.1.0", tmp_path) == tmp_path / "a.patch"
    with pytest.raises(PatchError, match=r"no patch for Ultralytics 8\.0\.1: .* 8\.0\.196 to 8\.3\.100"):
        patch_for("8.0.1", tmp_path)
    (tmp_path / "series.json").write_text(
        '[{"patch": "a", "first": "8.0", "last": "8.1"}, {"patch": "b", "first": "8.3", "last": "8.3.100"}]'
    )
    with pytest.raises(PatchError, match=r"The nearest is 8\.1 or 8\.3\."):
        patch_for("8.2.7", tmp_path)
    with pytest.raises(PatchError, match=r"8\.9\.9 is newer than 8\.3\.100.*series\.json"):
        patch_for("8.9.9", tmp_path)


def test_versions_compare_by_number():
    assert version_key("8.4.190+slim.0.1.0") == (8, 4, 190) > version_key("8.4.60")


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1", "sha256": "no", "slim": "1"}', "[1]"])
def test_a_broken_pin_is_one_message(tmp_path: Path, text: str):
    (tmp_path / "pin.json").write_text(text)
    with pytest.raises(PatchError, match=r"pin\.json: "):
        load_pin(tmp_path)


def test_the_cache_is_used_before_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(WHEEL_VARIABLE, raising=False)
    monkeypatch.setenv("SLIM_CACHE", str(tmp_path))
    pin = Pin("1.2.3", hashlib.sha256(b"wheel").hexdigest(), "0.1.0")
    (cache_folder() / pin.wheel_name).write_bytes(b"wheel")
    assert fetch_wheel(pin) == tmp_path / pin.wheel_name


def test_without_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(WHEEL_VARIABLE, raising=False)
    monkeypatch.setenv("SLIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PatchError, match=r"(?s)could not download ultralytics==0\.0\.1.*set SLIM_UPSTREAM_WHEEL"):
        fetch_wheel(Pin("0.0.1", "0" * 64, "0.1.0"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_uv_index_reaches_pip(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("UV_INDEX_URL", raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mine=https://example.invalid/simple?a=b")
    assert pip_environment()["PIP_INDEX_URL"] == "https://example.invalid/simple?a=b"
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.invalid/simple")
    assert pip_environment()["PIP_INDEX_URL"] == "https://other.invalid/simple"


def test_the_command_line_prints_one_message_and_fails(monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(**options) -> str:
        raise LocalEdits("one file holds changes")

    monkeypatch.setattr("patches.__main__.materialise", fail)
    assert main(["materialise"]) == 1
    assert capsys.readouterr() == ("", "patches: one file holds changes\n")
