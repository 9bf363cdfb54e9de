"""The report of a run: what it says, that nothing is missing from the page, and what it does with half a run."""

import base64
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.charts import fan
from ultralytics.slim.files import write_csv
from ultralytics.slim.measuring.detections import Found, match_detections
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.report import measures, references, side_by_side
from ultralytics.slim.report.blocks import Card, Chart, Document, Grid, Pair, Section, Words
from ultralytics.slim.report.markdown import to_markdown
from ultralytics.slim.report.measures import cost, latencies
from ultralytics.slim.report.run_folder import gamma_histograms, read_columns
from ultralytics.slim.report.training_section import _gammas_by_epoch, channel_blocks
from ultralytics.slim.report.write import write_report
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings

LOSSES = "epoch,train/box_loss,train/cls_loss,train/dfl_loss,metrics/mAP50(B),metrics/mAP50-95(B)"
CURVES = {
    "sparse": f"{LOSSES},gamma/p10,gamma/median,gamma/p90\n1,2,3,1,0.1,0.05,0.6,1,1.5\n2,1.8,2,1,0.2,0.1,0.4,0.8,1.4\n",
    "retrain": f"{LOSSES}\n1,2,3,1,0.1,0.05\n",
    "distill": f"{LOSSES},train/distill_loss,train/loss_ratio\n"
    "1,2,3,1,0.1,0.05,1.5,0.25\n2,1.9,3,1,0.1,0.06,0.6,0.102\n",
}
TIME = {"median_ms": 8.0, "low_ms": 7.5, "high_ms": 9.0, "runs": 40}
PAIRS = {"of_torch": 0.992, "of_own": 1.0, "score_median": 2e-7, "score_max": 3e-6}
EXPORTS = [
    {"format": "PyTorch", "path": "a.pt", "size_mb": 1.7, "latency": TIME, "found": 120, **dict.fromkeys(PAIRS)},
    {"format": "onnx", "path": "a.onnx", "size_mb": 3.2, "latency": TIME, "found": 119, **PAIRS},
    {"format": "rknn", "path": "a_rknn_model", "size_mb": 1.8, "latency": None, "found": None, **dict.fromkeys(PAIRS)},
]
SCORES = {"original": [0.9, 0.8, 0.847], "distilled": [0.8, 0.7, 0.747]}
LOST = {"original": {"child missed": 31, "rule": 4}, "distilled": {"child missed": 57, "rule": 4}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_data) -> Path:
    """The folder of a finished run with its report, made by hand from an untrained network."""
    project = tmp_path_factory.mktemp("runs")
    original = project / "original.pt"
    torch.manual_seed(0)
    YOLO("yolov8n.yaml").save(original)
    settings = {
        "weights": str(original),
        "data": str(tiny_data),
        "imgsz": 64,
        "device": "cpu",
        "factor": 0.5,
        "epochs": 2,
    }
    run = Run.start(project, "small & <fast>", RunSettings.of_record({**settings, "weights": str(original)}))
    sparse = run.stage("sparse", lambda out: shrink_gammas(original, out))
    pruned = run.stage("prune", lambda out: prune_model(YOLO(sparse), out, 0.5))
    for stage in ("retrain", "distill"):
        run.stage(stage, lambda out: shutil.copy(pruned, out))
    for stage, text in CURVES.items():
        (run.folder / stage).mkdir()
        (run.folder / stage / "results.csv").write_text(text)
        (run.folder / stage / "args.yaml").write_text("epochs: 2\nlr0: 0.01\nloss_type: mgd\nplots: false\n")
    run.measured({"relations": SCORES, "relation_causes": LOST, "exports": EXPORTS})
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        write_report(run.folder)
    return run.folder


