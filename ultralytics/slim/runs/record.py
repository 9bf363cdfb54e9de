"""A run of several stages in one folder: numbered, recorded in `run.json`, and gone on with where it stopped."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.files import increment_path
from ultralytics.utils.torch_utils import strip_optimizer

from ..errors import InputError, MissingFileError, SlimError
from ..files import copy_whole, fingerprint, make_folder, plain, write_json, write_text
from ..loading import load_checkpoint, read_checkpoint
from ..saving import strip_whole
from .run_settings import RunSettings

LOCK, HOLDER = ".run.lock", ".run.holder"  # the system lets go of the first when a process dies; the second says whose
LEFTOVERS = (".*.partial*", ".export-*", ".saving")  # of a process that was killed


class Run:
    """Stages that finish one by one, each leaving a file; `run.json` says which, from what settings, in how long.

    Attributes:
        folder: Where everything of this run lies; the stages' files are in `folder/weights`.
        settings: What the run was started with; stays the same when it is gone on with.
        stages: What run.json says of each stage that is finished: its file, SHA-256 and seconds.
        origin: SHA-256 of the file that the run starts from, by path.
        results: What was measured at the end.

    Within `with run:` no other process can work on it.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        stages: dict[str, dict[str, Any]] | None = None,
        origin: dict[str, str] | None = None,
    ):
        self.folder, self.settings, self.stages, self.origin = Path(folder), settings, stages or {}, origin or {}
        self.results: dict = {}
        self._reusing = True  # until a stage has to run: what follows it must run too
        self._continued = ""  # the stage that an earlier attempt may have left half-way
        self._measured = False
        self._lock = FileLock(self.folder / LOCK, blocking=False)

    @classmethod
    def start(cls, project: str | Path, name: str, settings: RunSettings) -> Run:
        """Make the next numbered folder, as Ultralytics does."""
        folder = increment_path(Path(project) / name)
        if hint := cls._unfinished(folder.parent, settings):
            again = f"resume={shlex.quote(str(hint))}"
            LOGGER.info(f"{hint} stopped half-way with these settings; to go on with it: {again}")
        make_folder(folder)
        sources = filter(None, (settings.weights, settings.teacher))
        run = cls(folder.resolve(), settings, origin={source: fingerprint(source) for source in sources})
        run.save()
        return run

    @classmethod
    def resume(
        cls,
        project: str | Path,
        name: str | None,
        given: Mapping[str, Any],
        settle: Callable[[RunSettings], RunSettings] = lambda settings: settings,
    ) -> Run:
        """Open an earlier run, the newest unfinished one where no name is given.

        Args:
            project, name: The run's folder is `project/name`.
            given: Settings, of which those that change no result replace the recorded ones.
            settle: Turns settings into what is recorded of them, before those given are compared with those recorded.

        Raises:
            MissingFileError: There is none.
            InputError: run.json is not the record of a run; or a given setting or the original weights differ from
                those recorded: results would be mixed.
        """
        folder = Path(project) / name if name else cls._unfinished(Path(project))
        if folder is None or not (folder / "run.json").is_file():
            where = folder or Path(project)
            raise MissingFileError(f"resume=True: no unfinished run in {where}; leave out resume to start one")
        record = read_record(folder / "run.json")
        for file, sha256 in record["origin"].items():
            if not Path(file).is_file():
                raise MissingFileError(f"{file}, from which {folder} was started, is gone; put it back to go on")
            if fingerprint(file) != sha256:
                raise InputError(f"{file} has changed since {folder} was started; leave out resume for a new run")
        given = plain(dict(given))
        settings, differing = _settings_of(folder / "run.json", record).resumed(given, settle)
        if differing:
            listed = ", ".join(differing)
            raise InputError(f"{folder} was run with {listed}; drop these keys, or leave out resume for a new run")
        return cls(folder.resolve(), settings, record["stages"], record["origin"])

    @staticmethod
    def _unfinished(project: Path, settings: RunSettings | None = None) -> Path | None:
        """Return the newest run folder that is not finished, with these settings if given."""
        for file in sorted(project.glob("*/run.json"), key=lambda f: f.stat().st_mtime, reverse=True):
            with suppress(ValueError):  # not a run's
                record = read_record(file)
                if not record.get("finished") and (settings is None or settings.recorded == record["settings"]):
                    return file.parent
        return None

    @property
    def record(self) -> Path:
        return self.folder / "run.json"

    def __enter__(self) -> Run:
        """Take the run for this process, and clear what a killed one left half-written.

        Raises:
            InputError: Another process has it; the message names that one.
        """
        holder = self.folder / HOLDER
        try:
            self._lock.acquire()
        except Timeout as error:
            who = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
            raise InputError(f"{self.folder} is being worked on by {who}; wait for it, or stop it") from error
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        if self.record.is_file():  # another process may have gone on since it was read
            self.stages = read_record(self.record)["stages"]
        for path in [path for pattern in LEFTOVERS for path in self.folder.rglob(pattern)]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        (self.folder / HOLDER).unlink(missing_ok=True)
        self._lock.release()
        place = shlex.quote(str(self.folder))
        if kind is not None and self._measured:
            LOGGER.info(f"\nall stages are finished and measured; for the report: report folder={place}")
        elif kind is not None:
            done = ", ".join(self.stages) or "no stage yet"
            LOGGER.info(f"\nfinished: {done}; to go on from there: resume={place}")

    def stage(self, name: str, work: Callable[[Path], object]) -> Path:
        """Let `work` make the stage's file, unless it did so earlier and the file is unchanged; return its path."""
        file = f"weights/{name}.pt"
        path = self.folder / file
        if self._reusing and self._is_done(name, path):
            LOGGER.info(f"{colorstr('bold', name)}: done earlier, using {path}")
            return path
        self._continued, self._reusing = name if self._reusing else "", False
        LOGGER.info(f"\n{colorstr('bold', 'blue', name)} -> {path}")
        started = time.monotonic()
        if trained := self._trained(name):
            LOGGER.info(f"{name}: trained earlier, using {trained}")
            copy_whole(trained, path)
        else:
            work(path)
        seconds = round(time.monotonic() - started, 1)
        self.stages[name] = {"file": file, "sha256": fingerprint(path), "seconds": seconds}
        self.save()
        LOGGER.info(f"{name}: {seconds:.0f} s")
        return path

    def _is_done(self, name: str, path: Path) -> bool:
        record = self.stages.get(name)
        return bool(record) and path.is_file() and fingerprint(path) == record["sha256"]

    def training(self, name: str) -> dict:
        """Return the training arguments that keep a stage's epochs here, or go on with them if it was interrupted."""
        last = self.folder / name / "weights/last.pt"
        if name == self._continued and training_state(last) == "interrupted":
            LOGGER.info(f"{name}: going on from the last whole epoch, {last}")
            best = last.with_name("best.pt")
            if best.exists() and not is_whole(best):
                LOGGER.warning(f"{name}: {best} is damaged, so the best of the epochs from here on is kept")
                best.unlink()
            return {"resume": str(last)}
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return {"project": str(self.folder), "name": name, "exist_ok": True}

    def _trained(self, name: str) -> Path | None:
        """Return the best checkpoint of a training that an earlier attempt finished and did not yet keep."""
        best, last = (self.folder / name / "weights" / file for file in ("best.pt", "last.pt"))
        state = training_state(last) if name == self._continued else ""
        if state not in ("trained", "finished"):
            return None
        for file in filter(is_whole, (best, last)):  # stopped before or while Ultralytics strips them
            if read_checkpoint(file).get("optimizer") is not None:
                strip_whole(strip_optimizer)(file)
        if is_whole(best):
            return best
        LOGGER.warning(f"{name}: {best} is missing or damaged, so {last}, of the last epoch, is taken")
        return last

    def files(self) -> dict[str, Path]:
        """Return the file of each finished stage."""
        return {name: self.folder / record["file"] for name, record in self.stages.items()}

    def measured(self, results: dict) -> None:
        """Record what was measured once every stage is done."""
        self._measured, self.results = True, results
        self.save()

    def finish(self) -> None:
        """Record that nothing is left to do."""
        self.save(finished=True)

    def save(self, finished: bool = False) -> None:
        record = {
            "settings": dict(self.settings.recorded),
            "origin": self.origin,
            "stages": self.stages,
            "finished": finished,
        }
        record["results"] = self.results
        write_json(self.record, record)


