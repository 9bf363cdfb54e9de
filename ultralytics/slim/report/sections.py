"""Turn the facts of a run, as they stand in report.json, into the document that HTML and Markdown are written from."""

from __future__ import annotations

import math
from pathlib import Path

from ..charts import charts
from . import side_by_side
from .blocks import Chart, Document, Grid, Key, Pair, Section, Words
from .figures import NONE, cards_of, ends, figures_of, points
from .verdict import KINDS, Verdict, percent, signed

WORST_SHOWN = 16  # classes in the chart; the table has all


def make_document(facts: dict, pictures: Path) -> Document:
    """Return the report; `pictures` is the folder of the sample images."""
    original, final = ends(facts)
    figures, verdict = figures_of(facts), Verdict(**facts["verdict"])
    sections = [
        Section("Accuracy against compute", _accuracy(facts)),
        Section("Stage by stage", _stages(facts)),
        Section(f"Side by side: {original['name']} and {final['name']}", _samples(facts, pictures)),
        Section("Accuracy by class", _classes(original, final)),
        Section("Relations between nodes", _relations(facts)),
        Section("Training", _training(facts)),
        Section("Channels", _channels(facts)),
        Section("Exported files", _exports(facts)),
        Section("What went in", _inputs(facts)),
        Section("What came out", _files(facts)),
    ]
    return Document(
        f"Compression report: {facts['name']}",
        " · ".join(str(v) for v in (facts["inputs"].get("weights"), facts["date"]) if v),
        verdict.kind,
        KINDS[verdict.kind],
        verdict.headline,
        verdict.details,
        cards_of(figures, original, final),
        [s for s in sections if s.blocks],
        facts["missing"],
    )


def _accuracy(facts: dict) -> list:
    places = [(m["name"], m["gflops"], 100 * m["map50_95"]) for m in facts["models"] if m.get("map50_95") is not None]
    if len(places) < 2:
        return []
    beside = _beside(facts)
    path = charts.journey("mAP50-95 against GFLOPs", places, "GFLOPs of one image", "mAP50-95", beside)
    note = f"Further left is less compute, higher is better. {_beside_words(facts)}".rstrip()
    blocks: list = [Chart("accuracy-compute", "Where each stage stands", path, note)]
    stages = {s: [100 * v for v in c[key]] for s, c in facts["curves"].items() if (key := _main(c))}
    if stages:
        first = facts["models"][0]
        level = (first["name"], 100 * first["map50_95"]) if first.get("map50_95") is not None else None
        drawn = charts.trace("mAP50-95 by epoch", stages, "mAP50-95", level)
        note = "On the validation images after each epoch, as the trainer measured it."
        blocks.append(Chart("accuracy-epochs", "How training got there", drawn, note))
    return blocks


def _beside(facts: dict) -> list[tuple[str, float, float | None]]:
    """Return (name, GFLOPs, mAP50-95 or None) of what is compared with: given checkpoints, and the next smaller scale."""
    given = [(r["name"], r["gflops"], r["map50_95"] and 100 * r["map50_95"]) for r in facts["references"]]
    return given + [(s["name"], s["gflops"], None) for s in _untrained(facts)]


def _untrained(facts: dict) -> list[dict]:
    """Return the next smaller scale, unless there is none or a given checkpoint is one of it."""
    scale = facts["smaller_scale"]
    known = any(r["params"] == scale.get("params") for r in facts["references"])
    return [] if "fault" in scale or known else [scale]


def _beside_words(facts: dict) -> str:
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


def _stages(facts: dict) -> list:
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
         f"{m['size_mb']:.2f}", *[_spread(m["latency"].get(r)) for r in runtimes], _duration(m.get("seconds")))
        for m in models
    ]  # fmt: skip
    blank = (NONE,) * (len(runtimes) + 1)
    rows += [(s["name"], NONE, NONE, f"{s['params']:,}", f"{s['gflops']:.2f}", NONE, *blank) for s in _untrained(facts)]
    note = (
        f"mAP in points of 100. BatchNorm fused, one image of {facts['inputs']['image size']} px in float32 on "
        f"{facts['machine']}: median (middle half of the runs), the models taking turns. "
        "Models of the same shape share a latency."
    )
    return [Grid(header, rows, note), *_stage_settings(facts)]


