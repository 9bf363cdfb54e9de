"""The report of a run: what it says, that nothing is missing from the page, and what it does with half a run."""

import base64
import io
import json
import math
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim import charts
from ultralytics.slim.charts import svg
from ultralytics.slim.charts.placement import Box, Dot, place
from ultralytics.slim.charts.svg import standalone, ticks
from ultralytics.slim.measuring import timing
from ultralytics.slim.measuring.detections import Found, match_detections
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.report import measures, references, side_by_side
from ultralytics.slim.report.measures import cost, latencies
from ultralytics.slim.report.run_folder import gamma_histograms, read_columns
from ultralytics.slim.report.verdict import Figures, judge, share_words, where_lost
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
    run.finish({"relations": SCORES, "relation_causes": LOST, "exports": EXPORTS})
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
    assert not re.search(r"url\(|@import|<script", page.html)


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
    assert "onnx 3.20 8.0 (7.5–9.0) 119 99.2 % 100.0 % 2.0e-07 3.0e-06" in text
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


def test_unfinished_run_says_what_it_is_about(run_copy):
    spoil_record(run_copy, lambda record: record["stages"].pop("distill"))
    spoil_record(run_copy, lambda record: record.update(origin={"/nowhere/best.pt": "0"}))
    text = Page(write_report(run_copy)).text
    assert "stage distill: not finished" in text and "the original weights /nowhere/best.pt" in text
    assert "This compares the models sparse and retrained of an unfinished run or an incomplete folder." in text


def test_a_run_whose_last_stage_was_left_out_is_whole():
    ends = ("original", "retrained")
    told = [" ".join(judge(Figures((2, 1), (0.5, 0.5), names=ends, **more)).details) for more in ({}, {"whole": ends})]
    assert "unfinished run" in told[0] and "unfinished" not in told[1]


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


# -------------------------------------------------------------------------------------------------------------- verdict

STEADY = {"PyTorch": ((17.0, 16.9, 17.1, 40), (10.0, 9.9, 10.1, 40))}
NOISY = {"PyTorch": ((17.0, 5.0, 60.0, 40), (15.0, 5.0, 60.0, 40))}
SLOWER = {"PyTorch": ((10.0, 9.9, 10.1, 40), (20.0, 19.9, 20.1, 40))}
BOTH = {**STEADY, "ONNX Runtime": ((10.0, 9.9, 10.1, 40), (10.1, 10.0, 10.2, 40))}
CLASSES = {"box": (0.7, 0.7), "data": (0.5, 0.48), "event": (0.6, 0.598), "pool": (0.8, 0.8)}


@pytest.mark.parametrize(
    ("figures", "kind", "headline"),
    [
        (Figures((8, 4), (0.65, 0.646), CLASSES, STEADY), "good",
         "Half the compute, 1.7 times as fast here, 0.4 mAP lost, mostly in class data."),
        (Figures((8, 4), (0.65, 0.6504), {}, STEADY), "good",
         "Half the compute, 1.7 times as fast here, accuracy kept."),
        (Figures((9, 3), (0.6, 0.612), {}, BOTH), "good",
         "A third of the compute, 1.7 times as fast here in PyTorch, no faster in ONNX Runtime, 1.2 mAP gained."),
        (Figures((8, 3.36), (0.6, 0.6), {}, NOISY), "fair", "42 % of the compute, no faster here, accuracy kept."),
        (Figures((8, 4), (0.6, 0.57), {}, STEADY), "fair", "Half the compute, 1.7 times as fast here, 3.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.5), {}, SLOWER), "bad", "Half the compute, 2.0 times as slow here, 10.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.0)), "bad", "Half the compute, 60.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.6), {}, STEADY, (0.8, 0.7)), "bad",
         "Half the compute, 1.7 times as fast here, accuracy kept, 10.0 relation F1 lost."),
        (Figures((8, 4), (0.6, 0.6), {}, STEADY, (0.0, 0.0)), "good",
         "Half the compute, 1.7 times as fast here, accuracy kept."),
        (Figures((8, 8), (0.6, 0.6), {}, STEADY), "none",
         "As much compute as before, 1.7 times as fast here, accuracy kept."),
        (Figures((8, 10), (0.6, 0.6)), "none", "25 % more compute, accuracy kept."),
        (Figures((8, 4)), "unknown", "Half the compute, accuracy not measured."),
        (Figures((8, 4), (0.0, 0.0)), "bad", "Half the compute, accuracy kept."),
    ],
)  # fmt: skip
def test_verdict(figures, kind, headline):
    found = judge(figures)
    assert (found.kind, found.headline) == (kind, headline)