def read_record(file: Path) -> dict[str, Any]:
    """Return the content of a run.json.

    Raises:
        InputError: It is not the record of a run.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise InputError(f"{file}: expected the record of a pipeline run, but it is damaged: {error}") from error
    parts = ("settings", "stages", "origin")
    absent = [key for key in parts if not isinstance(record, dict) or key not in record]
    if absent:
        raise InputError(f"{file}: expected the record of a pipeline run, but {', '.join(absent)} is not in it")
    stages, tables = record["stages"], {key: record[key] for key in parts}
    tables |= {f"stages.{name}": stage for name, stage in stages.items()} if isinstance(stages, dict) else {}
    for key, value in tables.items():
        if not isinstance(value, dict):
            raise InputError(f"{file}: expected the record of a pipeline run, but {key} is {value!r:.40}, no table")
    for name, stage in stages.items():
        for key in ("file", "sha256"):
            if not isinstance(stage.get(key), str):
                raise InputError(f"{file}: expected the record of a pipeline run, but stages.{name} lacks its {key}")
    return record


def _settings_of(file: Path, record: dict[str, Any]) -> RunSettings:
    """Return the settings that a record holds; raise InputError where they are damaged."""
    try:
        return RunSettings.of_record(record["settings"])
    except SlimError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: the settings in it are damaged ({error})") from error


def training_state(last: Path) -> str:
    """Return how far the training that wrote `last` came.

    Returns:
        "interrupted"; "trained" after its last epoch, before Ultralytics has stripped its checkpoints; "finished" after
        that; or "missing", also of a file that cannot be read.
    """
    try:
        checkpoint = read_checkpoint(last)
    except Exception:  # no file, or half of one: any error of pickle or zip
        return "missing"
    done = checkpoint.get("epoch", -1) + 1
    if done < 1 or checkpoint.get("optimizer") is None:
        return "finished"
    return "trained" if done >= checkpoint.get("train_args", {}).get("epochs", done + 1) else "interrupted"


def is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint is there and can be loaded."""
    try:
        return checkpoint.is_file() and bool(load_checkpoint(checkpoint))
    except Exception:  # half of a file: any error of pickle or zip
        return False
