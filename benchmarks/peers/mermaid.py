"""Trees drawn by Mermaid in random styles, as flow charts and as mind maps, with their boxes from the page itself.

Needs Debian's packages chromium and npm; Mermaid comes from the npm registry, once, into runs/mermaid.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from .graphviz import WORDS, Picture, random_tree

VERSION = "11.17.2"
CACHE = Path(__file__).resolve().parent.parent.parent / "runs/mermaid"
THEMES = {"default": "white", "forest": "white", "neutral": "white", "base": "#fdf6e3", "dark": "#222222"}
CURVES = ("basis", "linear", "step", "natural", "cardinal", "monotoneX")
SHAPES = ("[{}]", "({})", "([{}])", "[[{}]]", "{{{}}}", "(({}))", "{{{{{}}}}}", "[/{}/]")
BRANCHES = ("[{}]", "({})", "(({}))", "{{{{{}}}}}", "{}")  # of mind maps
LINKS = ("-->", "-->", "---", "-.->", "-.-", "==>", "===")
SIDE = 2400  # pixels of the page

PAGE = """<html><body style="margin:20px;background:{paper}"><div id="drawing"></div>
<script src="{script}"></script><script>
mermaid.initialize({{startOnLoad: false, theme: "{theme}", flowchart: {{curve: "{curve}"}}}});
mermaid.render("drawn", {source}).then(({{svg}}) => {{
  const place = document.getElementById("drawing");
  place.innerHTML = svg;
  const image = place.querySelector("svg"), box = image.viewBox.baseVal;
  image.style.maxWidth = "none"; image.setAttribute("width", box.width); image.setAttribute("height", box.height);
  const nodes = [...document.querySelectorAll("g.node, g.mindmap-node")].map(node => {{
    const shape = node.querySelector(":scope > rect, :scope > polygon, :scope > circle, :scope > path, :scope > g");
    const r = (shape || node).getBoundingClientRect();
    return [node.textContent.trim(), r.left, r.top, r.right, r.bottom];
  }});
  const r = image.getBoundingClientRect(), told = document.createElement("pre");
  told.id = "told"; told.style.display = "none";
  told.textContent = JSON.stringify({{nodes, drawing: [r.right + 20, r.bottom + 20]}});
  document.body.appendChild(told);
}});
</script></body></html>"""


def is_there() -> bool:
    """Return whether Mermaid can be run: with a browser, and with the package or a way to get it."""
    return bool(shutil.which("chromium")) and (_script().is_file() or bool(shutil.which("npm")))


def draw(rng: np.random.Generator, kind: str, photo: Path | None = None) -> Picture:
    """Return one tree in a random style, as a `flowchart` or a `mindmap`, over a photograph's file if one is given."""
    parents = random_tree(rng, int(rng.integers(5, 26)))
    theme = "dark" if photo else str(rng.choice(list(THEMES)))
    texts = [f"{i} {rng.choice(WORDS)}" for i in range(len(parents))]  # told apart by their numbers
    style = {"layout": kind, "theme": theme, "curve": str(rng.choice(CURVES)), "head": "none"}
    if kind == "flowchart":
        link = str(rng.choice(LINKS))
        style["head"] = "normal" if link.endswith(">") else "none"
        source = _flow_chart(rng, parents, texts, link)
    else:
        source = _mind_map(rng, parents, texts)
    paper = f"url('{photo.resolve().as_uri()}') 0 0 / 900px" if photo else THEMES[theme]
    image, told = _rendered(PAGE.format(
        paper=paper, script=_script(fetch=True).as_uri(), theme=theme, curve=style["curve"], source=json.dumps(source)
    ))  # fmt: skip
    boxes = {int(text.split()[0]): box for text, *box in told["nodes"] if text}
    wide, high = (int(np.ceil(n)) for n in told["drawing"])
    return Picture(image[:high, :wide].copy(), np.array([boxes[i] for i in range(len(parents))]), parents, style)


def _script(fetch: bool = False) -> Path:
    path = CACHE / f"{VERSION}/package/dist/mermaid.min.js"
    if fetch and not path.is_file():
        path.parents[2].mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"mermaid@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=path.parents[2], check=True, capture_output=True, text=True)
        shutil.unpack_archive(path.parents[2] / done.stdout.split()[-1], path.parents[2])
    return path


def _flow_chart(rng: np.random.Generator, parents: list[int], texts: list[str], link: str) -> str:
    shapes = rng.choice(SHAPES, int(rng.integers(1, 4)), replace=False)
    lines = [f"flowchart {rng.choice(['TD', 'TD', 'LR', 'BT', 'RL'])}"]
    lines += [f"  n{i}" + str(rng.choice(shapes)).format(f'"{text}"') for i, text in enumerate(texts)]
    labelled = rng.random() < 0.3
    for child, parent in enumerate(parents):
        if parent >= 0:
            label = f"|{rng.choice(['yes', 'no', 'maybe'])}|" if labelled and rng.random() < 0.4 else ""
            lines.append(f"  n{parent} {link}{label} n{child}")
    return "\n".join(lines)


def _mind_map(rng: np.random.Generator, parents: list[int], texts: list[str]) -> str:
    shape, lines = str(rng.choice(BRANCHES)), ["mindmap"]

    def add(node: int, depth: int) -> None:
        text = f'"{texts[node]}"' if shape != "{}" else texts[node]
        lines.append("  " * depth + (f"n{node}" if shape != "{}" else "") + shape.format(text))
        for child, parent in enumerate(parents):
            if parent == node:
                add(child, depth + 1)

    add(0, 1)
    return "\n".join(lines)


def _rendered(page: str) -> tuple[np.ndarray, dict]:
    """Return a picture of the page (H, W, 3) BGR, and what its script told."""
    with tempfile.TemporaryDirectory() as folder:
        path, picture = Path(folder, "page.html"), Path(folder, "page.png")
        path.write_text(page, encoding="utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--allow-file-access-from-files", f"--window-size={SIDE},{SIDE}", "--virtual-time-budget=10000"]
        command += [f"--screenshot={picture}", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        told = re.search(r'<pre id="told"[^>]*>(.*?)</pre>', done.stdout)
        if told is None:
            raise RuntimeError(f"Mermaid drew nothing of {page}")
        return cv2.imread(str(picture)), json.loads(told[1])
