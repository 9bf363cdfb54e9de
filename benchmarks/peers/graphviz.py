"""Trees and flow charts drawn by Graphviz in random styles, with their true boxes and parents from its own output.

Graphviz is a Debian package (`apt-get install graphviz`); beside the picture it writes where it put each node.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from connectors.boxes import gaps

LAYOUTS = ("dot", "dot", "neato", "twopi", "circo")
SPLINES = {"dot": ("line", "polyline", "ortho", "spline")}
SHAPES = ("box", "ellipse", "circle", "diamond", "hexagon", "cylinder", "note", "parallelogram", "octagon", "egg")
HEADS = ("normal", "normal", "vee", "open", "empty", "diamond", "dot", "onormal")
INKS = ("black", "gray25", "navy", "firebrick", "darkgreen", "purple4", "#2b6cb0", "#c05621", "#718096")
PAPERS = ("white", "white", "#fdf6e3", "#e6fffa", "#1a202c")
WORDS = "order claim stock bill route ticket model photo offer parcel budget queue worker cache index mail log".split()
CLEAR_INKS = ("white", "gray90", "gold", "#9ae6b4", "#feb2b2")  # which are seen on a photograph
PAD = 0.15  # inches around the drawing
LEAST_GAP = 8  # points between nodes


class Picture(NamedTuple):
    """A drawing (H, W, 3) BGR uint8, its nodes' boxes (N, 4) xyxy in pixels, their parents, and how it was drawn."""

    image: np.ndarray
    boxes: np.ndarray
    parents: list[int]
    style: dict[str, str]


def is_there() -> bool:
    """Return whether Graphviz is installed."""
    return shutil.which("dot") is not None


def draw(rng: np.random.Generator, photo: np.ndarray | None = None, **given: str) -> Picture:
    """Return a drawing in a random style, over the middle of a photograph (H, W, 3) if one is given.

    Args:
        given: Of the style: `layout`, `splines`, `head` (`none`: lines without heads), `flow` (`yes`: a flow chart, in
            which nodes may have several parents, of whom the first counts), and so on.
    """
    given = {"layout": str(rng.choice(LAYOUTS)), **given}
    while (picture := _drawn(rng, photo, given)) is None:
        pass
    return picture


def _drawn(rng: np.random.Generator, photo: np.ndarray | None, given: dict[str, str]) -> Picture | None:
    """Return a drawing, None where nodes touch each other, as circo lets them."""
    style = {**_style(rng, given["layout"], photo is not None), **given}
    parents = random_tree(rng, int(rng.integers(5, 31)))
    edges = [(parent, child) for child, parent in enumerate(parents) if parent >= 0]
    if style["flow"] == "yes":
        edges += _further(rng, parents)
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder, f"drawing.{kind}") for kind in ("png", "json")}
        outputs = [word for kind, path in files.items() for word in (f"-T{kind}", "-o", str(path))]
        source = _source(rng, style, len(parents), edges)
        subprocess.run([style["layout"], *outputs], input=source.encode(), check=True, capture_output=True)
        image = cv2.imread(str(files["png"]), cv2.IMREAD_UNCHANGED)
        boxes = _boxes(json.loads(files["json"].read_text()), float(style["dpi"]))
    off = gaps(boxes).max(2)
    np.fill_diagonal(off, np.inf)
    if off.min() < LEAST_GAP * float(style["dpi"]) / 72:
        return None
    return Picture(_over(image, photo), boxes, parents, style)


def _style(rng: np.random.Generator, layout: str, clear: bool) -> dict[str, str]:
    paper = str(rng.choice(PAPERS))
    dark = paper == "#1a202c"
    shapes = rng.choice(SHAPES, int(rng.integers(1, 4)), replace=False)
    return {
        "splines": str(rng.choice(SPLINES.get(layout, ("line", "spline")))),
        "rankdir": str(rng.choice(["TB", "LR", "BT", "RL"], p=[0.5, 0.3, 0.1, 0.1])),
        "head": str(rng.choice(HEADS)) if rng.random() < 0.6 else "none",
        "line": str(rng.choice(["solid", "dashed", "dotted"], p=[0.7, 0.2, 0.1])),
        "width": f"{rng.uniform(1.5 if clear else 0.8, 3):.1f}",
        "ink": str(rng.choice(CLEAR_INKS if dark or clear else INKS)),
        "fill": "filled" if clear or rng.random() < 0.5 else "",
        "paper": "transparent" if clear else paper,
        "fontcolor": "gray90" if dark else "black",
        "shapes": ",".join(shapes),
        "labels": "yes" if rng.random() < 0.2 else "",
        "dpi": str(int(rng.integers(60, 121))),
        "flow": "",
    }


