"""What installing brings: the wheel's contents, its metadata against upstream's, and the two make commands' set-up."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from patches.fetch import fetch_wheel
from patches.pin import ROOT, load_pin, load_series, patch_for
from patches.unified import read_patch

IN_GIT = (ROOT / ".git").exists() and shutil.which("git")
LEFT_OUT = {"opencv-python", "ultralytics-platform"}  # pyproject.toml says why
ADDED = {"opencv-python-headless", "scipy", "filelock", "networkx"}
RAISED = {"torch", "torchvision"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from a copy of what git tracks (and of new files), in build isolation."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


def tracked_files() -> list[str]:
    """Every file of the checkout that git does not ignore."""
    if not IN_GIT:
        pytest.skip("not a git checkout")
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


def run(*command: str | Path, **options) -> str:
    """Run a command; on failure show all that it printed."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **options.pop("env", {})}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


# The wheel ---------------------------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.slow
def test_the_wheel_holds_the_patched_tree_and_ours(wheel: Path):
    """Everything of upstream's, changed only where the patch says so, and our modules; nothing else."""
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(fetch_wheel(load_pin())) as stock:
        names = {name for name in ours.namelist() if ".dist-info/" not in name}
        upstream = {name for name in stock.namelist() if ".dist-info/" not in name}
        edited = {file.path for file in read_patch(patch_for(load_pin().version))} | {"ultralytics/__init__.py"}
        assert {name for name in upstream if ours.read(name) != stock.read(name)} == edited
    own = {name for name in tracked_files() if name.startswith(("ultralytics/slim/", "connectors/"))}
    assert names == upstream | own | {"prune_model.py", "relation.py"}


@pytest.mark.network
@pytest.mark.slow
def test_record_lists_every_file_with_its_hash(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(archive.read(record).decode().splitlines())}
        assert set(rows) == set(archive.namelist())
        for name, (digest, size) in rows.items():
            content = archive.read(name)
            if name != record:
                wanted = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert (digest, size) == (f"sha256={wanted}", str(len(content)))


@pytest.mark.network
@pytest.mark.slow
def test_the_wheel_carries_licence_notice_changes_and_commands(wheel: Path):
    info = metadata(wheel)
    assert info["Version"] == load_pin().fork_version
    assert info["License-Expression"] == "AGPL-3.0-only"
    with zipfile.ZipFile(wheel) as archive:
        folder = f"ultralytics-{load_pin().fork_version}.dist-info"
        licences = {name.split("licenses/")[1] for name in archive.namelist() if "/licenses/" in name}
        assert licences == {"LICENSE", "NOTICE", *(f"patches/{entry.patch}" for entry in load_series())}
        commands = configparser.ConfigParser()
        commands.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    entry = "ultralytics.cfg:entrypoint"
    expected = {"yolo": entry, "ultralytics": entry, "prune-model": "prune_model:main"}
    assert dict(commands["console_scripts"]) == expected


@pytest.mark.network
@pytest.mark.slow
def test_installed_in_a_clean_environment_it_is_the_fork(wheel: Path, tmp_path: Path):
    """A new environment that sees this one's torch through a .pth file, and is run far from the checkout."""
    run(sys.executable, "-m", "venv", tmp_path / "v")
    folder = "Scripts" if os.name == "nt" else "bin"
    python = tmp_path / "v" / folder / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = [path for path in sys.path if path.endswith("site-packages")]
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    (site / "torch-of-the-tests.pth").write_text("\n".join(ours) + "\n")
    code = (
        "import ultralytics; from ultralytics.slim import trainer; from importlib.metadata import version;"
        "from prune_model import PruneModel; import relation;"
        "print(ultralytics.__file__, ultralytics.__version__, version('ultralytics'))"
    )
    path, *versions = run(python, "-c", code, cwd=tmp_path, env={"PYTHONPATH": ""}).split()[-3:]
    assert Path(path).is_relative_to(site)
    assert versions == [load_pin().fork_version] * 2
    assert run(tmp_path / "v" / folder / "yolo", "version", cwd=tmp_path).strip() == load_pin().fork_version
    assert run(tmp_path / "v" / folder / "prune-model", "--help", cwd=tmp_path).startswith("usage: ")


# Requirements ------------------------------------------------------------------------------------------------------


def test_packages_that_require_ultralytics_are_satisfied():
    pin = load_pin()
    for wanted in (">=8.4", f"=={pin.version}", "~=8.4.0", "<9"):
        assert SpecifierSet(wanted).contains(pin.fork_version), wanted