@pytest.fixture
def run_copy(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run to spoil."""
    hurry(monkeypatch)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def hurry(patch) -> None:
    """Make no ONNX export: it takes seconds and has a test of its own."""
    patch.setattr(measures, "has_onnx_runtime", lambda: False)


def shrink_gammas(weights: Path, out: Path) -> None:
    yolo = YOLO(weights)
    for module in yolo.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data *= 0.5
    out.parent.mkdir(exist_ok=True)
    yolo.save(out)


class Page(HTMLParser):
    """The pictures, words and addresses of an HTML page."""

    def __init__(self, path: Path):
        super().__init__()
        self.images, self.addresses, self.words, self.svgs = [], [], [], 0
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.svgs += tag == "svg"
        if tag == "img":
            self.images.append(attrs["src"])
        self.addresses += [attrs[key] for key in ("href", "src") if attrs.get(key)]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# ----------------------------------------------------------------------------------------------------- the whole report


@pytest.mark.slow
def test_every_picture_is_in_the_page(finished):
    page = Page(finished / "report.html")
    assert len(page.images) == 2 * 4 and page.svgs == 7
    for source in page.images:
        kind, _, data = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        Image.open(io.BytesIO(base64.b64decode(data, validate=True))).verify()
    assert all(address.startswith("data:") for address in page.addresses), "the page opens offline"
    assert not re.search(r"url\(|@import|<script |fetch\(|XMLHttp|import\(", page.html)


def test_page_says_what_was_done(finished):
    text = Page(finished / "report.html").text
    assert "Compression report: small & <fast>" in text, "names are escaped"
    assert (
        "The distillation loss was 25 % of the detection loss in the first epoch of distillation and 10 % in the last"
        in text
    )
    assert "Median 1.00 before and 0.50 after" in text, "γ, read from the checkpoints"
    assert "F1 falls to 74.7 from 84.7" in text and "to reach by pruning factor=0.5" in text
    assert "layers are narrower" in text and "model.22.cv3.2.0.conv" in text
    for section in (
        "Stage by stage",
        "Side by side",
        "Training",
        "Channels",
        "What went in",
        "What came out",
        "Relations between nodes",
        "Exported files",
    ):
        assert section in text
    assert "onnx 3.20 8.0 (7.5–9.0) – 119 99.2 % 100.0 % 2.0e-07 3.0e-06" in text
    assert "rknn 1.80 – – – – – –" in text, "exported, not run here"


def test_markdown_and_json_say_the_same(finished):
    markdown, facts = (finished / "report.md").read_text(), json.loads((finished / "report.json").read_text())
    pictures = re.findall(r"!\[[^]]*]\(([^)]+)\)", markdown)
    assert len(pictures) == 8 + 7 and all((finished / picture).is_file() for picture in pictures)
    assert (
        facts["verdict"]["headline"] in markdown
        and facts["verdict"]["headline"] in (finished / "report.html").read_text()
    )
    assert [m["name"] for m in facts["models"]] == ["original", "sparse", "pruned", "retrained", "distilled"]
    original, final = facts["models"][0], facts["models"][-1]
    assert final["params"] < original["params"] and final["gflops"] < original["gflops"]
    assert facts["models"][2]["latency"] == final["latency"] != original["latency"], "one timing a shape"
    assert facts["widths"] and all(after <= before for _, before, after in facts["widths"])


def test_second_report_measures_nothing_and_is_the_same(run_copy, monkeypatch):
    before = {name: (run_copy / name).read_bytes() for name in ("report.html", "report.md", "report.json")}
    (run_copy / "report.html").unlink()
    for name in ("accuracy_by_class", "describe", "latencies"):
        monkeypatch.setattr(measures, name, lambda *_, name=name: pytest.fail(f"{name} is measured again"))
    monkeypatch.setattr(side_by_side, "make_samples", lambda *_: pytest.fail("detects again"))
    renamed = run_copy.rename(run_copy.with_name("small & <fast>"))
    assert write_report(renamed) == renamed / "report.html"
    assert before == {name: (renamed / name).read_bytes() for name in before}


def test_changed_checkpoint_is_measured_again(run_copy, monkeypatch):
    shutil.copy(run_copy / "weights/sparse.pt", run_copy / "weights/distill.pt")
    measured = []
    monkeypatch.setattr(
        measures, "accuracy_by_class", lambda path, *_: measured.append(path.name) or {"map50": 0.1, "map50_95": 0.1}
    )
    write_report(run_copy)
    assert measured == ["distill.pt"]
    assert json.loads((run_copy / "report.json").read_text())["verdict"]["kind"] == "none"


@pytest.mark.slow
def test_onnx_runtime_is_timed_where_it_is_installed(finished):
    pytest.importorskip("onnxruntime")
    weights = {name: finished / f"weights/{name}.pt" for name in ("sparse", "distill")}
    found = latencies(weights, 64, "cpu")
    assert list(found) == ["PyTorch", "ONNX Runtime"] and list(found["ONNX Runtime"]) == ["sparse", "distill"]
    assert all(row["low_ms"] <= row["median_ms"] <= row["high_ms"] for rows in found.values() for row in rows.values())
    assert not list((finished / "weights").glob("*.onnx")), "exports leave nothing behind"


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("no chromium on the PATH: apt-get install chromium")


def test_page_in_a_real_browser(finished, tmp_path):
    """Chromium decodes every picture, lays every chart out, and scrolls a phone's page in one direction only."""
    browser, page = chromium(), tmp_path / "page.html"
    probe = (
        "<script>onload = () => document.body.dataset.found = JSON.stringify({broken: [...document.images].filter("
        "i => !i.complete || !i.naturalWidth).length, images: document.images.length, charts: [..."
        "document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().height > 50).length, "
        "wide: document.documentElement.scrollWidth"
        " - document.documentElement.clientWidth})</script></body>"
    )
    page.write_text((finished / "report.html").read_text().replace("</body>", probe))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --window-size=500,900 --user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [browser, *flags.split(), "--dump-dom", page.as_uri()], check=False, capture_output=True, text=True, timeout=50
    )
    seen = re.search(r'data-found="([^"]+)"', done.stdout)
    assert seen, done.stderr
    found = json.loads(seen[1].replace("&quot;", '"'))
    assert found == {"broken": 0, "images": 8, "charts": 7, "wide": 0}


