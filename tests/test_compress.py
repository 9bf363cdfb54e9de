"""The end of a run: what was measured and the page are kept where a picture fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ultralytics.slim import compress
from ultralytics.slim.exporting.check import ExportTable
from ultralytics.slim.measuring.comparison import ComparisonTable, ModelRow
from ultralytics.slim.prediction import evaluate, predict
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings

ROW = ModelRow("original", 72, 900_000, 2.25, 9.0, 1.9, 0.61, "a.pt")


@pytest.mark.slow
def test_a_fault_in_the_picture_loses_neither_figures_nor_page(weights, tiny_data, tmp_path, monkeypatch, log):
    def page(folder: Path) -> Path:
        (folder / "report.html").write_text("")
        return folder / "report.html"

    def fail(*_):
        raise RuntimeError("nothing can be drawn")

    monkeypatch.setattr(compress, "make_models", lambda *_: {"original": Path(weights), "pruned": Path(weights)})
    monkeypatch.setattr(compress, "check_exports", lambda *_, **__: ExportTable([], 0, [64], "cpu"))
    monkeypatch.setattr(compress, "compare_models", lambda *_: ComparisonTable([ROW], 64, "cpu"))
    monkeypatch.setattr(compress, "write_report", page)
    monkeypatch.setattr(evaluate, "relations_of", lambda *_: {})
    monkeypatch.setattr(predict, "typical_prediction", fail)
    run = Run.start(tmp_path, "run", RunSettings.read({"weights": weights, "data": str(tiny_data), "device": "cpu"}))
    with pytest.raises(RuntimeError, match="nothing can be drawn"):
        compress.compress_run(run)
    record = json.loads(run.record.read_text())
    assert record["results"]["table"][0]["map50_95"] == 0.61 and not record["finished"]
    assert (run.folder / "report.html").is_file() and "0.6100" in log.text
