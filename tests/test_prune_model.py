"""The wrapper: each method, the whole pipeline on a tiny set, its command line, and bad input."""

import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

import prune_model
from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.engine.results import Results
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.slim.command.commands import COMMANDS, keys_of
from ultralytics.slim.errors import KindError, SlimError
from ultralytics.slim.installation import MODULE
from ultralytics.slim.prediction import evaluate, predict
from ultralytics.slim.prediction.relation_errors import CAUSES
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.settle import settled

from task_data import make_task_data

ROOT = Path(prune_model.__file__).parent
SHORT = {"imgsz": 64, "batch": 4, "epochs": 1, "device": "cpu", "plots": False}


@pytest.fixture
def relations(tiny_data, tmp_path) -> Path:
    """A copy of the tiny data set whose boxes all lie in one root that fills the image."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_data.parent, folder)
    for labels in (folder / "labels").rglob("*.txt"):
        rows = [line.split() for line in labels.read_text().splitlines()]
        out = folder / "plabels" / labels.parent.name / labels.name
        out.parent.mkdir(parents=True, exist_ok=True)
        lines = ["0 0.5 0.5 1 1 0 0 0 0 -1"] + [f"{' '.join(row)} 0.5 0.5 1 1 0" for row in rows]
        out.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def run_there(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(path) -> int:
    return sum(p.numel() for p in YOLO(str(path)).model.parameters())


def answers(model: PruneModel, boxes) -> None:
    """Let the model find these boxes, xyxy in pixels, in every image."""

    def predict(source, **kwargs):
        for path in source if isinstance(source, list) else [source]:
            data = torch.tensor([[*box, 0.9, 0] for box in boxes]).reshape(-1, 6)
            yield Results(cv2.imread(str(path)), path=str(path), names={0: "box"}, boxes=data)

    model.model.predict = predict


# ---------------------------------------------------------------------------------------------------------- each method


def test_defaults_are_those_of_the_specification(weights, tiny_data, run_there, monkeypatch):
    asked = {}

    def train(self, **settings):
        asked.update(settings)
        raise InterruptedError

    monkeypatch.setattr(YOLO, "train", train)
    model = PruneModel(weights)

    def settings_of(method, *args, **kwargs) -> dict:
        asked.clear()
        with contextlib.suppress(InterruptedError):
            method(*args, data=str(tiny_data), **kwargs)
        return dict(asked)

    common = {"data": str(tiny_data), "imgsz": 640, "batch": 20, "workers": 4, "amp": False, "device": None}
    assert settings_of(model.train) == {**common, "epochs": 50}
    assert settings_of(model.sparse_train) == {**common, "epochs": 50, "loss_type": "sparse"}
    distilling = settings_of(model.distill, weights)
    assert {
        **common,
        "epochs": 100,
        "lr0": 0.001,
        "loss_type": "mgd",
        "Distillation": weights,
    }.items() <= distilling.items()
    assert distilling["optimizer"] != "auto", "with optimizer=auto Ultralytics ignores lr0"
    assert settings_of(model.train, epochs=3, amp=True)["epochs"] == 3
    own = settings_of(model.distill, weights, optimizer="SGD", lr0=0.01)
    assert own["optimizer"] == "SGD" and own["lr0"] == 0.01 and "warmup_bias_lr" not in own


def test_training_keeps_the_best_weights(weights, tiny_data, run_there):
    model = PruneModel(weights)
    trained = model.train("kept/retrain.pt", data=str(tiny_data), project=str(run_there), name="fit", **SHORT)
    best = run_there / "fit/weights/best.pt"
    assert Path("kept/retrain.pt").read_bytes() == best.read_bytes()
    assert model.weights == "kept/retrain.pt" and model.model.names == {0: "box", 1: "disc"}
    assert trained.folder == run_there / "fit" and "mAP50-95" in repr(trained)


def test_prune_leaves_the_smaller_model_in_hand(weights, run_there):
    model = PruneModel(weights)
    result = model.prune(0.5, "weights/prune.pt")
    assert model.weights == "weights/prune.pt"
    assert params("weights/prune.pt") == result.params[1] < 0.5 * result.params[0]
    assert "->" in str(result)


def test_export_returns_the_file(weights, run_there):
    shutil.copy(weights, "here.pt")
    assert Path(PruneModel("here.pt").export(format="torchscript", imgsz=64)).is_file()


def test_compare_takes_lists_and_names(weights, tiny_data):
    table = PruneModel.compare({"first": weights}, data=str(tiny_data), imgsz=64, device="cpu")
    assert [row.name for row in table] == ["first"]
    rounded = PruneModel.compare([weights], str(tiny_data), 50, "cpu")
    assert rounded[0].name == "start" and rounded.imgsz == 64


def test_classifiers_are_compared_on_their_own_kind_of_data(tmp_path):
    YOLO("yolov8n-cls.yaml").save(tmp_path / "cls.pt")
    data = make_task_data(tmp_path / "data", "classify")
    assert len(PruneModel.compare([tmp_path / "cls.pt"], str(data), 32, "cpu")) == 1
    with pytest.raises(ValueError, match=r"cls\.pt: a run is for models that find boxes, .* task is classify"):
        prune_model.compress(str(tmp_path / "runs"), weights=str(tmp_path / "cls.pt"), data=str(data))


def test_evaluate_scores_relations(weights, relations, run_there):
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128]])
    assert model.evaluate(relations) == (0, 0, 0), "no relation is predicted"
    image = relations / "images/val/val0.png"
    for other in image.parent.glob("val[123].png"):
        other.unlink()
    rows = [list(map(float, row.split()[1:5])) for row in (relations / "labels/val/val0.txt").read_text().splitlines()]
    boxes = [[128 * (x - w / 2), 128 * (y - h / 2), 128 * (x + w / 2), 128 * (y + h / 2)] for x, y, w, h in rows]
    answers(model, [[0, 0, 128, 128], *boxes])
    assert model.evaluate(relations) == (1, 1, 1)
    answers(model, [[0, 0, 128, 128], boxes[0]])
    scores = model.evaluate(relations)
    assert scores.precision == 1 and scores.recall == 0.5 and "F1 0.6667" in str(scores)
    assert scores.causes["child missed"] == sum(scores.causes.values()) == 1 and "0.3333 of F1" in scores.losses
    assert scores.folder == Path("runs/slim/evaluate-3")


def test_evaluate_saves_scores_and_pictures(weights, relations, run_there):
    (relations / "images/val/sub").mkdir()
    (relations / "plabels/val/sub").mkdir()
    for kind, suffix in (("images", "png"), ("plabels", "txt")):
        (relations / f"{kind}/val/val1.{suffix}").rename(relations / f"{kind}/val/sub/val0.{suffix}")
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128], [5, 5, 9, 9]])
    scores = model.evaluate(relations, save_dir="out", conf=0.1)
    pictures = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.jpg"))
    assert pictures == ["sub/val0.jpg", "val0.jpg", "val2.jpg", "val3.jpg"]
    rows = list(csv.DictReader(Path("out/relations.csv").open(encoding="utf-8")))
    assert [row["image"] for row in rows] == ["sub/val0.png", "val0.png", "val2.png", "val3.png"]
    assert all(row["edges_true"] == "2" and row["edges_found"] == "1" and row["f1"] == "0.0" for row in rows)
    assert {row["mode"] for row in rows} == {"containment"}
    assert all(row["no node"] == "1" and row["child missed"] == "2" for row in rows)
    about = json.loads(Path("out/relations.json").read_text(encoding="utf-8"))
    assert about["f1"] == scores.f1 == 0 and about["causes"] == scores.causes and about["detection"]["conf"] == 0.1
    assert scores.causes == {**dict.fromkeys(CAUSES, 0), "child missed": 8, "no node": 4}
    assert list(about["causes"]) == list(CAUSES), "those that lost nothing too"
    counted = {"images": 4, "nodes_true": 12, "nodes_found": 8, "nodes_matched": 4, "edges_true": 8, "edges_found": 4}
    assert about.items() >= {**counted, "edges_right": 0, "modes": {"containment": 4}}.items()


def test_no_relation_is_no_score(weights, relations, run_there):
    for file in (relations / "plabels/val").iterdir():
        file.write_text("0 0.5 0.5 1 1 0 0 0 0 -1\n")
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128]])
    assert str(model.evaluate(relations, save_dir="out")) == "relations: none is labelled, none found"
    about = json.loads(Path("out/relations.json").read_text(encoding="utf-8"))
    assert about["precision"] is about["recall"] is about["f1"] is None and about["modes"] == {"none": 4}
    answers(model, [[0, 0, 128, 128], [10, 10, 50, 50]])
    assert "none is labelled, 4 found" in repr(model.evaluate(relations, save=False))
    (relations / "data.yaml").write_text(f"path: {relations}\ntrain: images/val\nval: images/val\nnames: [box, disc]\n")
    assert evaluate.relations_of(str(relations / "data.yaml"), {"original": weights}, 64, "cpu") == {}


@pytest.mark.parametrize("key", ["source", "stream", "save_txt"])
def test_evaluate_names_what_predict_alone_takes(weights, run_there, key):
    with pytest.raises(KindError, match=f"^evaluate takes no {key}=: .* data_path= .* give {key}= to predict"):
        PruneModel(weights).evaluate("data", **{key: True})
    assert not (run_there / "runs").exists()


def test_evaluate_saves_nothing_unless_asked(weights, relations, run_there):
    model, before = PruneModel(weights), set(run_there.rglob("*"))
    answers(model, [[0, 0, 128, 128]])
    assert model.evaluate(relations, save=False).folder is None
    assert set(run_there.rglob("*")) == before


def test_a_node_found_as_two_classes_counts_once(weights, relations, run_there):
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128], [10, 10, 60, 60], [11, 10, 60, 60]])
    assert model.predict(str(relations / "images/val/val0.png"))[0].boxes_xyxy == [[0, 0, 128, 128], [10, 10, 60, 60]]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".JPEG", ".bmp"])
def test_evaluate_reads_any_kind_of_image(weights, relations, suffix):
    for image in list((relations / "images/val").iterdir()):
        cv2.imwrite(str(image.with_suffix(suffix)), cv2.imread(str(image)))
        if suffix != ".png":
            image.unlink()
    model, seen = PruneModel(weights), []
    real = model.model.predict
    model.model.predict = lambda source, **kwargs: (seen.append(r.path) or r for r in real(source, **kwargs))
    model.evaluate(relations, imgsz=64)
    assert [Path(path).suffix for path in seen] == [suffix] * 4


def test_predict_draws_and_says_where(weights, relations, run_there):
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128], [10, 10, 40, 40]])
    image = relations / "images/val/val0.png"
    found = model.predict(str(image))
    assert found[0].parents == [-1, 0] and found[0].saved.is_file()
    assert found[0].saved.parent == Path("runs/slim/predict") and str(found[0].saved) in repr(found)
    drawn = cv2.imread(str(found[0].saved))
    assert drawn.shape == (128, 128, 3) and (drawn != cv2.imread(str(image))).any()
    assert model.predict(str(image))[0].saved.parent == Path("runs/slim/predict-2")


def test_pictures_of_the_same_name_do_not_overwrite_each_other(weights, relations, run_there):
    image = relations / "images/val/val0.png"
    cv2.imwrite(str(image.with_suffix(".webp")), cv2.imread(str(image)))
    model = PruneModel(weights)
    answers(model, [[0, 0, 128, 128]])
    found = model.predict([str(image), str(image.with_suffix(".webp"))], save_dir="drawn")
    assert [p.saved.name for p in found] == ["val0.jpg", "val0-2.jpg"]


# --------------------------------------------------------------------------------------------------------- the pipeline


@pytest.fixture(scope="module")
def whole(weights, tiny_data, tmp_path_factory) -> tuple[Path, list]:
    """The folder and the comparison of one whole run, cut off in the retraining and then gone on with."""
    project = tmp_path_factory.mktemp("project")
    settings = {**SHORT, "epochs": 4, "format": "torchscript", "prune.factor": 0.5, "loss_type": "cwd"}
    save, cut = BaseTrainer.save_model, []

    def cut_once(trainer):
        done = save(trainer)
        if trainer.args.name == "retrain" and trainer.epoch == 1 and not cut:  # after its row
            cut.append((project / "run/weights/sparse.pt").stat().st_mtime_ns)
            raise KeyboardInterrupt
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseTrainer, "save_model", cut_once)
        with pytest.raises(KeyboardInterrupt):
            prune_model.compress(str(project), weights=weights, data=str(tiny_data), **settings)
        assert list(json.loads((project / "run/run.json").read_text())["stages"]) == ["sparse", "prune"]
        table = prune_model.compress(resume=str(project / "run"))
    assert cut == [(project / "run/weights/sparse.pt").stat().st_mtime_ns], "finished stages are not done again"
    return project / "run", table


@pytest.mark.slow
def test_pipeline_finishes_after_an_interruption(whole):
    folder, table = whole
    record = json.loads((folder / "run.json").read_text())
    assert record["finished"] and list(record["stages"]) == ["sparse", "prune", "retrain", "distill"]
    assert [row.name for row in table] == ["original", "sparse", "pruned", "retrained", "distilled"]
    assert [row["format"] for row in record["results"]["exports"]] == ["PyTorch", "torchscript"]
    assert (folder / "weights/distill.torchscript").is_file() and list(folder.glob("*.jpg"))
    assert all((folder / f"report.{kind}").is_file() for kind in ("html", "md", "json"))


@pytest.mark.slow
def test_pipeline_goes_on_within_a_training(whole):
    rows = (whole[0] / "retrain/results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2"], "one epoch before the interruption, one after"
    log = (whole[0] / "retrain/args.yaml").read_text()
    assert "resume: " in log and "last.pt" in log.partition("resume: ")[2].splitlines()[0]


@pytest.mark.slow
def test_pipeline_trains_by_the_plan(whole):
    text = {stage: (whole[0] / stage / "args.yaml").read_text() for stage in ("sparse", "retrain", "distill")}
    assert "loss_type: sparse" in text["sparse"] and "epochs: 2" in text["sparse"]
    assert "loss_type: cwd" in text["distill"] and "epochs: 4" in text["distill"]
    assert "Distillation:" in text["distill"] and "start.pt" in text["distill"].partition("Distillation:")[2]


@pytest.mark.slow
def test_pruned_widths_last_to_the_end(whole):
    table = {row.name: row for row in whole[1]}
    assert table["pruned"].params < 0.6 * table["sparse"].params
    assert table["pruned"].params == table["retrained"].params == table["distilled"].params


@pytest.mark.slow
def test_resume_refuses_other_settings(whole):
    with pytest.raises(ValueError, match=r"epochs=4 \(now 3\)"):
        prune_model.compress(str(whole[0].parent), "run", resume=True, epochs=3)


def test_a_resumed_run_replaces_its_picture(weights, tiny_data, tmp_path):
    saved = {predict.typical_prediction(str(tiny_data), weights, tmp_path, "cpu").saved for _ in range(2)}
    assert saved == set(tmp_path.glob("*.jpg")) and len(saved) == 1


@pytest.mark.slow
def test_pipeline_without_sparse_training_and_retraining(weights, tiny_data, tmp_path):
    """What is left out is no stage, no teacher, no row and no gap in the report; int8 stands beside float there."""
    left_out = {"sparse.epochs": 0, "retrain.epochs": 0, "format": "onnx-int8", "prune.repair": "fold"}
    table = prune_model.compress(str(tmp_path), weights=weights, data=str(tiny_data), **SHORT, **left_out)
    assert [row.name for row in table] == ["original", "pruned", "distilled"]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert list(record["stages"]) == ["prune", "distill"]
    exported = {row["format"]: bool(row["path"]) for row in record["results"]["exports"]}
    beside = dict.fromkeys(("PyTorch, original", "onnx, original"), False)
    assert exported == {**dict.fromkeys(("PyTorch", "onnx", "onnx-int8"), True), **beside}
    assert (
        not list((tmp_path / "run").glob("*/sparse.pt"))
        and "not finished" not in (tmp_path / "run/report.md").read_text()
    )


def test_the_image_size_of_a_run_is_rounded_once_for_all_its_stages(weights, tiny_data):
    given = {"weights": weights, "data": str(tiny_data), "imgsz": [50, 40], "format": "torchscript"}
    assert settled(RunSettings.read(given)).imgsz == 64


def test_a_run_may_be_called_by_a_number(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no unfinished run in .*[/\\]2;"):
        prune_model.compress(str(tmp_path), 2, resume=True)


def test_the_demo_stands_on_what_ships():
    settings = RunSettings.read({})
    assert (ROOT / settings.weights).is_file() and (ROOT / settings.data).is_file()
    shared = settings.retrain.arguments
    assert settings.imgsz == 320 and shared["amp"] is False and shared["plots"] is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": "a.pt"}, "give weights= .* with data= "),
        ({"data": "a.yaml"}, "give weights= .* with data= "),
        ({"factor": 1.0}, "factor"),
        ({"epochs": 0}, "epochs"),
        ({"loss_type": "cdw"}, "loss_type"),
        ({"loss_type": "sparse"}, "loss"),
        ({"loss_type": None}, "loss"),
        ({"format": "onx"}, "format"),
        ({"distill.lr0": 7}, "lr0"),
        ({"imgsz": 64, "lr0": "high"}, "lr0"),
        ({"prune.score": "x"}, "score should be 'auto' or one of"),
        ({"prune.scope": "x"}, "scope should be one of"),
        ({"prune.round_to": 0}, "round_to should be a positive integer"),
        ({"prune.floor": "x"}, "floor should be"),
        ({"prune.floor": 0.2, "prune.scope": "layer"}, "with scope='layer'"),
        ({"prune.exclude": "nope"}, "'nope' matches no layer"),
        ({"prune.imgsz": -5}, "imgsz should be the side"),
        ({"prune.repair": "x"}, "repair should be"),
        ({"prune.score": "taylor", "prune.images": "some/folder"}, "score='taylor' measures the loss on labelled"),
        ({"distill.optimizer": "x"}, "Optimizer 'x' not found"),
        ({"sparse.optimizer": "Adman"}, "Optimizer 'Adman' not found"),
        ({"distill.distill_layers": [999]}, "layer 999 cannot be tapped"),
        ({"distill.distill_layers": [0, 22]}, "layer 22 cannot be tapped"),
        ({"export.opset": "x"}, "opset"),
        ({"export.nonsense": 1}, "nonsense"),
        ({"dry_run": "x"}, "dry_run=x: expected True or False"),
    ],
)
def test_bad_settings_stop_before_the_first_stage(weights, tiny_data, tmp_path, given, message):
    known = {} if given.keys() & {"weights", "data"} else {"weights": weights, "data": str(tiny_data)}
    with pytest.raises(SlimError, match=message):
        prune_model.compress(str(tmp_path / "runs"), **known, **given)
    assert not (tmp_path / "runs").exists()


# ----------------------------------------------------------------------------------------------------- the command line


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "prune_model.py"), *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_help_fits_a_screen(capsys):
    assert prune_model.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert all(f"  {stage} " in "\n".join(lines) for stage in prune_model.METHODS)
    assert all(len(line.replace("python prune_model.py", MODULE)) <= 80 for line in lines[2:])


@pytest.mark.parametrize("stage", prune_model.METHODS)
def test_the_help_of_a_stage_lists_its_keys(stage, capsys):
    assert prune_model.main([stage, "--help"]) == 0
    said = capsys.readouterr().out
    lines, words = said.splitlines(), said.split()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    own = re.findall(r"\b[a-z_]+\b", next(c.keys.partition("(")[0] for c in COMMANDS if c.name == stage))
    taken = keys_of(prune_model.METHODS)[0][stage]
    assert {word for word in own if word in taken} <= set(words) and f"under {stage}." in said
    assert re.search(rf"^## {stage}\b", (ROOT / "docs/stages.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.slow
def test_a_stage_runs_from_the_command_line(weights, tmp_path):
    done = command("prune", f"weights={weights}", "factor=0.4", "save_dir=small.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert params(tmp_path / "small.pt") < params(weights)


@pytest.mark.slow
def test_bad_input_from_the_command_line(tmp_path):
    done = command("prune", "weights=nope.pt", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    assert done.stderr.strip().startswith("prune_model.py: weights=nope.pt: no such file")
    assert not list(tmp_path.iterdir())


def spoil_yaml(folder: Path) -> str:
    path = folder / "tiny.yaml"
    path.write_text(path.read_text().replace("val: images/val\n", ""))
    return "'val:' key missing"


def break_yaml(folder: Path) -> str:
    (folder / "tiny.yaml").write_text("path: here\nnames: [box, disc\n")
    return "tiny.yaml is no YAML that can be read: "


def list_yaml(folder: Path) -> str:
    (folder / "tiny.yaml").write_text("- box\n")
    return "tiny.yaml is no YAML that can be read: "


def spoil_labels(folder: Path) -> str:
    shutil.rmtree(folder / "labels")
    return "none of the 8 images has a label file"


def spoil_image(folder: Path) -> str:
    (folder / "images/train/train1.png").write_bytes(b"no image")
    return "cannot read 1 image: "


@pytest.mark.parametrize("spoil", [spoil_yaml, break_yaml, list_yaml, spoil_labels, spoil_image])
@pytest.mark.parametrize("stage", ["run", "train", "compare"])
def test_bad_data_is_one_message(weights, relations, run_there, capsys, spoil, stage):
    path = relations / "tiny.yaml"
    path.write_text(f"path: {relations}\ntrain: images/train\nval: images/val\nnames: [box, disc]\n")
    expected = spoil(relations)
    before = set(run_there.rglob("*"))
    assert prune_model.main([stage, f"data={path}", f"weights={weights}", "imgsz=64"]) == 1
    says = capsys.readouterr().err.strip()
    assert expected in says and len(says.splitlines()) == 1
    assert set(run_there.rglob("*")) <= before, "nothing is written"


def test_a_file_that_is_no_checkpoint(weights, tiny_data, run_there, capsys):
    Path("bad.pt").write_text("hello")
    commands = [["prune"], ["run", f"data={tiny_data}"], ["export"], ["predict", "source=bad.pt"], ["train"]]
    commands += [["compare", f"data={tiny_data}", "imgsz=32", "device=cpu"]]
    for words in commands:
        given = f"weights={weights},bad.pt" if words[0] == "compare" else "weights=bad.pt"
        assert prune_model.main([*words, given]) == 1
        assert "bad.pt is not a loadable checkpoint" in capsys.readouterr().err
    assert [path.name for path in run_there.iterdir()] == ["bad.pt"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("train loss_type=cdw", 1, "'cdw' is not one of"),
        ("train Distillation={weights}", 1, "needs a distillation loss"),
        ("distill t_weight=nope.pt", 1, "t_weight=nope.pt: no such file"),
        ("distill", 2, "distill needs t_weight="),
        ("prune factor=1", 1, "factor"),
        ("prune factor=-0.1", 1, "factor"),
        ("prune factr=0.1", 2, "did you mean 'factor'"),
        ("prune factor=0.1 flops=0.5", 2, "give either factor= or flops="),
        ("train epochs=many", 1, "epochs"),
        ("train save_dir=folder", 1, "save_dir=folder: expected the path of the .pt file"),
        ("predict source=nope.png", 1, "nope.png: no such file"),
        ("predict source={weights} imgsz=[]", 1, "imgsz should be the side of the images in pixels"),
        ("predict source={weights} imgsz=0", 1, "imgsz should be the side of the images in pixels"),
        ("prune imgsz=-5", 1, "imgsz should be the side of the images in pixels"),
        ("prune size_mb=1234567890123456789012345678901234567890", 1, "the model has no more than"),
        ("compare weights=[] data=tiny.yaml", 1, "no checkpoint is given"),
        ("evaluate data_path=nope", 1, "nope"),
    ],
)
def test_bad_words_are_one_message(weights, tiny_data, run_there, capsys, words, status, message):
    data = [f"data={tiny_data}", "imgsz=64"] if words.split()[0] in ("train", "distill") else []
    words = words.format(weights=weights).split()
    assert prune_model.main([words[0], f"weights={weights}", *data, *words[1:]]) == status
    assert message in capsys.readouterr().err
    assert not list(run_there.rglob("*.pt"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("classes=nope", "classes=nope: no such class"), ("mode=tree", "mode must be one of"), ("conf=2", "'conf=2'")],
)
@pytest.mark.parametrize("words", ["predict source={0}/images/val", "evaluate data_path={0}"])
def test_bad_detections_do_not_begin(weights, relations, run_there, capsys, monkeypatch, words, wrong, message):
    monkeypatch.setattr(YOLO, "predict", lambda *_, **__: pytest.fail("has begun"))
    for module in (predict, evaluate):
        monkeypatch.setattr(module, "TQDM", lambda *_, **__: pytest.fail("a bar"))
    assert prune_model.main([*words.format(relations).split(), f"weights={weights}", wrong]) == 1
    assert message in capsys.readouterr().err and not (run_there / "runs").exists()


def test_ctrl_c_before_the_trainer_is_made(weights, tiny_data, run_there, monkeypatch):
    monkeypatch.setattr(YOLO, "_smart_load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert prune_model.main(["train", f"weights={weights}", f"data={tiny_data}", "imgsz=32"]) == 130


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "plabels/val/val1.txt").write_text("0 0.5 0.5 1 1\n"), "val1.txt:1: expected 10 columns"),
        (lambda f: (f / "plabels/val/val1.txt").unlink(), "val1.txt"),
        (lambda f: (f / "images/val/val1.png").write_bytes(b"no image"), "cannot read 1 image: "),
    ],
)
def test_bad_relations_are_one_message(weights, relations, run_there, capsys, spoil, message):
    spoil(relations)
    assert prune_model.main(["evaluate", f"weights={weights}", f"data_path={relations}"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("stock", "stock release 8.4"),
        ("empty", "not made yet"),
        ("patched", "is the release 8.4.2, patched: there, `python -m ultralytics.slim` and"),
    ],
)
def test_another_ultralytics_in_place_of_the_fork_is_named(stock_ultralytics, tmp_path, kind, message):
    """The stock package over the fork, a checkout whose ultralytics/ is not made yet, or someone's own one."""
    for name in ("prune_model.py", "relation.py"):
        shutil.copy(ROOT / name, tmp_path)
    for other in ("empty", "patched"):
        (tmp_path / other / "ultralytics/slim").mkdir(parents=True)
    (tmp_path / "patched/ultralytics/__init__.py").write_text("__version__ = '8.4.2'\n")
    path = str(stock_ultralytics if kind == "stock" else tmp_path / kind)
    code = "import os, runpy, sys; here = lambda p: os.path.isfile(os.path.join(p, 'ultralytics', '__init__.py')); "
    code += f"sys.path[:] = [{path!r}] + [p for p in sys.path if not here(p)]; "
    code += "runpy.run_path('prune_model.py', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert message in run.stderr and "pip install -e ." in run.stderr


def test_relations_of_a_run_are_judged_at_its_image_size(weights, relations, run_there, monkeypatch):
    """Left to itself each checkpoint would be run at the size that it was trained at, and two sizes be compared."""
    sizes, plain = [], YOLO.predict

    def noted(model, source, **keys):
        sizes.append(keys["imgsz"])
        return plain(model, source, **keys)

    monkeypatch.setattr(YOLO, "predict", noted)
    data = relations / "data.yaml"
    data.write_text(f"path: {relations.as_posix()}\ntrain: images/val\nval: images/val\nnames: {{0: box, 1: disc}}\n")
    found = evaluate.relations_of(str(data), {"original": weights, "distilled": weights}, 96, "cpu")
    assert list(found) == ["original", "distilled"] and sizes == [96, 96]