def random_tree(rng: np.random.Generator, count: int) -> list[int]:
    """Return the parents of a random tree, of which each node has about the same chance to be one of the next."""
    open_ends, parents = [0], [-1]
    while len(parents) < count:
        parent = open_ends.pop(int(rng.integers(min(len(open_ends), 3))))
        for _ in range(min(int(rng.integers(1, 5)), count - len(parents))):
            open_ends.append(len(parents))
            parents.append(parent)
    return parents


def _further(rng: np.random.Generator, parents: list[int]) -> list[tuple[int, int]]:
    """Return a few edges more, each to a node from one that is no ancestor and stands after its parent."""
    found = []
    for child in rng.permutation(np.arange(1, len(parents)))[: max(1, len(parents) // 8)]:
        later = [p for p in range(parents[child] + 1, child)]
        if later:
            found.append((int(rng.choice(later)), int(child)))
    return found


def _source(rng: np.random.Generator, style: dict[str, str], count: int, edges: list[tuple[int, int]]) -> str:
    pastel = "#%02x%02x%02x" % tuple(rng.integers(190, 251, 3)) if style["paper"] != "#1a202c" else "#2d3748"
    general = {"pad": PAD, "dpi": style["dpi"], "bgcolor": style["paper"], "rankdir": style["rankdir"]}
    general |= {
        "splines": style["splines"],
        "overlap": "false",
        "sep": "+20",
        "root": "n0",
        "mindist": 2.5,
        "ranksep": 0.5 if style["layout"] == "dot" else 2,
    }
    node = {"style": style["fill"], "fillcolor": pastel, "color": style["ink"], "penwidth": style["width"]}
    node |= {
        "fontname": "DejaVu Sans",
        "fontcolor": "black" if style["fill"] and pastel != "#2d3748" else style["fontcolor"],
    }
    edge = {"arrowhead": style["head"], "style": style["line"], "color": style["ink"], "penwidth": style["width"]}
    edge |= {"fontname": "DejaVu Sans", "fontsize": 10, "fontcolor": style["fontcolor"], "len": "2.2"}
    lines = [f"{kind} {_attributes(of)};" for kind, of in (("graph", general), ("node", node), ("edge", edge))]
    shapes = style["shapes"].split(",")
    for i in range(count):
        text = " ".join(rng.choice(WORDS, int(rng.integers(1, 3))))
        lines.append(f"n{i} {_attributes({'label': text, 'shape': rng.choice(shapes)})};")
    for start, end in edges:
        label = {"label": rng.choice(["yes", "no", "maybe"])} if style["labels"] and rng.random() < 0.4 else {}
        lines.append(f"n{start} -> n{end} {_attributes(label)};")
    return "digraph {\n" + "\n".join(lines) + "\n}\n"


def _attributes(of: dict) -> str:
    return "[" + ", ".join(f'{name}="{value}"' for name, value in of.items()) + "]"


def _boxes(drawn: dict, dpi: float) -> np.ndarray:
    """Return the nodes' boxes in pixels, from points with y upwards."""
    height, zoom, found = float(drawn["bb"].split(",")[3]), dpi / 72, {}
    for node in drawn["objects"]:
        x, y = map(float, node["pos"].split(","))
        half = np.array([float(node["width"]), float(node["height"])]) * 36
        middle = np.array([x, height - y]) + PAD * 72
        found[int(node["name"][1:])] = np.concatenate([middle - half, middle + half]) * zoom
    return np.array([found[i] for i in sorted(found)])


def _over(image: np.ndarray, photo: np.ndarray | None) -> np.ndarray:
    """Return a picture with transparency (or without) over a photograph that is stretched to its size."""
    if image.shape[2] == 3 or photo is None:
        return image[..., :3].copy()
    under = cv2.resize(photo, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(float)
    share = image[..., 3:] / 255
    return (image[..., :3] * share + under * (1 - share)).round().astype(np.uint8)
