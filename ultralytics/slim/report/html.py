"""Write a report as one HTML page that needs nothing else: pictures embedded, light and dark, for a phone too."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..charts.svg import FONTS, STYLE
from .blocks import Block, Card, Chart, Document, Grid, Key, Pair, Words

KIND_COLORS = {"good": "b", "fair": "c", "bad": "d", "none": "d", "unknown": "a"}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p class="sub">{subtitle}</p></header>
<main>
{body}
</main>{script}
</body>
</html>
"""
CSS = """
:root{--page:#f4f6f8}
@media(prefers-color-scheme:dark){:root{--page:#0f151b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;
 font:16px/1.5 FONTS}
header,main{max-width:1040px;margin:0 auto;padding:0 20px}
header{padding-top:32px}
h1{font-size:1.55rem;line-height:1.2;margin:0}
h2{font-size:1.15rem;margin:0 0 12px}
h3{font-size:.95rem;margin:0 0 4px}
p{margin:0 0 12px}
.sub,.note,figcaption{color:var(--soft);font-size:.86rem}
.note{margin:10px 0 0}
.sub{margin:4px 0 20px;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px;margin:0 0 16px}
.verdict{border-left:6px solid var(--tone)}
.verdict .label{color:var(--tone);font-weight:700;font-size:.82rem;letter-spacing:.06em;text-transform:uppercase}
.verdict .headline{font-size:1.32rem;line-height:1.35;font-weight:650;margin:4px 0 8px}
.verdict p:last-child{margin:0}
.alerts{border-left:6px solid var(--d)}
.alerts ul{margin:0;padding-left:1.2em;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:12px;margin:0 0 16px}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:14px 16px}
.card .name{color:var(--soft);font-size:.82rem}
.card .value{font-size:1.5rem;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums}
.card small{font-size:.9rem;font-weight:500;color:var(--soft);margin-left:.3em}
.card .before{color:var(--soft);font-size:.82rem}
.card .change{font-size:.86rem;font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:20px}
figure{margin:0}
.charts figure:only-child{max-width:560px}
svg.chart{display:block;width:100%;height:auto}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:8px}
.pair img{width:100%;height:auto;border-radius:6px;display:block;background:#fff}
.pairs figure+figure{margin-top:20px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.long{white-space:normal;text-align:left;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}
tr:last-child td{border-bottom:0}
.key span{display:inline-block;margin-right:18px;font-size:.88rem}
.key i{display:inline-block;width:16px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
summary{cursor:pointer;color:var(--soft);font-size:.9rem;padding:4px 0}
.block+.block{margin-top:16px}
@media(max-width:560px){header,main{padding:0 12px}header{padding-top:20px}section{padding:16px 14px}
 .verdict .headline{font-size:1.15rem}.cards{grid-template-columns:1fr 1fr;gap:8px}.card .value{font-size:1.25rem}}
circle[data-key]{cursor:pointer;outline:none}
circle.near,circle:focus-visible{stroke:var(--ink);stroke-width:2}
circle.chosen{stroke:var(--ink);stroke-width:3}
tr.near td{background:var(--page)}
.hint{color:var(--soft);font-size:.86rem;margin:0 0 8px}
.hint button{font:inherit;color:var(--b);background:none;border:1px solid var(--line);border-radius:8px;
 padding:1px 10px;margin-left:8px;cursor:pointer}
@media print{section,.card{break-inside:avoid}}
"""

# Points of the charts and rows of the table have the same data-key; without scripts all rows are shown.
SCRIPT = """
<script>
(() => {
  const all = s => [...document.querySelectorAll(s)], chosen = new Set();
  const dots = all("circle[data-key]"), rows = all("tr[data-key]");
  if (!dots.length || !rows.length) return;
  const [hint, words, button] = ["p", "span", "button"].map(name => document.createElement(name));
  hint.className = "hint";
  button.type = "button";
  button.textContent = "all rows";
  hint.append(words, button);
  rows[0].closest(".wide").before(hint);
  const first = rows[0].dataset.key;
  const show = () => {
    const some = chosen.size > 0;
    dots.forEach(d => {
      d.classList.toggle("chosen", chosen.has(d.dataset.key));
      d.setAttribute("aria-pressed", chosen.has(d.dataset.key));
    });
    rows.forEach(r => { r.hidden = some && !chosen.has(r.dataset.key) && r.dataset.key !== first; });
    words.textContent = some ? "The points that were clicked, and the first row."
      : "Click points in the charts above to compare them here.";
    button.hidden = !some;
  };
  const near = (key, on) => [...dots, ...rows].forEach(e => e.dataset.key === key && e.classList.toggle("near", on));
  const pick = key => { chosen.delete(key) || chosen.add(key); show(); };
  [...dots, ...rows].forEach(e => {
    e.addEventListener("mouseenter", () => near(e.dataset.key, true));
    e.addEventListener("mouseleave", () => near(e.dataset.key, false));
  });
  dots.forEach(d => {
    d.setAttribute("tabindex", 0); d.setAttribute("role", "button");
    d.addEventListener("click", () => pick(d.dataset.key));
    d.addEventListener("keydown", e => {
      if (e.key !== "Enter" && e.key !== " ") return;
      e.preventDefault();
      pick(d.dataset.key);
    });
  });
  button.addEventListener("click", () => { chosen.clear(); show(); });
  show();
})();
</script>"""


