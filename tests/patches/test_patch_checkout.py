"""`apply`, `check`, `status`, `revert`, `diff` on somebody's own Ultralytics; a made-up one, and the pinned release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from patches.__main__ import main
from patches.apply import apply, check
from patches.errors import DoesNotFit, LocalEdits, PatchError
from patches.export import diff
from patches.revert import revert, status

from fake_upstream import PATCH, UPSTREAM, Project

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


class Theirs:
    """Somebody's own copy of the made-up upstream, and our project beside it."""

    def __init__(self, root: Path, project: Project) -> None:
        self.root, self.package, self.project = root, root / "ultralytics", project
        for name, content in UPSTREAM.items():
            self.write(name, content)
        (project.package / "slim" / "losses").mkdir()
        (project.package / "slim" / "losses" / "cwd.py").write_text("loss = 1\n")

    def write(self, name: str, content: bytes) -> None:
        (self.package / name).parent.mkdir(parents=True, exist_ok=True)
        (self.package / name).write_bytes(content)

    def snapshot(self) -> dict[str, bytes]:
        files = (path for path in self.package.rglob("*") if path.is_file())
        return {path.relative_to(self.package).as_posix(): path.read_bytes() for path in files}

    def apply(self, place: Path | None = None) -> str:
        return apply(place or self.root, self.project.folder, self.project.package / "slim")

    def check(self) -> str:
        return check(self.root, self.project.folder, self.project.package / "slim")

    def diff(self) -> bytes:
        return diff(self.root, self.project.folder, self.project.package / "slim")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def fails(self, error: type[PatchError], message: str, place: Path | None = None) -> None:
        """Applying raises, and every byte stays."""
        before = self.snapshot()
        with pytest.raises(error, match=message):
            self.apply(place)
        assert self.snapshot() == before


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Theirs:
    (tmp_path / "ours").mkdir()
    return Theirs(tmp_path / "theirs", Project(tmp_path / "ours", monkeypatch))


# There and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "ultralytics"])
def test_apply_then_revert_is_byte_for_byte(theirs: Theirs, place: str):
    before = theirs.snapshot()
    said = theirs.apply(theirs.root / place)
    assert "x.patch for Ultralytics 1.2.3 applied" in said and "revert" in said
    after = theirs.snapshot()
    assert b"loss += slim.loss(self)" in after["engine/trainer.py"]
    assert after["slim/losses/cwd.py"] == b"loss = 1\n"
    assert after["__init__.py"] == before["__init__.py"]  # their version stays theirs
    assert "byte for byte" in revert(theirs.root / place)
    assert theirs.snapshot() == before
    assert not (theirs.package / "slim").exists()


def test_windows_line_endings_survive_there_and_back(theirs: Theirs):
    theirs.write("engine/trainer.py", UPSTREAM["engine/trainer.py"].replace(b"\n", b"\r\n"))
    before = theirs.snapshot()
    theirs.apply()
    patched = theirs.snapshot()["engine/trainer.py"]
    assert b"loss += slim.loss(self)\r\n" in patched and patched.count(b"\r\n") == patched.count(b"\n")
    revert(theirs.root)
    assert theirs.snapshot() == before


def test_check_changes_nothing(theirs: Theirs):
    before = theirs.snapshot()
    assert "x.patch for Ultralytics 1.2.3 would apply: 1 files edited" in theirs.check()
    assert theirs.snapshot() == before


def test_bytecode_does_not_keep_slim_alive(theirs: Theirs):
    theirs.apply()
    (theirs.package / "slim" / "__pycache__").mkdir()
    (theirs.package / "slim" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"")
    assert "changed since" not in status(theirs.root)
    revert(theirs.root)
    assert not (theirs.package / "slim").exists()


def test_file_modes_are_kept(theirs: Theirs):
    path = theirs.package / "engine" / "trainer.py"
    path.chmod(0o640)
    theirs.apply()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_hard_linked_file_is_replaced_not_written_through(theirs: Theirs):
    """Installers link files from their cache; writing through would patch every other environment."""
    cached = theirs.root / "cached.py"
    os.link(theirs.package / "engine" / "trainer.py", cached)
    theirs.apply()
    assert cached.read_bytes() == UPSTREAM["engine/trainer.py"]