# ----------------------------------------------------------------------------------------- what a run is compared with


def test_next_smaller_scale_is_what_its_yaml_builds_for_the_same_classes():
    original = DetectionModel("yolov8m.yaml", nc=8, verbose=False)
    small = DetectionModel("yolov8s.yaml", nc=8, verbose=False).eval().fuse(verbose=False)
    state = torch.get_rng_state()
    found = references.smaller_scale(original, 64)
    assert found == {"name": "yolov8s", **cost(small, 64)}
    assert torch.equal(state, torch.get_rng_state()) and original.yaml["scale"] == "m", "nothing else is touched"


def test_reason_is_given_where_there_is_no_smaller_scale():
    smallest, alone = (YOLO(f"{name}.yaml", task="detect").model for name in ("yolov8n", "yolov9t"))
    assert "yolov8n is the smallest scale of its family" in references.smaller_scale(smallest, 64)["fault"]
    assert "The YAML of yolov9t names no scales" in references.smaller_scale(alone, 64)["fault"]


@pytest.mark.parametrize(
    ("family", "own", "renamed"),
    [
        ("yolov8s", "s", "yolov8n"),
        ("yolo11s-seg", "s", "yolo11n-seg"),
        ("yolov8x-pose-p6", "x", "yolov8n-pose-p6"),
        ("mine", "s", "mine, scale n"),
    ],
)
def test_scales_are_named_as_ultralytics_does(family, own, renamed):
    assert references.name_at_scale(family, own, "n") == renamed


def test_smallest_scale_says_so(finished):
    assert "yolov8n is the smallest scale of its family" in Page(finished / "report.html").text


def test_untrained_smaller_scale_is_a_line_without_accuracy(run_copy, monkeypatch):
    scale = {"name": "yolov8x-small", "params": 1_234_567, "gflops": 0.05}
    monkeypatch.setattr(references, "smaller_scale", lambda *_: scale)
    text = Page(write_report(run_copy)).text
    assert "yolov8x-small – – 1,234,567 0.05 – –" in text and "give its checkpoint as compare=" in text
    assert "yolov8x-small: 0.05" in (run_copy / "report/accuracy-compute.svg").read_text()


def test_given_checkpoint_stands_beside_the_stages(run_copy, monkeypatch):
    given = shutil.copy(run_copy / "weights/prune.pt", run_copy / "mine.pt")
    page = Page(write_report(run_copy, str(given)))
    assert "yolov8n is the smallest scale of its family, so there is no smaller one to compare with." in page.text
    (row,) = json.loads((run_copy / "report.json").read_text())["references"]
    pruned = json.loads((run_copy / "report.json").read_text())["models"][2]
    assert [row[k] for k in ("name", "params", "gflops", "map50_95", "latency")] == ["mine"] + [
        pruned[k] for k in ("params", "gflops", "map50_95", "latency")
    ]
    assert "mine, given to compare with" in page.text and "distilled" in page.text
    monkeypatch.setattr(measures, "accuracy_by_class", lambda *_: pytest.fail("measured again"))
    write_report(run_copy, str(given))


