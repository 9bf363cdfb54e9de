"""Every command and Python example of the documentation runs on a tiny data set, or is listed with a reason."""

import inspect
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import prune_model
from patches.__main__ import main as patches
from ultralytics import YOLO
from ultralytics.cfg import entrypoint
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.slim.command.commands import keys_of
from ultralytics.slim.command.parsing import parse
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.installation import MODULE, SCRIPT
from ultralytics.slim.pruning.prune import prune_model as prune
from ultralytics.slim.runs import training

from places import ROOT
from random_models import seeing

READMES = ("README.md", "README.zh-CN.md")
FILES = [ROOT / name for name in (*READMES, "patches/README.md", "benchmarks/README.md", "weights/README.md")]
FILES += sorted((ROOT / "docs").glob("*.md"))
PROGRAMS = {"python", "yolo", "make", "pip", "git", "torchrun", "prune-model"}
TINY = {"imgsz": "64", "batch": "4", "workers": "0", "device": "cpu"}
TRAINED = {**TINY, "epochs": "1", "plots": "False"}
EXTRAS = {  # imgsz alone for every other stage
    "run": {**TRAINED, "format": "torchscript"},
    **dict.fromkeys(("sparse", "train", "distill"), TRAINED),
    "compare": {"imgsz": "64", "device": "cpu"},
    "recover": {"imgsz": "160", "iterations": "1", "device": "cpu"},
    "front": {"imgsz": "64", "iterations": "0", "shares": "0.6,0.4", "device": "cpu"},
    "report": {},
}
UNLABELLED = {"imgsz": "160", "recover.iterations": "1", "format": "torchscript", "device": "cpu"}
NOT_RUN = {  # beginning of a command -> why it is not run here
    "make ": "sets up an environment; test_packaging.py runs both targets with a Python that only notes what it is "
    "told",
    "pip install -e .": "is how this very environment was made; test_packaging.py builds and installs the wheel",
    "git ": "another program's; test_patch_checkout.py applies the patch that `diff` writes",
    "torchrun ": "several machines; test_ddp.py starts two launchers on one",
    "python benchmarks/": "minutes to hours, on data outside the repository",
    "python prune_model.py data=benchmarks/real_diagrams.yaml": "an hour, on data outside the repository; its keys "
    "are checked",
    "python prune_model.py prune weights=yolo11n.pt classes=": "classes of other weights; test_fewer_classes.py prunes "
    "to some of a network's own",
    "python prune_model.py weights=best.pt data=my.yaml classes=": "classes of other weights, as above",
    "python prune_model.py prune weights=best.pt flops=0.35 images=my.yaml depth=auto": "test_depth.py weighs blocks",
    "python prune_model.py prune weights=best.pt images=my.yaml latency_ms=": "so many milliseconds of some machine; "
    "test_targets.py asks for its own",
    "python prune_model.py prune weights=best.pt images=my.yaml flops=0.5 cost=time": "needs OpenVINO; test_times.py "
    "prunes by time",
    "python prune_model.py prune weights=best.pt images=my.yaml keep=": "minutes of trials; test_keep.py searches",
    "python prune_model.py prune weights=best.pt images=photos/ keep=": "minutes of trials, as above",
    "python prune_model.py data=my.yaml weights=best.pt keep=": "minutes of trials, as above",
    "python prune_model.py front weights=best.pt data=my.yaml compare=": "test_front.py compares",
    "python prune_model.py front weights=best.pt images=": "test_front.py makes one without labels",
    "python prune_model.py front resume=runs/slim/front train=": "100 epochs; test_front.py trains one of them",
    "python -m ultralytics.slim.pruning.architectures": "half an hour; test_architectures.py prunes each of them",
    "yolo train model=yolov8n.yaml data=diagram.yaml": "45 minutes",
    "python - runs/baseline": "needs the result of those 45 minutes",
    "python -m patches materialise": "rewrites ultralytics/ under the running tests; test_patches.py does it elsewhere",
    "python -m patches refresh": "rewrites the patch; test_patches.py does it elsewhere",
    "python -m patches export": "makes a patch of each range; test_edited_checkouts.py does it elsewhere",
    "python -m patches carry": "rewrites the patches; test_series.py does it elsewhere",
    "python -m patches bump": "moves the pin; test_bump.py does it elsewhere",
}
TESTED_ELSEWHERE = {"class CosineLoss": "test_docs.py", "from ultralytics import YOLOv10": "test_own_class.py"}


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return (language, text) of each block of code, "" for an indented one."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return fenced + [("", block) for block in re.findall(r"(?:^ {4}.*\n)+", rest, re.M)]


