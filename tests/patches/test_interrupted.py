"""`apply` and `revert` killed at any of their writes: either command leads on from there, and nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import patches.seams
from patches.apply import apply, check
from patches.errors import LocalEdits, PatchError
from patches.journal import JOURNAL, is_interrupted
from patches.revert import revert, status
from patches.state import STATE

from fake_upstream import SEAM, UPSTREAM, Project
from killing import run_killed, run_leaving, states_in

HOSTILE_PATCH = """\
--- a/ultralytics/../../precious.txt
+++ b/ultralytics/../../precious.txt
@@ -1,1 +1,1 @@
-keep
+gone
"""
DAMAGED = ("", "[]", "{", '{"engine/trainer.py": 3}', '{"../x": {"unpatched": null, "patched": null}}')


def snapshot(package: Path) -> dict[str, bytes]:
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()}


def apply_there(package: Path, folder: Path, slim: Path) -> None:
    """Apply in another process, which expects the seams of the made-up upstream, too."""
    patches.seams.SEAMS = (SEAM,)
    apply(package, folder, slim)


class Copies:
    """Fresh copies of the made-up upstream, unpatched or patched, and what either is made of."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        (folder / "ours").mkdir()
        self.folder, self.project = folder, Project(folder / "ours", monkeypatch)
        (self.project.package / "slim/losses").mkdir()
        (self.project.package / "slim/losses/cwd.py").write_text("loss = 1\n")
        self.patched = self.apply(self.new("patched"))
        self.unpatched = snapshot(self.new("unpatched"))

    def new(self, name: str) -> Path:
        package = self.folder / name / "ultralytics"
        for file, content in UPSTREAM.items():
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            (package / file).write_bytes(content)
        return package

    @property
    def source(self) -> tuple[Path, Path]:
        return self.project.folder, self.project.package / "slim"

    def apply(self, package: Path) -> dict[str, bytes]:
        apply(package, *self.source)
        return snapshot(package)

    def left(self, command: str) -> list[Path]:
        """Return what a package is after a command was killed at each of its writes."""
        package, states = self.new(f"whole-{command}"), self.folder / f"states-{command}"
        if command == "revert":
            apply(package, *self.source)
        work, args = (apply_there, (package, *self.source)) if command == "apply" else (revert, (package,))
        count = run_leaving(work, args, package, states, 1)
        shutil.rmtree(package)  # nothing may lead back to it
        folders = states_in(states)
        assert len(folders) == count > 12
        return folders


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Iterator[Copies]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Copies(tmp_path_factory.mktemp("copies"), monkeypatch)


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_killed_at_every_write(copies: Copies, command: str):
    for state in copies.left(command):
        package = shutil.copytree(state, copies.folder / f"{command}-{state.name}/ultralytics")
        if is_interrupted(package) and snapshot(package).keys() - {JOURNAL} != copies.patched.keys():
            assert "interrupted" in status(package, copies.project.folder)
            with pytest.raises(PatchError, match="interrupted"):
                check(package, *copies.source)
        with suppress(PatchError):  # "is patched already", where all was done
            copies.apply(package)
        assert snapshot(package) == copies.patched, state.name
        with suppress(PatchError):  # "was not patched", where nothing had been begun
            revert(state)
        assert snapshot(state) == copies.unpatched, state.name


def test_work_done_since_is_not_lost(copies: Copies):
    package = copies.new("edited")
    assert not run_killed(apply_there, (package, *copies.source), package, 12)
    (package / "engine/trainer.py").write_text("# mine\n")
    for command in (lambda: revert(package), lambda: apply(package, *copies.source)):
        with pytest.raises(LocalEdits, match="engine/trainer.py"):
            command()
    assert (package / "engine/trainer.py").read_text() == "# mine\n"


@pytest.mark.parametrize(
    "change",
    [
        {"added": {"../../precious.txt": "0"}},
        {"added": {"/etc/hostname": "0"}},
        {"added": {"slim\\..\\..\\precious.txt": "0"}},
        {"edited": {"../precious.txt": ["0", "0"]}},
        {"patch": HOSTILE_PATCH},
        {"added": ["slim/__init__.py"]},
        {"edited": {"engine/trainer.py": "0"}},
        {"edited": None},
        {"name": 3},
        {"patch": None},
    ],
)
def test_a_note_that_leads_elsewhere_or_is_none_is_refused(copies: Copies, change: dict, request):
    package = copies.new(f"hostile-{request.node.name}")
    precious = [package.parent / "precious.txt", package.parent.parent / "precious.txt"]
    for file in precious:
        file.write_text("keep\n")
    copies.apply(package)
    note = json.loads((package / STATE).read_text())
    (package / STATE).write_text(json.dumps({**note, **change}))
    before = snapshot(package)
    with pytest.raises(PatchError) as error:
        revert(package)
    assert len(str(error.value).splitlines()) == 1 and STATE in str(error.value)
    assert snapshot(package) == before and all(file.read_text() == "keep\n" for file in precious)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_journal_is_one_line(copies: Copies, content: str):
    package = copies.new(f"journal-{DAMAGED.index(content)}")
    (package / ".slim-patch.journal").write_text(content)
    with pytest.raises(PatchError, match="journal is damaged"):
        revert(package)


@pytest.mark.parametrize("name", [STATE, JOURNAL])
def test_what_a_damaged_note_says_is_the_way_out(copies: Copies, name: str):
    package = copies.new(f"way-out-{name}")
    copies.apply(package)
    (package / name).write_text("{")
    with pytest.raises(PatchError) as error:
        revert(package)
    for told in {package / name, package / STATE, package / "slim"}:
        assert f"{told}" in str(error.value)
        shutil.rmtree(told) if told.is_dir() else told.unlink()
    (package / "engine/trainer.py").write_bytes(UPSTREAM["engine/trainer.py"])
    copies.apply(package)


def test_a_folder_that_is_a_link_is_not_written_through(copies: Copies):
    package = copies.new("linked")
    elsewhere = package.parent / "elsewhere"
    shutil.move(package / "engine", elsewhere)
    os.symlink(elsewhere, package / "engine")
    before = snapshot(elsewhere)
    with pytest.raises(PatchError, match="engine is a symbolic link to .*elsewhere"):
        apply(package, *copies.source)
    assert snapshot(elsewhere) == before and not (package / "slim").exists()
