"""The notebook: that it runs from the checkpoint to the export, and that what is kept of a run names no machine."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest

from examples.execute import NOTEBOOK, execute, tidy
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.prediction.results import Prediction, Predictions, contact_sheet
from ultralytics.utils import YAML

from places import ROOT
from random_models import seeing

HOMES = ("/home/", "/root/", "/tmp/", "/work/", "/Users/", "C:\\")


def cells(notebook, tag: str):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def outputs(notebook, kind: str) -> list[str]:
    return [
        output.data[kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


@pytest.mark.slow
def test_it_runs_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    drawn = draw_dataset(tmp_path / "drawn/diagram", train=12, val=2)
    settings = {"path": str(drawn), "train": "images/train", "val": "images/val"}
    YAML.save(tmp_path / "drawn.yaml", {**settings, "names": YAML.load(ROOT / "diagram.yaml")["names"]})
    seeing(drawn / "images/train", tmp_path / "start.pt")
    parameters = """
WEIGHTS, DATA, EPOCHS, ITERATIONS = "start.pt", "drawn.yaml", dict.fromkeys(EPOCHS, 1), 2
TRAINING = {"imgsz": 160, "batch": 4, "workers": 0, "verbose": False, "plots": False, "device": "cpu"}
"""
    notebook = execute(tmp_path, parameters)
    out = tmp_path / "runs/notebook"
    assert {"sparse.pt", "pruned.pt", "retrain.pt", "distill.pt", "recovered.pt"} <= {
        path.name for path in out.iterdir()
    }
    assert list(out.glob("distill.*[!t]"))[0].stat().st_size > 1e5, "the exported file"
    assert len(outputs(notebook, "image/jpeg")) == 2, "before and after"
    table, agreed, sizes = outputs(notebook, "text/html")
    assert table.count("<tr>") == 5 and "<td>distilled</td>" in table
    assert agreed.count("<tr>") == 4 and "<td>recovered</td>" in agreed
    assert sizes.count("<tr>") == 5 and (out / "front/front.html").is_file()
    assert str(tmp_path) in nbformat.writes(notebook)
    kept = nbformat.writes(tidy(notebook, tmp_path))
    assert str(tmp_path) not in kept and "\\u001b" not in kept and "\\r" not in kept


def test_what_is_kept_names_no_machine_and_has_its_pictures():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not [home for home in HOMES if home in text]
    assert NOTEBOOK.stat().st_size < 500_000
    assert len(outputs(notebook, "image/jpeg")) == 2 and len(outputs(notebook, "text/html")) == 3
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]


def test_tidying_keeps_what_a_terminal_shows(tmp_path):
    def stream(text):
        return nbformat.v4.new_output("stream", text=text)

    bar = "\r\x1b[K1/2 \x1b[1mhalf\x1b[0m\r\x1b[K2/2 whole\n"
    cell = nbformat.v4.new_code_cell("1", outputs=[stream("first\n"), stream(bar), stream(f"in {tmp_path}/runs\n")])
    notebook = tidy(nbformat.v4.new_notebook(cells=[cell]), tmp_path)
    (output,) = notebook.cells[0].outputs
    assert output.text == "first\n2/2 whole\nin runs\n"


def setup_cell() -> str:
    (cell,) = cells(nbformat.read(NOTEBOOK, as_version=4), "setup")
    return cell.source


def test_without_the_project_the_first_cell_asks_for_its_address(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="set REPOSITORY"):
        exec(setup_cell(), {})


def test_with_an_address_the_first_cell_installs_the_project(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda words, check: done.append([str(word) for word in words[-3:]]))
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    exec(setup_cell().replace('REPOSITORY = ""', 'REPOSITORY = "some/where.git"'), names := {})
    assert done == [["--depth=1", "some/where.git", "slim"], ["-q", "-e", f"{tmp_path / 'slim'}[export]"]]
    assert names["PruneModel"] and sys.path[0] == str(tmp_path / "slim")
    assert Path.cwd() == tmp_path, "the user's own files are found as before"


@pytest.mark.parametrize("place", [".", "examples", "slim/.."])
def test_the_first_cell_installs_a_checkout_that_is_there(monkeypatch, tmp_path, place):
    """The notebook's own checkout, or what an attempt that failed half-way has cloned."""
    done, checkout = [], tmp_path / "slim" if place == "slim/.." else tmp_path
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda words, check: done.append(words[-1]))
    monkeypatch.setattr("sys.path", [*sys.path])
    for folder in (checkout, tmp_path / place):
        folder.mkdir(parents=True, exist_ok=True)
    (checkout / "prune_model.py").touch()
    monkeypatch.chdir(tmp_path / place)
    exec(setup_cell(), {})
    assert done == [f"{checkout}[export]"]


def test_a_list_of_predictions_shows_its_pictures(tmp_path):
    found = Predictions()
    assert found._repr_jpeg_() is None
    for i, shape in enumerate([(100, 200), (200, 100), (50, 50)]):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((*shape, 3), 40 * i, np.uint8))
        found.append(Prediction("a.png", tmp_path / f"{i}.jpg", [], [], [], []))
    sheet = cv2.imdecode(np.frombuffer(found._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (808, 808, 3)


def test_a_contact_sheet_shows_whole_pictures_at_their_places():
    pictures = [
        np.full((10, 20, 3), 50, np.uint8),
        np.full((20, 10, 3), 100, np.uint8),
        np.full((5, 5, 3), 150, np.uint8),
    ]
    sheet = contact_sheet(pictures, columns=2, side=20, gap=4)
    assert sheet.shape == (44, 44, 3)
    for value, (top, left), (height, width) in (
        (50, (5, 0), (10, 20)),
        (100, (0, 29), (20, 10)),
        (150, (24, 0), (20, 20)),
    ):
        rows, columns = np.nonzero((sheet == value).all(2))
        assert (rows.min(), columns.min()) == (top, left)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (height, width)
