"""The parts of a report on the models: where each stands, what each costs, and what each class lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import charts
from .blocks import Block, Chart, Grid
from .figures import NONE, points, spread
from .verdict import signed

WORST_SHOWN = 16  # classes in the chart; the table has all


def accuracy_blocks(facts: dict[str, Any]) -> list[Block]:
    places = [(m["name"], m["gflops"], 100 * m["map50_95"]) for m in facts["models"] if m.get("map50_95") is not None]
    if len(places) < 2:
        return []
    beside = _beside(facts)
    path = charts.journey("mAP50-95 against GFLOPs", places, "GFLOPs of one image", "mAP50-95", beside)
    note = f"Further left is less compute, higher is better. {_beside_words(facts)}".rstrip()
    blocks: list[Block] = [Chart("accuracy-compute", "Where each stage stands", path, note)]
    stages = {s: [100 * v for v in c[key]] for s, c in facts["curves"].items() if (key := _main(c))}
    if stages:
        first = facts["models"][0]
        level = (first["name"], 100 * first["map50_95"]) if first.get("map50_95") is not None else None
        drawn = charts.trace("mAP50-95 by epoch", stages, "mAP50-95", level)
        note = "On the validation images after each epoch, as the trainer measured it."
        blocks.append(Chart("accuracy-epochs", "How training got there", drawn, note))
    return blocks


def _beside(facts: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    """Return (name, GFLOPs, mAP50-95 or None) of what is compared with: checkpoints, and the next smaller scale."""
    given = [(r["name"], r["gflops"], r["map50_95"] and 100 * r["map50_95"]) for r in facts["references"]]
    return given + [(s["name"], s["gflops"], None) for s in _untrained(facts)]


def _untrained(facts: dict[str, Any]) -> list[dict]:
    """Return the next smaller scale, unless there is none or a given checkpoint is one of it."""
    scale = facts["smaller_scale"]
    known = any(r["params"] == scale.get("params") for r in facts["references"])
    return [] if "fault" in scale or known else [scale]


def _beside_words(facts: dict[str, Any]) -> str:
    """Say what the orange marks are, and why the next smaller scale is not among them where there is none."""
    given = [r["name"] for r in facts["references"]]
    words = [f"Orange: {' and '.join(given)}, given to compare with."] if given else []
    for scale in _untrained(facts):
        words.append(
            f"Orange line: {scale['name']}, the next smaller scale, has {scale['gflops']:.2f} GFLOPs and "
            f"{scale['params']:,} parameters with these classes; train it on the same data and give its checkpoint as "
            "compare= to see its accuracy here."
        )
    return " ".join([*words, *filter(None, [facts["smaller_scale"].get("fault")])])


def _main(columns: dict) -> str:
    """Return the column of results.csv with the main measure: masks or poses before boxes."""
    found = [name for name in columns if name.startswith("metrics/mAP50-95")]
    return found[-1] if found else ""


def stage_blocks(facts: dict[str, Any]) -> list[Block]:
    models, runtimes = [*facts["models"], *facts["references"]], []
    for model in models:
        runtimes += [r for r in model["latency"] if r not in runtimes]
    header = (
        "model",
        "mAP50-95",
        "mAP50",
        "parameters",
        "GFLOPs",
        "size MB",
        *[f"{r} ms" for r in runtimes],
        "made in",
    )
    rows = [
        (m["name"], points(m.get("map50_95")), points(m.get("map50")), f"{m['params']:,}", f"{m['gflops']:.2f}",
         f"{m['size_mb']:.2f}", *[spread(m["latency"].get(r)) for r in runtimes], _duration(m.get("seconds")))
        for m in models
    ]  # fmt: skip
    blank = (NONE,) * (len(runtimes) + 1)
    rows += [(s["name"], NONE, NONE, f"{s['params']:,}", f"{s['gflops']:.2f}", NONE, *blank) for s in _untrained(facts)]
    note = (
        f"mAP in points of 100. BatchNorm fused, one image of {facts['inputs']['image size']} px in float32 on "
        f"{facts['machine']}: median (middle half of the runs), the models taking turns. "
        "Models of the same shape share a latency."
    )
    if kept := facts["inputs"].get("classes kept"):
        note += f" mAP is that of the classes that were kept: {kept}."
    return [Grid(header, rows, note, picks=True), *_stage_settings(facts)]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _stage_settings(facts: dict[str, Any]) -> list[Grid]:
    stages = {stage: values for stage, values in facts["settings"].items() if values}
    keys = list(dict.fromkeys(key for values in stages.values() for key in values))
    rows = [(key, *[_plain(values.get(key)) for values in stages.values()]) for key in keys]
    return [Grid(("setting", *stages), rows, folded="Settings of each stage")] if rows else []


def _plain(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.4g}"
    return Path(value).name if isinstance(value, str) and value.endswith(".pt") else str(value)


def class_blocks(original: dict, final: dict) -> list[Block]:
    before, after = original["classes"], final["classes"]
    names = [name for name in before if name in after]
    if not names:
        return []
    changes = sorted((after[n]["map50_95"] - before[n]["map50_95"], n) for n in names)
    pair = lambda n: (100 * before[n]["map50_95"], 100 * after[n]["map50_95"])
    shown = [(n, *pair(n)) for _, n in changes[:WORST_SHOWN]]
    drawn = charts.dumbbells("mAP50-95 by class", shown, (original["name"], final["name"]), "mAP50-95")
    fewer = f"The {WORST_SHOWN} classes that lost most, of {len(names)}. " if len(names) > WORST_SHOWN else ""
    rows = [
        (n, f"{before[n]['objects']:,}", f"{pair(n)[0]:.1f}", f"{pair(n)[1]:.1f}", signed(100 * change))
        for change, n in changes
    ]
    place = {"folded": "All classes as a table"} if len(names) > WORST_SHOWN else {"beside": True}
    table = Grid(("class", "objects", original["name"], final["name"], "change"), rows, **place)
    return [Chart("classes", "mAP50-95 by class", drawn, f"{fewer}Orange: lower than before."), table]
