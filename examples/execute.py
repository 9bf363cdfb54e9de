"""Execute the notebook and keep its outputs, without what is of this machine: `python examples/execute.py`."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("compress_your_detector.ipynb")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def execute(folder: Path, parameters: str = "", path: Path = NOTEBOOK) -> NotebookNode:
    """Return the notebook with the outputs of a run in `folder`.

    Args:
        folder: where the cells run.
        parameters: code that runs after the notebook's own parameters, instead of them.
        path: the notebook.

    Raises:
        CellExecutionError: a cell failed; holds its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(parameters))
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def tidy(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Make the outputs fit to be kept: of a progress bar its end, no colours, times of execution or machine's paths."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        streams = [output for output in cell.get("outputs", []) if output.output_type == "stream"]
        for output in streams[1:]:
            streams[0].text += output.text
        if streams:
            streams[0].text = _as_shown(streams[0].text, folder)
            cell.outputs = [o for o in cell.outputs if not any(o is other for other in streams[1:])]
        for output in cell.get("outputs", []):
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = _as_shown(value, folder)
    return notebook


def _as_shown(text: str, folder: Path) -> str:
    """Return what a terminal shows in the end of a text with returns and colours; paths from `folder`."""
    lines = [ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join(lines).replace(f"{folder.resolve()}/", "").replace(str(folder.resolve()), ".")


if __name__ == "__main__":
    root = NOTEBOOK.parent.parent
    nbformat.write(tidy(execute(root), root), NOTEBOOK)
