"""What a resumed training makes of the table of the epochs before it, whole or not."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ultralytics.slim.resuming import drop_later_rows

HEADER, ROWS = "epoch,time,loss\n", ["1,0.5,3.0\n", "2,1.0,2.0\n", "3,1.5,1.0\n"]


@pytest.mark.parametrize(
    "before, after",
    [
        (HEADER + "".join(ROWS[:2]), HEADER + "".join(ROWS[:2])),
        (HEADER + "".join(ROWS), HEADER + "".join(ROWS[:2])),
        (HEADER + "".join(ROWS[:2]) + "3,1.", HEADER + "".join(ROWS[:2])),
        (HEADER + ROWS[0] + "nan-ish,1,2\n", HEADER + ROWS[0]),
        (HEADER + ROWS[0] + "\0\0\0\0", HEADER + ROWS[0]),
        (HEADER + "1,0.5,3.0,9\n" + "2,1.0,2.0,9\n", HEADER + "1,0.5,3.0,9\n" + "2,1.0,2.0,9\n"),
        (HEADER + ROWS[0].rstrip("\n"), HEADER + ROWS[0]),
        (HEADER, None),
        ("epoch,ti", None),
        ("", None),
        ("\n\n", None),
    ],
    ids=[
        "whole",
        "longer",
        "half a row",
        "no number",
        "zeros",
        "a column more",
        "no end of the line",
        "header",
        "half a header",
        "empty",
        "blank",
    ],
)
def test_rows_that_are_whole_and_of_epochs_done_are_kept(tmp_path, before, after):
    """Without any the file goes: Ultralytics writes the header of a new one alone."""
    table = tmp_path / "results.csv"
    table.write_text(before)
    trainer = SimpleNamespace(csv=table, start_epoch=2, args=SimpleNamespace(model=Path("last.pt")))
    drop_later_rows(trainer)
    assert (table.read_text() if table.exists() else None) == after
