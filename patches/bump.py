"""Move the pin to a newer upstream release: fetch it, try the newest patch, tell what needs a person."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from patches.edit import check_result
from patches.errors import DoesNotFit, PatchError
from patches.fetch import fetch_release, fetch_wheel_of, sha256, unpack
from patches.pin import HERE, Pin, load_pin, load_series, version_key
from patches.unified import FilePatch, apply_to_bytes, read_patch


def bump(version: str | None = None, dry_run: bool = False, folder: Path = HERE) -> str:
    """Pin `version`, or the newest release; `dry_run` only tells. Raises, nothing changed, if the patch misfits."""
    pin, newest = load_pin(folder), load_series(folder)[-1]
    wheel = fetch_release(version) if version else fetch_wheel_of("ultralytics")
    found = wheel.name.split("-")[1]
    if version_key(found) <= version_key(pin.version):
        return f"Nothing to do: {pin.version} is pinned, and {found} is not newer."
    faults = find_misfits(wheel, read_patch(folder / newest.patch), found)
    if faults:
        raise DoesNotFit(misfit_message(found, newest.patch, faults))
    if not dry_run:
        write_json(folder / "pin.json", {**pin._asdict(), "version": found, "sha256": sha256(wheel)})
        widen_series(folder, found)
    return report(pin, wheel, found, newest.patch, dry_run)


def find_misfits(wheel: Path, patch: list[FilePatch], version: str) -> list[str]:
    """Every hunk that does not fit, and every seam that is then out of place: all that a person has to look at."""
    with tempfile.TemporaryDirectory() as scratch:
        package, after, faults = unpack(wheel, Path(scratch)), {}, []
        for file in patch:
            path = package / file.inner
            content = path.read_bytes() if path.is_file() else b""
            for hunk in file.hunks:
                try:
                    content = apply_to_bytes(content, FilePatch(file.path, [hunk]))
                except DoesNotFit as error:
                    faults.append(str(error))
            after[path] = content
        if not faults:
            try:
                check_result(package, patch, after)
            except DoesNotFit as error:
                faults.append(str(error))
        return faults


def misfit_message(version: str, patch: str, faults: list[str]) -> str:
    """What a person has to do now."""
    listed = "\n".join(f"  {fault}" for fault in faults)
    return (
        f"{patch} does not fit Ultralytics {version}; nothing was changed.\n{listed}\n"
        f"Open a new range: copy {patch} to {version}.patch, list it in series.json, pin {version}, and mend the hunks "
        "above until `python -m patches materialise` passes; then run `python -m patches carry`."
    )


def widen_series(folder: Path, version: str) -> None:
    """Let the newest range end at `version`."""
    series = [entry._asdict() for entry in load_series(folder)]
    series[-1]["last"] = version
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in series)
    write_text(folder / "series.json", f"[\n{lines}\n]\n")


def write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write by rename."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content, encoding="utf-8")
    os.replace(fresh, path)


def report(pin: Pin, wheel: Path, version: str, patch: str, dry_run: bool) -> str:
    """What was found and done, and what is left for a person."""
    done = "would be pinned" if dry_run else "is pinned now (pin.json, series.json)"
    lines = [f"Ultralytics {version} {done}; {patch} fits, every seam is in place.", "Left for a person:"]
    lines += [f"  requirements, for pyproject.toml: {change}" for change in requirement_changes(pin, wheel)]
    lines += [f"  NOTICE: release {version} and today's date", "  python -m patches materialise, then make test"]
    return "\n".join(lines)


def requirement_changes(pin: Pin, wheel: Path) -> list[str]:
    """Requirements that the new release drops (-) or adds (+)."""
    try:
        before, after = requirements(fetch_release(pin.version)), requirements(wheel)
    except PatchError as error:
        return [f"not compared, since {error}"]
    return [f"- {line}" for line in sorted(before - after)] + [f"+ {line}" for line in sorted(after - before)]


def requirements(wheel: Path) -> set[str]:
    """What a wheel requires without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return {line for line in lines if "extra ==" not in line}