@pytest.mark.network
@pytest.mark.slow
def test_requirements_are_upstreams_but_for_the_listed_differences(wheel: Path):
    """Fails on a new upstream release whose requirements changed: pyproject.toml has to follow."""
    ours, stock = (requirements(metadata(path)) for path in (wheel, fetch_wheel(load_pin())))
    assert set(ours) == set(stock) - LEFT_OUT | ADDED
    assert ours["opencv-python-headless"] == stock["opencv-python"]
    for name in set(ours) - ADDED - RAISED:
        assert ours[name] == stock[name], name


def requirements(info) -> dict[str, set[tuple[str, str]]]:
    """Name -> {(specifier, marker)} of what is required without extras."""
    found: dict[str, set[tuple[str, str]]] = {}
    for requirement in map(Requirement, info.get_all("Requires-Dist")):
        marker = str(requirement.marker or "")
        if "extra ==" not in marker:
            found.setdefault(requirement.name, set()).add((str(requirement.specifier), marker))
    return found


def test_upstreams_checks_cope_with_the_local_version():
    from ultralytics.utils.checks import check_version, parse_version

    pin = load_pin()
    assert parse_version(pin.fork_version) == tuple(int(part) for part in pin.version.split("."))
    assert check_version(pin.fork_version, f"=={pin.version}")
    assert not check_version(pin.fork_version, f"<{pin.version}")


# House rules -------------------------------------------------------------------------------------------------------


def test_no_file_names_a_package_index():
    """Where packages come from is the user's configuration, not ours."""
    hosts = re.compile(rb"pypi\." + rb"org|python" + rb"hosted|download\.py" + rb"torch")
    guilty = [name for name in tracked_files() if hosts.search((ROOT / name).read_bytes())]
    assert not guilty


def test_the_notice_names_release_and_patch():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    pin = load_pin()
    assert f"Ultralytics {pin.version}," in notice
    assert f"patches/{patch_for(pin.version).name}" in notice
    assert re.search(r"^Modified on \d{4}-\d\d-\d\d:$", notice, re.MULTILINE)


# make --------------------------------------------------------------------------------------------------------------

needs_make = pytest.mark.skipif(not shutil.which("make") or os.name == "nt", reason="needs make and a POSIX shell")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder that `fake_python` prepared."""
    command = ["make", *arguments, f"PYTHON={folder / 'fake'}"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))} | {"ARGS": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=plain)


def fake_python(folder: Path, *, old: bool = False, venv: bool = True) -> None:
    """A copy of our Makefile, and a script that answers as Python would to what it asks, and logs what was asked."""
    script = f"""#!/bin/sh
echo "$@" >> {folder}/log
case "$*" in
*version_info*) exit {int(old)} ;;
*ensurepip*) exit {int(not venv)} ;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""
    shutil.copy2(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "hatch_build.py"):
        (folder / name).touch()
    (folder / "fake").write_text(script)
    (folder / "fake").chmod(0o755)


@needs_make
def test_make_sets_up_once(tmp_path: Path):
    fake_python(tmp_path)
    for _ in range(2):
        assert make(tmp_path, "test").returncode == 0
    log = (tmp_path / "log").read_text()
    assert log.count("-m venv") == 1
    assert log.count("install --disable-pip-version-check -e .[test]") == 1
    assert log.count("-m pytest") == log.count("-m ruff check") == log.count("-m ruff format --check") == 2
    assert make(tmp_path, "demo").returncode == 0
    log = (tmp_path / "log").read_text()
    assert log.count("install") == 2 and log.splitlines()[-1] == "prune_model.py"


@needs_make
def test_make_check_needs_no_more_than_ruff(tmp_path: Path):
    fake_python(tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert make(tmp_path, "check").returncode == 0
    log = (tmp_path / "log").read_text()
    assert re.findall(r"pip install .* (\S+)$", log, re.M) == [f"ruff{pinned_ruff()}"] and "-m pytest" not in log


def pinned_ruff() -> str:
    """The version of ruff that pyproject.toml asks for, as ruff itself reads it."""
    return re.search(r'^required-version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M).group(
        1
    )


@needs_make
def test_make_installs_again_when_a_requirement_changed(tmp_path: Path):
    fake_python(tmp_path)
    make(tmp_path, "demo")
    stamp = (tmp_path / ".venv" / ".installed").stat()
    os.utime(tmp_path / ".venv" / ".installed", (stamp.st_atime, stamp.st_mtime - 60))
    make(tmp_path, "demo")
    assert (tmp_path / "log").read_text().count("install") == 2


@needs_make
@pytest.mark.parametrize(
    ("options", "message"),
    [({"old": True}, "Python 3.10 or newer is needed"), ({"venv": False}, "apt-get install python3-venv")],
)
def test_make_says_what_is_missing(tmp_path: Path, options: dict, message: str):
    fake_python(tmp_path, **options)
    done = make(tmp_path, "demo")
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / ".venv").exists()