def _spread(latency: dict | None) -> str:
    if not latency:
        return NONE
    middle, low, high = latency["median_ms"], latency["low_ms"], latency["high_ms"]
    return f"{middle:.1f}" if low == high else f"{middle:.1f} ({low:.1f}–{high:.1f})"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _stage_settings(facts: dict) -> list[Grid]:
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


def _samples(facts: dict, pictures: Path) -> list:
    if not facts["samples"]:
        return []
    looked_at = facts["samples"][0]["looked_at"]
    words = (
        f"The original on the left, the compressed model on the right. Of {looked_at} validation images that were "
        "looked at, from the one that differs most to the one that differs least."
    )
    return [Words(words), Key(side_by_side.KEY), *[_sample(sample, pictures) for sample in facts["samples"]]]


def _sample(sample: dict, pictures: Path) -> Pair:
    counts = f"{sample['both']} found by both, {sample['lost']} lost, {sample['new']} new"
    return Pair(pictures / sample["left"], pictures / sample["right"], f"{sample['image']}: {counts}")


def _classes(original: dict, final: dict) -> list:
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


def _relations(facts: dict) -> list:
    rows = [(name, *[f"{100 * value:.1f}" for value in scores]) for name, scores in facts["relations"].items()]
    note = "Edges from a node to its parent in the validation images, found from the detected boxes; in points of 100."
    scores = Grid(("model", "precision", "recall", "F1"), rows, note)
    return [scores, *_causes(facts["relation_causes"])] if rows else []


def _causes(causes: dict[str, dict[str, int]]) -> list:
    """A table of the edges that each cause lost, one column a model; a run of an older release has none."""
    names = dict.fromkeys(cause for lost in causes.values() for cause in lost)
    rows = [(cause, *[str(lost.get(cause, 0)) for lost in causes.values()]) for cause in names]
    return [Grid(("edges wrong or missed", *causes), rows, folded="Where relations were lost")] if rows else []


def _training(facts: dict) -> list:
    curves = facts["curves"]
    if not curves:
        return []
    layers, borders = losses(curves)
    drawn = charts.stack("Training loss by epoch", layers, borders, "loss")
    note = "Parts of the loss per epoch of each training."
    return [Chart("losses", "Training loss", drawn, note), *_gammas_by_epoch(curves), *_distillation(curves)]


def losses(curves: dict) -> tuple[dict[str, list[float]], list[tuple[int, str]]]:
    """Return the training losses of all stages one after the other, distillation last, and where each stage begins."""
    names = list(dict.fromkeys(n for c in curves.values() for n in c if n.startswith("train/") and n.endswith("loss")))
    names.sort(key=lambda n: "distill" in n)
    layers: dict[str, list[float]] = {n.removeprefix("train/").removesuffix("_loss"): [] for n in names}
    borders, start = [], 0
    for stage, columns in curves.items():
        borders.append((start, stage))
        length = len(next(iter(columns.values())))
        for name, layer in zip(names, layers.values()):
            layer += columns.get(name, [0.0] * length)
        start += length
    return _merged(layers), borders


def _merged(layers: dict[str, list[float]]) -> dict[str, list[float]]:
    """Unite the parts of the task's own loss where there are more than there are colours."""
    if len(layers) <= len(charts.SERIES):
        return layers
    own = [values for name, values in layers.items() if name != "distill"]
    rest = {name: values for name, values in layers.items() if name == "distill"}
    return {"task": [sum(column) for column in zip(*own)], **rest}


def _distillation(curves: dict) -> list[Words]:
    shares = [v for v in curves.get("distill", {}).get("train/loss_ratio", []) if math.isfinite(v)]
    if not shares:
        return []
    text = f"The distillation loss was {percent(shares[0])} of the detection loss in the first epoch of distillation"
    return [Words(f"{text} and {percent(shares[-1])} in the last." if len(shares) > 1 else f"{text}.")]