def test_checkpoint_that_cannot_be_compared_is_an_error_or_missing(run_copy):
    other = run_copy / "other.pt"
    YOLO("yolov8n-seg.yaml").save(other)
    with pytest.raises(ValueError, match="its task segment should be those of .*, detect"):
        write_report(run_copy, str(other))
    with pytest.raises(FileNotFoundError, match="compare=/nowhere/n.pt: no such file"):
        write_report(run_copy, "/nowhere/n.pt")
    spoil_record(run_copy, lambda record: record["settings"].update(compare=["/nowhere/n.pt"]))
    text = Page(write_report(run_copy)).text
    assert "Missing from this report" in text and "compare=/nowhere/n.pt: no such file" in text


def test_report_tells_whether_gamma_is_sparse_enough(finished):
    """All γ are equal in the made-up run, so they say nothing; in a sparse model they do."""
    text = Page(finished / "report.html").text
    assert "Sparse enough? unknown: " in text and "chosen by score=l1" in text
    sparse = YOLO(finished / "weights/sparse.pt")
    for module in sparse.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data[: len(module.weight) // 2] = 0
    sparse.save(finished / "half.pt")
    found = gamma_histograms(finished / "weights/sparse.pt", finished / "half.pt", 0.4)["check"]
    assert "remove 40% of the channels by gamma? yes" in found


# ------------------------------------------------------------------------------------------ runs that lack something


def test_scales_are_drawn_up_to_the_epoch_that_has_none():
    columns = {f"gamma/{key}": [1.0, 2.0, math.nan, 3.0] for key in ("p10", "median", "p90")}
    (chart,) = _gammas_by_epoch({"sparse": columns})
    assert chart.svg == fan(
        "Scales of the channels by epoch", dict.fromkeys(("10 %", "median", "90 %"), [1.0, 2.0]), "|γ|"
    )
    columns["gamma/p90"][1] = math.inf
    assert _gammas_by_epoch({"sparse": columns}) == []


def spoil_record(folder: Path, change) -> None:
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


def test_lost_relations_are_listed_by_cause(finished):
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\| child missed +\| +31 +\| +57 +\|", text), text


def test_run_without_relations(run_copy):
    spoil_record(run_copy, lambda record: record.update(results={}))
    text = Page(write_report(run_copy)).text
    assert "relation" not in text.lower() and "Missing" not in text


def test_run_without_sparse_stage(run_copy):
    spoil_record(run_copy, lambda record: record["stages"].pop("sparse"))
    for left in ("weights/sparse.pt", "sparse"):
        path = run_copy / left
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = Page(write_report(run_copy)).text
    assert "stage sparse: not finished" in text and "Scales γ" not in text and "Widths before and after" in text


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("weights/distill.pt", "stage distill: its checkpoint "),
        ("retrain/results.csv", "the curves of stage retrain: "),
        ("weights/prune.pt", "stage prune: its checkpoint "),
    ],
)
def test_missing_file_is_named_in_the_report(run_copy, gone, message):
    (run_copy / gone).unlink()
    text = Page(write_report(run_copy)).text
    assert "Missing from this report" in text and f"{message}{run_copy / gone}" in text


@pytest.mark.parametrize("stage", ["sparse", "prune", "distill"])
def test_a_model_whose_checkpoint_is_gone_keeps_its_place(run_copy, stage):
    """What run.json says of it stands between the models before and after it, and the verdict is that of the ends."""
    facts = json.loads((run_copy / "report.json").read_text())
    table = [
        {key: model[key] for key in ("name", "params", "gflops", "size_mb", "map50_95")} for model in facts["models"]
    ]
    spoil_record(run_copy, lambda record: record["results"].update(table=table))
    (run_copy / f"weights/{stage}.pt").unlink()
    write_report(run_copy)
    left = json.loads((run_copy / "report.json").read_text())
    assert [model["name"] for model in left["models"]] == [model["name"] for model in facts["models"]]
    compute = facts["verdict"]["headline"].partition(",")[0]
    assert left["verdict"]["headline"].startswith(compute) and "as before" not in compute


