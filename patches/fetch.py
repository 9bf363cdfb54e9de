"""Get the pinned wheel: from a named file, from our cache, or through pip; always verified by hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from patches.errors import PatchError
from patches.pin import Pin

WHEEL_VARIABLE = "SLIM_UPSTREAM_WHEEL"
CACHE_VARIABLE = "SLIM_CACHE"


def fetch_wheel(pin: Pin) -> Path:
    """Return the path of the verified wheel; downloads at most once a user."""
    named = os.environ.get(WHEEL_VARIABLE)
    if named:
        return verify(Path(named), pin, f"{WHEEL_VARIABLE} names this file; point it at the right wheel or unset it.")
    cached = cache_folder() / pin.wheel_name
    if cached.is_file() and sha256(cached) == pin.sha256:
        return cached
    return download(pin, cached)


def fetch_release(version: str) -> Path:
    """The wheel of any release, of which no hash is pinned; for work on the patches, never for installing."""
    cached = cache_folder() / f"ultralytics-{version}-py3-none-any.whl"
    return cached if zipfile.is_zipfile(cached) else fetch_wheel_of(f"ultralytics=={version}")


def fetch_wheel_of(requirement: str) -> Path:
    """Let pip bring the wheel of a requirement, and move it to the cache under its own name: 8.5 may be 8.5.0."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        run_pip_download(requirement, Path(folder))
        (wheel,) = Path(folder).glob("*.whl")
        os.replace(wheel, cache / wheel.name)
    return cache / wheel.name


def cache_folder() -> Path:
    """Where wheels are kept between runs: `SLIM_CACHE`, or the platform's folder for caches."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ultralytics-slim"


def download(pin: Pin, target: Path) -> Path:
    """Let pip bring the wheel (its index, proxy and certificate settings apply), verify it, move it to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        run_pip_download(f"ultralytics=={pin.version}", Path(folder))
        wheel = verify(Path(folder) / pin.wheel_name, pin, "The index served another file than the one pinned.")
        os.replace(wheel, target)
    return target


def run_pip_download(requirement: str, folder: Path) -> None:
    """`pip download` of one wheel, without its requirements."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, env=pip_environment(), stdin=subprocess.DEVNULL)
    if done.returncode:
        raise PatchError(
            f"pip could not download {requirement}:\n{done.stderr.strip()}\n"
            f"Go online, or set {WHEEL_VARIABLE} to a copy of the wheel."
        )


def pip_environment() -> dict[str, str]:
    """The environment for pip, with uv's choice of index passed on where pip has none of its own."""
    environment = dict(os.environ)
    index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    if index:
        environment.setdefault("PIP_INDEX_URL", index.split("=", 1)[-1] if "=" in index.split("://")[0] else index)
    return environment


def verify(wheel: Path, pin: Pin, remedy: str) -> Path:
    """Return `wheel` if its hash is the pinned one."""
    if not wheel.is_file():
        raise PatchError(f"{wheel}: no such file. {remedy}")
    found = sha256(wheel)
    if found != pin.sha256:
        raise PatchError(f"{wheel}: expected sha256 {pin.sha256}, got {found}. {remedy}")
    return wheel


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(wheel: Path, folder: Path) -> Path:
    """Unpack a verified wheel into `folder` and return its `ultralytics` folder."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("/") or ".." in Path(name).parts:
                    raise PatchError(f"{wheel}: unsafe path {name!r} inside the archive.")
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise PatchError(f"{wheel} is damaged ({error}); delete it, and it is fetched anew.") from error
    if not (folder / "ultralytics" / "__init__.py").is_file():
        raise PatchError(f"{wheel}: holds no ultralytics/__init__.py.")
    return folder / "ultralytics"
