"""Imports inside slim run downwards: each part knows those below it, and none knows itself by way of another."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from places import ROOT

SLIM = ROOT / "ultralytics/slim"
LAYERS = (  # the lowest first; what stands in one line does not know each other
    {"errors", "hints", "kinds", "logs", "compat", "ranks", "moved", "installation"},
    {"files", "stored", "classes"},
    {"loading"},
    {"plabels", "losses", "sparsity", "inputs", "charts"},
    {"settings", "widths", "resuming", "diagrams"},
    {"fewer_classes"},
    {"measuring"},
    {"distillation", "pruning", "prediction", "saving"},
    {"recovery"},
    {"promise", "exporting"},
    {"runs"},
    {"training_run"},
    {"trainer", "report"},
    {"compress", "front"},
    {"command", "wrapper"},
    {"__main__"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def is_module(parts: tuple[str, ...]) -> bool:
    path = SLIM.joinpath(*parts)
    return path.with_suffix(".py").is_file() or path.is_dir()


def imports_of(path: Path) -> set[str]:
    """Return the modules of slim that a file imports, dotted from slim on; those for type checkers alone left out."""
    package = path.relative_to(SLIM).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            base = tuple(part for part in base if part)
            targets = [(*base, name.name) for name in node.names]
            found.update(".".join(target if is_module(target) else base) for target in targets)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ultralytics.slim"):
            found.add(node.module.removeprefix("ultralytics.slim").removeprefix("."))
    return {module for module in found if module}


FILES = sorted(path for path in SLIM.rglob("*.py") if path != SLIM / "__init__.py")
GRAPH = {
    ".".join(path.relative_to(SLIM).with_suffix("").parts).removesuffix(".__init__"): imports_of(path) for path in FILES
}


def test_every_part_has_its_level():
    assert {module.partition(".")[0] for module in GRAPH} == set(LEVEL)


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_a_module_knows_only_what_lies_below_it(module):
    own = module.partition(".")[0]
    others = {target.partition(".")[0] for target in GRAPH[module]} - {own}
    assert all(LEVEL[other] < LEVEL[own] for other in others), f"{module} imports {sorted(others)}"


def test_no_module_knows_itself_by_way_of_others():
    """A circle is an error that names it."""
    order = list(TopologicalSorter({module: targets - {module} for module, targets in GRAPH.items()}).static_order())
    assert order.index("errors") < order.index("compress")


def test_what_takes_long_to_import_is_imported_where_it_is_needed():
    """Half of the seconds before a command did anything went to torchvision, of which few need anything."""
    code = "import prune_model, sys; print({'torchvision', 'torch._dynamo', 'onnxruntime'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


def test_the_face_of_slim_is_there_and_quiet():
    """What other programs import, and the names that older ones know, without a word in the log."""
    code = (
        "import ultralytics.utils; print('|', flush=True);"  # on a new machine Ultralytics tells of its settings file
        "import ultralytics.slim as slim, sys; assert 'ultralytics.engine.trainer' not in sys.modules;"
        "assert all(getattr(slim, name) is not None for name in slim.FACE) and set(slim.FACE) <= set(dir(slim));"
        "from ultralytics.slim.pipeline import quiet; from ultralytics.slim.pruning.analyse import analyse_model;"
        "assert analyse_model is slim.analyse_model"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and (done.stdout.partition("|")[2] + done.stderr).strip() == "", done.stderr