# What is refused, with nothing changed -----------------------------------------------------------------------------


def test_local_edits_in_the_way_name_file_hunk_and_line(theirs: Theirs):
    theirs.write("engine/trainer.py", UPSTREAM["engine/trainer.py"].replace(b"loss = 1", b"loss = 2"))
    theirs.fails(DoesNotFit, r"(?s)engine/trainer\.py: hunk 1 .*'loss = 1' is not there.*local edits in this file")


def test_edits_elsewhere_in_a_patched_file_are_no_obstacle_and_survive(theirs: Theirs):
    theirs.write("engine/trainer.py", b"# mine\n\n" + UPSTREAM["engine/trainer.py"])
    before = theirs.snapshot()
    theirs.apply()
    revert(theirs.root)
    assert theirs.snapshot() == before


def test_twice_is_refused(theirs: Theirs):
    theirs.apply()
    theirs.fails(PatchError, "is patched already; see .*status")


def test_a_fork_is_refused(theirs: Theirs):
    theirs.write("slim/__init__.py", b"")
    theirs.fails(PatchError, "slim is there already")


def test_a_fork_of_our_own_is_told_what_it_is(theirs: Theirs):
    theirs.write("__init__.py", b'__version__ = "1.2.3+slim.0.1.0"\n')
    theirs.write("slim/__init__.py", b"")
    theirs.fails(PatchError, "is a fork that this project made: it has the edits and slim/ already")
    for look in (theirs.check, theirs.diff, lambda: status(theirs.root, theirs.project.folder)):
        with pytest.raises(PatchError, match="is a fork that this project made"):
            look()


@pytest.mark.parametrize(("version", "nearest"), [("1.1.9", "1.2"), ("1.0", "1.2")])
def test_an_unknown_version_names_the_nearest(theirs: Theirs, version: str, nearest: str):
    theirs.write("__init__.py", f'__version__ = "{version}"\n'.encode())
    theirs.fails(PatchError, f"no patch for Ultralytics {version}.*nearest is {nearest}")


def test_a_newer_version_is_tried_with_a_warning(theirs: Theirs):
    theirs.write("__init__.py", b'__version__ = "1.10.0"\n')
    assert "Warning: Ultralytics 1.10.0 is newer than 1.9" in theirs.apply()


def test_a_newer_version_that_does_not_fit_says_that_it_is_newer(theirs: Theirs):
    theirs.write("__init__.py", b'__version__ = "2.0.0"\n')
    theirs.write("engine/trainer.py", b"class Trainer:\n    pass\n")
    theirs.fails(DoesNotFit, r"(?s)hunk 1.*2\.0\.0 is newer than 1\.9")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no version is read"),
        (b"__version__ = get()\n", "no version is read"),
        (b'__version__ = "0.1.0"\n', "0.1.0 is no release of Ultralytics"),
        (b'__version__ = "mine"\n', "mine is no release of Ultralytics"),
    ],
)
def test_without_upstreams_version_the_closest_patch_is_tried_with_a_warning(
    theirs: Theirs, content: bytes, reason: str
):
    theirs.write("__init__.py", content)
    before = theirs.snapshot()
    assert re.search(rf"Warning: .*__init__\.py: {reason}; x\.patch is the closest\.\n", theirs.apply())
    revert(theirs.root)
    assert theirs.snapshot() == before


def test_a_version_behind_a_byte_order_mark_is_read(theirs: Theirs):
    theirs.write("__init__.py", b'\xef\xbb\xbf__version__ = "1.2.3"\r\n')
    assert "for Ultralytics 1.2.3 applied" in theirs.apply()


def test_no_package_there(tmp_path: Path):
    with pytest.raises(PatchError, match=r"no Ultralytics here; give the folder that holds ultralytics/engine"):
        apply(tmp_path)