def to_html(document: Document) -> str:
    """Return the report as one page; pictures are embedded."""
    tone = f"--tone:var(--{KIND_COLORS[document.kind]})"
    details = "".join(f"<p>{escape(d)}</p>" for d in document.details)
    body = [
        f'<section class="verdict" style="{tone}"><div class="label">{escape(document.label)}</div>',
        f'<p class="headline">{escape(document.headline)}</p>{details}</section>',
    ]
    if document.alerts:
        items = "".join(f"<li>{escape(a)}</li>" for a in document.alerts)
        body.append(f'<section class="alerts"><h2>Missing from this report</h2><ul>{items}</ul></section>')
    if document.cards:
        body.append(f'<div class="cards">{"".join(map(_card, document.cards))}</div>')
    body += [f"<section><h2>{escape(s.title)}</h2>{_blocks(s.blocks)}</section>" for s in document.sections]
    title, subtitle = escape(document.title), escape(document.subtitle)
    picks = any(getattr(block, "picks", False) for section in document.sections for block in section.blocks)
    style, script = STYLE + CSS.replace("FONTS", FONTS), SCRIPT if picks else ""
    return PAGE.format(title=title, subtitle=subtitle, style=style, body="\n".join(body), script=script)


def _card(card: Card) -> str:
    return (
        f'<div class="card"><div class="name">{escape(card.name)}</div><div class="value">{escape(card.value)}'
        f"<small>{escape(card.unit)}</small></div>"
        f'<div class="before">{escape(card.before)}</div><div class="change">{escape(card.change)}</div></div>'
    )


def _blocks(blocks: Sequence) -> str:
    """Return the blocks of a section; charts and pairs that follow each other share a frame."""
    parts, frame = [], ""
    for block in blocks:
        wanted = {Chart: "charts", Pair: "pairs"}.get(type(block), "charts" if getattr(block, "beside", False) else "")
        if wanted != frame:
            parts += ["</div>"] * bool(frame) + [f'<div class="block {wanted}">'] * bool(wanted)
            frame = wanted
        parts.append(_html(block))
    return "".join(parts + ["</div>"] * bool(frame))


def _html(block: Block) -> str:
    if isinstance(block, Words):
        return f'<p class="block">{escape(block.text)}</p>'
    if isinstance(block, Key):
        marks = "".join(f'<span><i style="{style}"></i>{escape(words)}</span>' for style, words in block.marks)
        return f'<p class="block key">{marks}</p>'
    if isinstance(block, Chart):
        note = f"<figcaption>{escape(block.note)}</figcaption>" * bool(block.note)
        return f"<figure><h3>{escape(block.title)}</h3>{block.svg}{note}</figure>"
    if isinstance(block, Pair):
        pictures = "".join(_picture(path, f"{block.caption}, {who}") for path, who in block.sides)
        return f'<figure><div class="pair">{pictures}</div><figcaption>{escape(block.caption)}</figcaption></figure>'
    return _table(block)


def _picture(path: Path, alt: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}">'


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in grid.header)
    long = len(grid.header) == 2 and not grid.folded
    css = ' class="long"' if long else ""
    cell = lambda i, c: f"<td{css if i else ''}>{escape(c)}</td>"
    opened = lambda row: f'<tr data-key="{escape(row[0])}">' if grid.picks else "<tr>"
    rows = "".join(opened(row) + "".join(cell(i, c) for i, c in enumerate(row)) + "</tr>" for row in grid.rows)
    head = f"<tr>{head}</tr>" if any(grid.header) else ""
    table = f'<div class="wide"><table>{head}{rows}</table></div>'
    table += f'<p class="note">{escape(grid.note)}</p>' * bool(grid.note)
    if grid.folded:
        table = f"<details><summary>{escape(grid.folded)}</summary>{table}</details>"
    return f'<div class="block">{table}</div>'