@pytest.mark.parametrize(
    ("figures", "detail"),
    [
        (Figures((8, 4), (0.6, 0.59), relations=(0.01, 0.03)), "98.3 % of the accuracy and all of the relation F1."),
        (Figures((8, 4), (0.6, 0.1)), "It keeps only 16.7 % of the accuracy. Do not use it"),
        (Figures((8, 4), (0.6, 0.5)), "It keeps 83.3 % of the accuracy, too little for most uses"),
        (Figures((8, 4), (0.6, 0.6), {}, NOISY),
         "keeps 100.0 % of the accuracy, but here the smaller network is not faster everywhere"),
        (Figures((8, 4), (0.001, 0.0)), "The original itself finds next to nothing"),
        (Figures((8, 8), (0.6, 0.6)), "The network is as large as before"),
        (Figures((8, 4)), "nobody can say whether it is fit for use"),
        (Figures((8, 4), (0.6, 0.6), relations=(0.9, 0.85)), "F1 falls to 85.0 from 90.0."),
        (Figures((8, 4), (0.6, 0.6), relations=(0.9, 0.9)), "F1 stays at 90.0."),
        (Figures((8, 4), (0.6, 0.6), relations=(0.8, 0.6)),
         "It keeps 100.0 % of the accuracy and 75.0 % of the relation F1, too little"),
        (Figures((8, 4), (0.6, 0.57), {}, STEADY), "It keeps 95.0 % of the accuracy: whether that is enough"),
        (Figures((8, 4), (0.6, 0.59), path=[("original", 0.6), ("pruned", 0.2), ("distilled", 0.59)]),
         "mAP by stage: pruned −40.0, distilled +39.0 points."),
        (Figures((8, 4), (0.6, 0.6), images=4), "Measured on 4 images: that is too little"),
    ],
)  # fmt: skip
def test_verdict_says_what_it_means(figures, detail):
    assert detail in " ".join(judge(figures).details)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0.5, "half"), (0.51, "half"), (0.33, "a third of"), (0.25, "a quarter of"), (0.46, "46 % of"), (0.03, "3 % of")],
)
def test_shares_in_words(ratio, words):
    assert share_words(ratio) == words