def test_a_symbolic_link_to_a_package_is_refused(theirs: Theirs, tmp_path: Path):
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "ultralytics").symlink_to(theirs.package)
    theirs.fails(PatchError, "is a symbolic link: all that uses .*theirs/ultralytics would change", tmp_path / "link")


def test_a_symbolic_link_to_a_file_is_refused(theirs: Theirs, tmp_path: Path):
    path = theirs.package / "engine" / "trainer.py"
    shutil.move(path, tmp_path / "elsewhere.py")
    path.symlink_to(tmp_path / "elsewhere.py")
    theirs.fails(PatchError, r"trainer\.py is a symbolic link to .*elsewhere\.py")


def test_read_only_files_are_refused(theirs: Theirs, monkeypatch: pytest.MonkeyPatch):
    """Asked of the system, since the superuser may write read-only files."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "trainer.py")
    theirs.fails(PatchError, r"engine/trainer\.py is read-only")
    with pytest.raises(PatchError, match="is read-only"):
        theirs.check()
    assert b"slim.loss" in theirs.diff()  # which only reads


@pytest.mark.parametrize("call", range(1, 5))
def test_a_failure_half_way_puts_everything_back(theirs: Theirs, monkeypatch: pytest.MonkeyPatch, call: int):
    real, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == call:
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    theirs.fails(PatchError, "No space left on device. Nothing was changed")
    assert len(calls) == call
    assert not (theirs.package / "slim").exists()


@needs_git
def test_uncommitted_changes_in_patched_files_are_refused(theirs: Theirs):
    theirs.git("init", "-q")
    theirs.git("add", "-A")
    theirs.git("commit", "-qm", "x")
    theirs.write("engine/trainer.py", b"# mine\n" + UPSTREAM["engine/trainer.py"])
    theirs.fails(LocalEdits, r"(?s)uncommitted changes.*engine/trainer\.py.*Commit or stash")
    assert b"slim.loss" in theirs.diff()  # which only reads
    theirs.git("commit", "-qam", "mine")
    theirs.write("cfg/default.yaml", b"mine: 1\n")
    theirs.apply()


@needs_git
def test_inside_another_repository_that_ignores_it(theirs: Theirs):
    """A site-packages below some project: `git apply` would silently skip it."""
    theirs.git("init", "-q")
    (theirs.root / ".gitignore").write_text("*\n")
    theirs.apply()
    assert b"slim.loss" in theirs.snapshot()["engine/trainer.py"]


# After applying ----------------------------------------------------------------------------------------------------


def test_status_tells_what_changed_since(theirs: Theirs):
    theirs.apply()
    assert status(theirs.root).endswith("Ultralytics 1.2.3, patched with x.patch.")
    theirs.write("slim/losses/cwd.py", b"mine = 1\n")
    theirs.write("slim/mine.py", b"")
    assert "changed since: slim/losses/cwd.py\n  changed since: slim/mine.py" in status(theirs.root)


def test_status_of_an_unpatched_one_tells_whether_the_patch_fits(theirs: Theirs):
    said = status(theirs.root, theirs.project.folder)
    assert "Ultralytics 1.2.3, not patched.\nx.patch for Ultralytics 1.2.3 would apply" in said


def test_revert_keeps_later_edits_elsewhere_in_patched_files(theirs: Theirs):
    theirs.apply()
    patched = theirs.snapshot()["engine/trainer.py"]
    theirs.write("engine/trainer.py", b"# later\n" + patched)
    assert "your own later edits in engine/trainer.py were kept" in revert(theirs.root)
    assert theirs.snapshot()["engine/trainer.py"] == b"# later\n" + UPSTREAM["engine/trainer.py"]


def test_revert_refuses_when_a_seam_was_edited(theirs: Theirs):
    theirs.apply()
    patched = theirs.snapshot()["engine/trainer.py"]
    theirs.write("engine/trainer.py", patched.replace(b"slim.loss(self)", b"slim.loss(self, 2)"))
    before = theirs.snapshot()
    with pytest.raises(DoesNotFit, match=r"engine/trainer\.py: hunk 1.*Take the lines .* by hand, then revert"):
        revert(theirs.root)
    assert theirs.snapshot() == before


MORE = b"""--- a/ultralytics/cfg/default.yaml
+++ b/ultralytics/cfg/default.yaml
@@ -1,1 +1,2 @@
+x: # slim: x
 epochs: 100