def _gammas_by_epoch(curves: dict) -> list[Chart]:
    columns = curves.get("sparse", {})
    rows = {
        name: columns[f"gamma/{key}"]
        for name, key in (("10 %", "p10"), ("median", "median"), ("90 %", "p90"))
        if f"gamma/{key}" in columns
    }
    if not rows or len(rows["median"]) < 2:
        return []
    drawn = charts.fan("Scales of the channels by epoch", rows, "|γ|")
    return [Chart("gamma-epochs", "Scales γ during sparse training", drawn, "Quantiles over all channels.")]


def _channels(facts: dict) -> list:
    blocks: list = []
    if gamma := facts["gamma"]:
        rows = {"before": gamma["before"], "after": gamma["after"]}
        (m0, m1), (z0, z1) = gamma["median"], gamma["near_zero"]
        near = f"under 0.01: {percent(z0, 1)} before and {percent(z1, 1)} after"
        note = f"Median {m0:.2f} before and {m1:.2f} after; {near}."
        drawn = charts.histogram("Scales of the channels", gamma["edges"], rows, "|γ|")
        blocks.append(Chart("gamma", "Scales γ before and after sparse training", drawn, note))
        blocks.append(Words(_is_sparse_enough(gamma["check"], facts["settings"].get("prune", {}).get("score"))))
    if widths := facts["widths"]:
        drawn = charts.columns("Channels of each layer", widths, ("before", "after"), "channels")
        cut = sum(after < before for _, before, after in widths)
        gone = 1 - sum(after for *_, after in widths) / max(1, sum(before for _, before, _ in widths))
        note = f"{cut} of {len(widths)} layers are narrower; {percent(gone, 1)} of all channels are gone."
        blocks.append(Chart("widths", "Widths before and after pruning", drawn, note))
        rows = [(name, str(before), str(after), percent(after / max(1, before))) for name, before, after in widths]
        blocks.append(Grid(("layer", "before", "after", "kept"), rows, folded="Widths layer by layer"))
    return blocks


def _is_sparse_enough(check: str, score: str | None) -> str:
    """Return what γ says of the cut, and where another score made the choice, that it did."""
    text = f"{check[0].upper()}{check[1:]}.".replace("gamma", "γ")
    other = score and score != "gamma"
    return text + (f" The channels were chosen by score={score}, which does not go by γ alone." if other else "")


def _exports(facts: dict) -> list:
    rows = facts.get("exports") or []
    header = (
        "format",
        "size MB",
        "ms",
        "found",
        "PyTorch's found again",
        "also found by PyTorch",
        "score ±",
        "largest ±",
    )
    cells = [
        (row["format"], f"{row['size_mb']:.2f}", _spread(row["latency"]), _count(row["found"]), _share(row["of_torch"]),
         _share(row["of_own"]), _tiny(row["score_median"]), _tiny(row["score_max"]))
        for row in rows
    ]  # fmt: skip
    note = (
        "The final checkpoint and its exports, each loaded back and run on the same validation images; the first row is "
        "the checkpoint in PyTorch. Found again: same class, IoU of 0.9 or more, one to one; score ±: median and largest "
        "difference of the scores within the pairs. Time of the network alone on one image, median (middle half of the "
        "runs), taking turns."
    )
    return [Grid(header, cells, note)] if rows else []


def _count(value: int | None) -> str:
    return NONE if value is None else str(value)


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value, 1)


def _tiny(value: float | None) -> str:
    return NONE if value is None else f"{value:.1e}"


def _inputs(facts: dict) -> list:
    return [Grid(("", ""), [(key, str(value)) for key, value in facts["inputs"].items() if value not in (None, "")])]


def _files(facts: dict) -> list:
    rows = [(name, f"{size / 1e6:.2f} MB") for name, size in facts["files"].items()]
    return [Grid(("", ""), rows, "In the folder of the run.")] if rows else []