def test_accuracies_are_measured_anew_where_the_labels_changed(run_copy, tiny_data, tmp_path, monkeypatch):
    data, measured = shutil.copytree(tiny_data.parent, tmp_path / "data"), []
    yaml = data / "own.yaml"
    yaml.write_text(f"path: {data}\ntrain: images/train\nval: images/val\nnames: [box, decision]\n")
    spoil_record(run_copy, lambda record: record["settings"].update(data=str(yaml)))
    found = {"map50": 0.6, "map50_95": 0.5, "classes": {}}
    monkeypatch.setattr(measures, "accuracy_by_class", lambda weights, *_: measured.append(weights) or found)
    monkeypatch.setattr(side_by_side, "make_samples", lambda *_: [])

    def count() -> int:
        measured.clear()
        write_report(run_copy)
        return len(measured)

    assert count() > count() == 0
    label = next((data / "labels/val").iterdir())
    label.write_text(f"{label.read_text()}0 0.5 0.5 0.1 0.1\n")
    assert count() > 0


def test_a_report_of_a_version_before_keeps_its_figures_where_the_data_is_gone(run_copy):
    """Its key does not say what the labels were."""
    facts = json.loads((run_copy / "report.json").read_text())
    del facts["key"]["labels"]
    facts["key"]["data"] = "/nowhere/my.yaml"
    (run_copy / "report.json").write_text(json.dumps(facts))
    spoil_record(run_copy, lambda record: record["settings"].update(data="/nowhere/my.yaml"))
    write_report(run_copy)
    left = json.loads((run_copy / "report.json").read_text())
    assert [m["map50_95"] for m in left["models"]] == [m["map50_95"] for m in facts["models"]] != [None] * 5


def test_damaged_side_files_are_missing_and_no_more(run_copy):
    (run_copy / "sparse/args.yaml").write_text("epochs: [2\n")
    (run_copy / "sparse/results.csv").write_bytes(b"epoch,gamma/p10,gamma/median,gamma/p90\n" + b"\xff,nan,1,2\n" * 3)
    for stage in ("retrain", "distill"):
        (run_copy / stage / "results.csv").unlink()
    text = Page(write_report(run_copy)).text
    assert "the settings of stage sparse: " in text and "Training loss" not in text
    json.loads((run_copy / "report.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_unfinished_run_says_what_it_is_about(run_copy):
    spoil_record(run_copy, lambda record: record["stages"].pop("distill"))
    spoil_record(run_copy, lambda record: record.update(origin={"/nowhere/best.pt": "0"}))
    text = Page(write_report(run_copy)).text
    assert "stage distill: not finished" in text and "the original weights /nowhere/best.pt" in text
    assert "This compares the models sparse and retrained of an unfinished run or an incomplete folder." in text


def test_missing_data_is_named_and_known_figures_are_kept(run_copy):
    (run_copy / "report.json").unlink()
    spoil_record(run_copy, lambda record: record["settings"].update(data="/nowhere/my.yaml"))
    page = Page(write_report(run_copy))
    assert "the data /nowhere/my.yaml: " in page.text and "Not measured" in page.text and not page.images


def test_missing_original_is_replaced_by_what_the_run_recorded(run_copy):
    row = {"name": "original", "params": 3_000_000, "gflops": 0.1, "size_mb": 6.2, "map50_95": 0.5, "latency_ms": 9.0}

    def change(record):
        record.update(origin={"/nowhere/best.pt": "0"}, results={"table": [row]})

    spoil_record(run_copy, change)
    text = Page(write_report(run_copy)).text
    assert "the original weights /nowhere/best.pt" in text and "was 3.00" in text and "50.0 mAP lost" in text


def test_changed_original_is_not_compared_with(run_copy):
    spoil_record(run_copy, lambda record: record.update(origin=dict.fromkeys(record["origin"], "0")))
    text = Page(write_report(run_copy)).text
    assert "has changed since the run was started" in text and "This compares the models sparse and distilled" in text


def test_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="run.json is missing; give the folder of a pipeline run"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="settings, stages, origin"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"settings": {}, "stages": {}, "origin": {"/nowhere/a.pt": "0"}}))
    with pytest.raises(FileNotFoundError, match="no finished stage in .*/nowhere/a.pt; stage sparse: not finished"):
        write_report(tmp_path)
    assert not list(tmp_path.glob("report*"))