"""


@pytest.mark.parametrize("files", [["engine/trainer.py"], ["engine/trainer.py", "cfg/default.yaml"]])
@pytest.mark.parametrize("change", [b"", b"# another release\n"])
def test_files_that_are_stock_again_count_as_taken_back(theirs: Theirs, files: list[str], change: bytes):
    """As after `git checkout` of one or all of them, or a release that pip put over them."""
    theirs.project.write_patch(PATCH + MORE)
    before = theirs.snapshot()
    theirs.apply()
    for name in files:
        theirs.write(name, change + UPSTREAM[name])
    assert f", byte for byte; {len(files)} of 2 files were without it already" in revert(theirs.root)
    assert theirs.snapshot() == {**before, **{name: change + UPSTREAM[name] for name in files}}
    theirs.apply()


def test_diff_leaves_out_what_is_stock_again(theirs: Theirs):
    theirs.project.write_patch(PATCH + MORE)
    theirs.apply()
    theirs.write("engine/trainer.py", UPSTREAM["engine/trainer.py"])
    told = theirs.diff()
    assert b"+x: # slim: x" in told and b"trainer.py" not in told


def test_status_names_the_release_that_is_there(theirs: Theirs):
    theirs.apply()
    theirs.write("__init__.py", b'__version__ = "1.2.4"\n')
    assert status(theirs.root).endswith("Ultralytics 1.2.4, patched with x.patch when it was 1.2.3.")


@pytest.mark.parametrize("name", ["slim/losses/cwd.py", "slim/mine.py"])
def test_revert_never_deletes_somebodys_work(theirs: Theirs, name: str):
    theirs.apply()
    theirs.write(name, b"mine = 1\n")
    before = theirs.snapshot()
    with pytest.raises(LocalEdits, match=f"(?s){name}.*Move them away"):
        revert(theirs.root)
    assert theirs.snapshot() == before


def test_revert_works_from_its_own_note_after_the_patches_moved_on(theirs: Theirs):
    before = theirs.snapshot()
    theirs.apply()
    theirs.project.write_patch(PATCH.replace(b"slim.loss(self)", b"slim.other(self)"))
    revert(theirs.root)
    assert theirs.snapshot() == before


def test_revert_of_an_unpatched_one(theirs: Theirs):
    with pytest.raises(PatchError, match="was not patched by this tool"):
        revert(theirs.root)


@needs_git
def test_diff_applies_with_git_and_gives_what_apply_gives(theirs: Theirs):
    theirs.write("cfg/no-newline.yaml", b"x")
    (theirs.project.package / "slim" / "no-newline.py").write_bytes(b"x = 1")
    (theirs.root / "full.patch").write_bytes(theirs.diff())
    theirs.git("init", "-q")
    theirs.git("apply", "full.patch")
    by_hand = theirs.snapshot()
    theirs.git("apply", "-R", "full.patch")
    theirs.apply()
    by_tool = theirs.snapshot()
    assert by_tool.pop(".slim-patch.json")
    assert by_tool == by_hand


# The command line and the real pin ---------------------------------------------------------------------------------


def test_the_command_line(theirs: Theirs, capsys: pytest.CaptureFixture):
    assert main(["status", str(theirs.root)]) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("patches: ultralytics/engine/model.py: the patch edits this file")
    assert "Traceback" not in error


@pytest.mark.network
def test_the_pinned_release_there_and_back(stock_ultralytics: Path, tmp_path: Path):
    package = shutil.copytree(stock_ultralytics / "ultralytics", tmp_path / "ultralytics")
    assert "every seam in place" in apply(tmp_path)
    assert (package / "slim" / "trainer.py").is_file()
    revert(tmp_path)
    compared = subprocess.run(["diff", "-r", stock_ultralytics / "ultralytics", package], capture_output=True)
    assert compared.returncode == 0, compared.stdout