@pytest.mark.parametrize(
    ("losses", "where"),
    [
        ({"a": 0.3, "b": 0.1, "c": 0.1}, "mostly in class a"),
        ({"a": 0.2, "b": 0.2, "c": 0.1, "d": 0.0}, "mostly in classes b and a"),
        ({"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1}, "spread over the classes"),
        ({"a": 0.3, "b": 0.0}, ""),
        ({"a": -0.1, "b": 0.0, "c": 0.0}, ""),
    ],
)
def test_where_accuracy_was_lost(losses, where):
    assert where_lost({name: (0.5, 0.5 - loss) for name, loss in losses.items()}) == where


# --------------------------------------------------------------------------------------------------------------- parts


def test_models_take_turns():
    """Each round is 1 s for a, 3 s for b; the last round is slow for both, which the median forgets."""
    now, order = [0.0], []

    def run(name: str, seconds: float):
        order.append(name)
        now[0] += seconds * (20 if len(order) > 14 else 1)

    turns = {"a": lambda: run("a", 1), "b": lambda: run("b", 3)}
    found = timing.take_turns(turns, lambda: now[0], rounds=5, seconds=1e9)
    assert order[-6:] == ["a", "b"] * 3
    assert found["a"] == timing.Latency(1000, 1000, 1000, 5) and found["b"].median_ms == 3000


def test_a_rest_comes_before_each_turn_and_is_not_timed(monkeypatch):
    """Threads that still wait by spinning would take the cores from the model that is timed next."""
    now, events = [0.0], []
    monkeypatch.setattr(timing.time, "sleep", lambda s: (events.append("rest"), now.__setitem__(0, now[0] + s)))
    found = timing.take_turns({"a": lambda: events.append("a"), "b": lambda: events.append("b")}, lambda: now[0], 5, 3)
    assert events[-12:] == ["rest", "a", "rest", "b"] * 3
    assert found["a"].high_ms == found["b"].high_ms == 0


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


NAN = float("nan")
DRAWN = {
    "trace": lambda: charts.trace("t", {"sparse": [1, NAN], "<distill>": [0.0]}, "mAP", ("original", 2.0)),
    "trace of one epoch": lambda: charts.trace("t", {"sparse": [NAN]}, "mAP"),
    "stack": lambda: charts.stack("t", {"box": [1, 2], "distill": [0, NAN]}, [(0, "a"), (1, "b")], "loss"),
    "histogram": lambda: charts.histogram("t", [0, 1, 2], {"before": [3, 0], "after": [0, 0]}, "γ"),
    "fan": lambda: charts.fan("t", {"10 %": [0, 0], "median": [1, 1], "90 %": [2, 3]}, "γ"),
    "journey": lambda: charts.journey("t", [("a", 0, 0), ("b", 0, 0)], "GFLOPs", "mAP"),
    "journey beside others": lambda: charts.journey("t", [("a", 1, 2)], "x", "y", [("<c>", 3, 4), ("d", 0, None)]),
    "dumbbells": lambda: charts.dumbbells("t", [("&" * 40, 0, 0), ("b", 1, 2)], ("before", "after"), "mAP"),
    "columns": lambda: charts.columns("t", [("model.0", 16, 8)], ("before", "after"), "channels"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_charts_are_svg_without_gaps(name):
    drawn = DRAWN[name]()
    assert ElementTree.fromstring(standalone(drawn)).tag.endswith("svg") and ElementTree.fromstring(drawn) is not None
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<title>.*?</title>", "", drawn))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 8.7, [0, 2.5, 5, 7.5]), (1, 1, [1]), (0, 300, [0, 100, 200, 300])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([60, 0], (0, 66)), ([80, 75], (70, 81.5)), ([50, 50], (49, 50.3)), ([0, 0], (0, 1)), ([], (0, 1))],
)
def test_axis_starts_at_zero_unless_all_values_are_close_together(values, expected):
    assert svg.value_range(values) == pytest.approx(expected)


SEEDS = range(100, 108)
CROWDS = {
    "in a row": [(403, 66), (367, 67), (331, 66), (296, 68), (259, 105), (225, 148)],
    "one over the other": [(240, 74), (240, 83), (244, 143), (244, 150), (244, 180), (421, 72)],
    "in one place": [(410, 220), (410, 220), (410, 219)],
    "at the end of a journey": [(223, 113), (223, 160), (137, 167), (137, 138), (137, 137), (400, 50), (400, 114)],
    "at the borders": [(50, 45), (50, 228), (444, 45), (444, 228), (444, 222)],
    "strewn": [(random.Random(n).uniform(60, 430), random.Random(n + 50).uniform(50, 220)) for n in range(14)],
    "long names": [(random.Random(n).uniform(60, 430), random.Random(n + 7000).uniform(50, 220)) for n in SEEDS],
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_each_label_belongs_to_its_dot(crowd):
    """A label covers no dot and no other label; it is nearer to its dot than to the others, or a line leads there."""
    words = " with a name" if crowd == "long names" else ""
    dots = [Dot(x, y, 5, f"model {i}{words}") for i, (x, y) in enumerate(CROWDS[crowd])]
    frame = Box(46, 30, 458, 240)
    labels = place(dots, frame)
    for i, (own, label) in enumerate(zip(dots, labels)):
        assert label.box.beyond(frame) == 0
        assert not any(label.box.covers(other.box) for other in labels[:i])
        assert not any(label.box.covers(other.box) for other in dots)
        near = [other for other in dots if label.box.gap(other.box) < label.box.gap(own.box) - 1]  # 1: in one place
        assert label.leader or not near, f"{own.name} is nearer to {[other.name for other in near]}"
        if label.leader:
            assert math.dist(label.leader[:2], own[:2]) == pytest.approx(own.radius)
            ends = np.linspace(label.leader[:2], label.leader[2:], 50)
            others = [other for dot, other in zip(dots, labels) if math.dist(dot[:2], own[:2]) > dot.radius]
            assert not any(other.box.covers(Box(*end, *end)) for end in ends for other in others)


def test_the_line_to_a_label_runs_through_no_other_dot():
    seeds = range(5200, 5210)
    places = [(random.Random(n).uniform(60, 430), random.Random(n + 50).uniform(50, 220)) for n in seeds]
    dots = [Dot(x, y, 5, f"model {i} with a name") for i, (x, y) in enumerate(places)]
    led = [(own, label) for own, label in zip(dots, place(dots, Box(46, 30, 458, 240))) if label.leader]
    assert led and not any(label.strikes(dot.box) for own, label in led for dot in dots if dot is not own)


def test_labels_of_dots_that_touch_keep_their_order():
    dots = [Dot(240, 100, 5, "upper"), Dot(240, 102, 5, "lowest"), Dot(240, 101, 5, "lower")]
    labels = place(dots, Box(46, 30, 458, 240))
    assert labels[0].baseline < labels[2].baseline < labels[1].baseline


def test_names_of_dots_in_one_place_stay_beside_them():
    dots = [Dot(224, 125, 8, "original"), Dot(135, 180, 5, "pruned"), Dot(135, 152, 5, "retrained")]
    dots.append(Dot(135, 151, 8, "distilled"))
    assert not any(label.leader for label in place(dots, Box(46, 30, 458, 240), joined=[[dot[:2] for dot in dots]]))


def test_a_name_that_has_several_points_is_written_once_and_they_are_joined():
    chart = charts.scatter(
        "t", {"ours": [("ours", 0.3, 0.6), ("ours", 0.5, 0.65)], "others": [("other", 0.5, 0.5)]}, "x", "y"
    )
    texts = [element.text for element in ElementTree.fromstring(chart).iter() if element.tag.endswith("text")]
    assert sorted(text for text in texts if text in ("ours", "other", "others")) == ["other", "others", "ours", "ours"]
    dots = re.findall(r'<circle class="f-a" cx="([\d.]+)" cy="([\d.]+)"', chart)
    (joined,) = re.findall(r'<path class="s-a" [^>]*d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)"', chart)
    assert {joined[:2], joined[2:]} == set(dots) and len(dots) == 2


def test_labels_keep_off_what_else_is_drawn():
    frame, own = Box(46, 30, 458, 240), Dot(240, 100, 5, "model")
    (free,) = place([own], frame)
    (moved,) = place([own], frame, taken=[free.box])
    assert free.box.covers(Box(250, 100, 250, 100)) and moved.box.gap(free.box) > 0
    (beside,) = place([own], frame, joined=[[(240, 100), (400, 100)]])
    assert not beside.box.covers(Box(250, 100, 400, 100)), "the line that leads away from the dot"


def test_a_journey_names_every_dot_once():
    points = [("original", 2, 80), ("sparse", 2, 79.8), ("pruned", 1, 0), ("retrained", 1, 0.1), ("distilled", 1, 0.2)]
    drawn = charts.journey("t", points, "GFLOPs", "mAP", [("<s>", 1.5, 40), ("m", 1.2, None)])
    written = [e.text for e in ElementTree.fromstring(drawn).iter() if e.get("class") in ("t", "h")]
    assert sorted(written) == sorted([name for name, *_ in points] + ["<s>", "m"])