def test_cut_off_row_of_a_results_file_is_left_out(tmp_path):
    (tmp_path / "results.csv").write_text("epoch,  train/box_loss\n1, 2.5\n2\n")
    assert read_columns(tmp_path / "results.csv") == {"epoch": [1], "train/box_loss": [2.5]}


# --------------------------------------------------------------------------------------------------------------- parts


def boxes(*corners) -> Found:
    count = len(corners)
    return Found(np.array(corners, float).reshape(-1, 4), np.zeros(count, int), np.ones(count), ["x"] * count)


def test_differences_are_drawn_where_they_are():
    white = np.full((320, 640, 3), 255, np.uint8)
    original, compressed = (
        boxes((20, 40, 120, 140), (220, 40, 320, 140)),
        boxes((20, 40, 120, 140), (420, 40, 520, 140)),
    )
    difference = match_detections(original, compressed, 0.5)
    left, right = (side_by_side.draw(white, original, compressed, difference, side) for side in (True, False))
    share = lambda picture, color: float((np.abs(picture[135:145, 180:340].astype(int) - color).sum(2) < 30).mean())
    assert share(left, side_by_side.LOST) > 1.5 * share(right, side_by_side.LOST) > 0, "dashed where it is missing"
    assert (left[:, 380:] == 255).all() and (right[:, 380:] != 255).any(), "new ones stand on the right only"
    assert (white == 255).all() and left.shape == right.shape == (320, 640, 3)


def test_shown_images_run_from_most_to_least_different():
    differences = [side_by_side.Difference([], list(range(n)), []) for n in (1, 7, 3, 0, 5, 2, 6)]
    assert side_by_side.pick(differences) == [1, 4, 5, 3]
    assert side_by_side.pick([]) == [] and side_by_side.pick(differences[:2]) == [1, 0]


HOSTILE = "<script>alert(1)</script> [a](javascript:alert(2)) `x` | *b* <javascript:alert(3)>\n# title"


def test_no_word_of_the_users_is_markup_in_markdown():
    """A class, a file or a folder may be called anything."""
    card, grid = Card(HOSTILE, "1", "ms", "was 2", HOSTILE), Grid((HOSTILE, "n"), [(HOSTILE, "1")], note=HOSTILE)
    blocks = [Words(HOSTILE), grid, Chart("x", HOSTILE, "<svg/>", HOSTILE), Pair(Path("a.jpg"), Path("b.jpg"), HOSTILE)]
    sections = [Section(HOSTILE, blocks)]
    document = Document(HOSTILE, HOSTILE, "good", "Good", HOSTILE, [HOSTILE], [card], sections, [HOSTILE])
    text = to_markdown(document, "pictures")
    assert "<" not in text and not re.search(r"(?<!\\)\]\(javascript", text) and "\n# title" not in text
    shown = re.sub(r"\\([\\`*\[\]|])", r"\1", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown.count(" ".join(HOSTILE.split())) == text.count("alert(1)") == 16


def test_no_cell_of_a_csv_is_a_formula(tmp_path):
    rows = [["=1+1", "+cmd", "-2.5", "@x", "-x", 3, -4.0, "\ttab", "plain", "1e-5"]]
    path = write_csv(tmp_path / "table.csv", ["=head"], rows)
    assert path.read_text() == "'=head\n'=1+1,'+cmd,-2.5,'@x,'-x,3,-4.0,'\ttab,plain,1e-5\n"


def test_the_table_of_widths_says_what_could_not_be_cut_and_why():
    why = "8 of 8 channels (model.2 (Own): operation 'cumsum')"
    facts = {"gamma": None, "widths": [["a", 16, 8], ["b", 8, 8]], "fixed": {"b": why}}
    (table,) = [block for block in channel_blocks(facts) if isinstance(block, Grid)]
    assert [row[-1] for row in table.rows] == ["", why]