def commands(path: Path) -> list[str]:
    """Return the commands in a file's blocks and in its inline code, without comments and the environment's folder."""
    lines = [
        line
        for language, block in blocks(path)
        if language != "python"
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S))
    found = [" ".join(line.split("# ")[0].split()).removeprefix(".venv/bin/") for line in lines]
    found = [line for line in found if line not in (SCRIPT, MODULE)]  # the program's name
    return [line for line in found if line.split(" ")[0] in PROGRAMS and " " in line and "..." not in line]


def reason(command: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def tiny(command: str) -> str:
    """Return the command with settings that run in seconds."""
    words = shlex.split(command.partition(" > ")[0])
    for called in (SCRIPT, MODULE):
        if words[: len(called.split())] == called.split():
            words = ["prune-model", *words[len(called.split()) :]]
    if words[0] == "yolo":
        extras = TRAINED if "resume" not in words else {}
    elif words[0] == "prune-model" and not any(word.startswith(("resume=", "-")) for word in words):
        extras = EXTRAS.get(words[1] if len(words) > 1 and "=" not in words[1] else "run", {"imgsz": "64"})
        extras = UNLABELLED if words[1].startswith("images=") else extras
        if "iterations=300" in words and words[1] == "export":
            extras = {**extras, "iterations": "1"}
        if any(word.startswith("unlabelled=") for word in words):
            extras = {**extras, "imgsz": "160", "recover.iterations": "1"}
    else:
        extras = {}
    kept = [word for word in words if word.partition("=")[0] not in extras]
    return " ".join([*kept, *(f"{key}={value}" for key, value in extras.items())])


ALL = list(dict.fromkeys(command for path in FILES for command in commands(path)))
LATER = ("resume=True", "report ")  # they need what a run leaves
RUN = sorted({tiny(c) for c in ALL if not reason(c)}, key=lambda c: (any(word in c for word in LATER), c))


@pytest.fixture(scope="module")
def workspace(tiny_data, tmp_path_factory) -> Path:
    """A folder with the files that the documentation speaks of."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(tiny_data.parent, folder / "data")
    shutil.copytree(folder / "data/images/val", folder / "images")
    for labels in (folder / "data/labels/val").glob("*.txt"):
        rows = [f"{row} 0 0 0 0 -1" for row in labels.read_text().splitlines()]
        (folder / "data/plabels/val").mkdir(parents=True, exist_ok=True)
        (folder / "data/plabels/val" / labels.name).write_text("\n".join(rows))
    (folder / "my.yaml").write_text("path: data\ntrain: images/train\nval: images/val\nnames: [box, decision]\n")
    shutil.copytree(draw_dataset(folder / "drawn/diagram", train=12, val=1) / "images/train", folder / "photos")
    seeing(folder / "photos", folder / "best.pt")
    shutil.copyfile(folder / "best.pt", folder / "small.pt")
    YOLO(folder / "best.pt").save(folder / "teacher.pt")
    prune(YOLO(folder / "best.pt"), folder / "pruned.pt", 0.5, imgsz=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _interrupted_training(patch)
    return folder


def _interrupted_training(patch: pytest.MonkeyPatch) -> None:
    save = BaseTrainer.save_model

    def save_and_stop(trainer):
        save(trainer)
        if trainer.epoch == 1:  # written, and not yet in place: that of the first epoch stays
            raise KeyboardInterrupt

    patch.setattr(BaseTrainer, "save_model", save_and_stop)
    settings = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        YOLO("best.pt").train(data="my.yaml", project=str(Path("runs/detect").resolve()), name="train", **settings)


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_the_command_runs(command, workspace, stock_ultralytics, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    program, *words = command.split()
    record = Path("runs/slim/run/run.json")
    if any(word in command for word in LATER) and not record.exists():  # this test alone was asked for
        assert (
            prune_model.main(next(c for c in RUN if c.startswith("prune-model data=") and "dry" not in c).split()[1:])
            == 0
        )
    if "resume=True" in words:
        record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))
    if program == "prune-model":
        assert prune_model.main(words) == 0, capsys.readouterr().err
    elif program == "yolo":
        entrypoint(command)
    elif words[:2] == ["-m", "patches"]:
        target = tmp_path / "ultralytics"
        shutil.copytree(stock_ultralytics / "ultralytics", target)
        words = [str(tmp_path) if word == "DIR" else word for word in words[2:]]
        if words[0] in ("revert", "status"):
            patches(["apply", str(tmp_path)])
        assert not patches(words)
    else:
        assert words[0] == "-c"
        exec(command.partition("-c ")[2])


@pytest.mark.parametrize("command", [command for command in ALL if reason(command)])
def test_what_is_not_run_names_what_exists(command):
    program, *words = shlex.split(command.partition(" > ")[0].partition(" <<")[0])
    if words[0] == "prune_model.py":
        assert parse(words[1:], *keys_of(prune_model.METHODS))
    elif words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file()
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M)


def test_nothing_is_excused_that_is_not_there():
    for start in NOT_RUN:
        assert [c for c in ALL if c.startswith(start)], f"no command begins with '{start}'"


PYTHON = {  # the same in both languages but for the comments, so once
    re.sub(r"  # .*", "", text): path.name
    for path in reversed(FILES)
    for language, text in blocks(path)
    if language == "python"
}


@pytest.mark.slow
@pytest.mark.parametrize("text", PYTHON, ids=PYTHON.values())
def test_the_example_runs(text, workspace, monkeypatch):
    if any(text.startswith(start) for start in TESTED_ELSEWHERE):
        pytest.skip(f"tested in {next(where for start, where in TESTED_ELSEWHERE.items() if text.startswith(start))}")
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(training, "TRAINING", {**training.TRAINING, "workers": 0})
    small = (
        "".join(f", {key}={value}" for key, value in TINY.items() if key != "device") + ', device="cpu", plots=False'
    )
    text = re.sub(r"epochs=\d+", "epochs=1", text).replace('data="my.yaml"', f'data="my.yaml"{small}')
    text = re.sub(r'(distill\(.*?data="my.yaml")', r"\1, epochs=1", text)
    text = text.replace('recover("photos/"', 'recover("photos/", imgsz=160, iterations=1')
    exec(text, {"__name__": "example"})


def test_every_stage_and_key_is_documented():
    text = "\n".join((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("stages", "distillation"))
    for stage, method in prune_model.METHODS.items():
        assert re.search(rf"^## {stage}\b", text, re.M), f"no chapter on {stage}"
        section = re.search(rf"^## {stage}\b.*?(?=^## |\Z)", text, re.M | re.S).group()
        kinds = inspect.signature(method).parameters.values()
        own = {p.name for p in kinds if p.kind is not p.VAR_KEYWORD} - {"self"}
        named = set(re.findall(r"`(\w+)`", section))
        assert own <= named, f"{stage}: {own - named}"


def test_links_lead_somewhere():
    for path in [*FILES, ROOT / "CONTRIBUTING.md"]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", path.read_text(encoding="utf-8")):
            file = (path.parent / target) if target else path
            assert file.exists(), f"{path.name} -> {target}"
            if anchor:
                heads = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.M)
                assert anchor[1:] in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, anchor


def test_both_readmes_say_the_same():
    """Chapters, commands, examples, links and the figures of the tables; the words differ."""
    english, chinese = (ROOT / name for name in READMES)
    texts = [path.read_text(encoding="utf-8") for path in (english, chinese)]
    assert commands(english) == commands(chinese)

    def shape(text):
        return {
            "levels": re.findall(r"^#+(?= )", text, re.M),
            "figures": [re.findall(r"\d[\d.,]*", row) for row in re.findall(r"^\|.*", text, re.M)],
            "links": [link for link in re.findall(r"\]\(([^)]*)\)", text) if link not in READMES],
            "code": [re.sub(r"\s*#.*", "", block) for block in re.findall(r"^```python\n.*?^```", text, re.M | re.S)],
            "points": len(re.findall(r"^- ", text, re.M)),
        }

    assert shape(texts[0]) == shape(texts[1])
    for text, other in zip(texts, reversed(READMES)):
        assert f"]({other})" in text


def test_no_environment_is_needed_to_read_a_command():
    """Guards the reading itself: what is found is what a person sees."""
    assert "python prune_model.py prune weights=best.pt factor=0.3" in commands(ROOT / "README.md")
    assert "make demo" in ALL and "python -m patches check DIR" in ALL and len(RUN) > 15
