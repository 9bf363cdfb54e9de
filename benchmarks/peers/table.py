"""Rows over several seeds as a table and as pictures."""

from __future__ import annotations

from common import by_setting, mean

FAMILIES = ("unpruned", "ours", "Torch-Pruning", "narrower", "others")  # in the order of the pictures' colours
SETTING = ("data", "epochs", "imgsz", "fraction", "lr0")  # rows that differ in one of these are not compared
ACCURACY = {  # heading -> (column, its format)
    "GFLOPs": ("gflops_share", ".3f"),
    "mAP50-95": ("map50_95", ".4f"),
    "lowest to highest": ("spread", "s"),
    "mAP50": ("map50", ".4f"),
    "right after the cut": ("cut_map50_95", ".4f"),
    "mAP50 then": ("cut_map50", ".4f"),
    "relations F1": ("relation_f1", ".3f"),
}
COST = {
    "parameters": ("params", ",.0f"),
    "file MB": ("size_mb", ".2f"),
    "PyTorch": ("torch_ratio", ".2f"),
    "ONNX Runtime": ("onnx_ratio", ".2f"),
    "OpenVINO": ("openvino_ratio", ".2f"),
    "training s": ("seconds", ".0f"),
    "peak MB": ("peak_mb", ".0f"),
}


def means(rows: list[dict[str, str]]) -> list[dict]:
    """Return, for each method and share, the means over the seeds, best first; what no row has is left out.

    Each has also `spread`, the lowest and highest mAP50-95 and the number of seeds.
    """
    measured = [column for column, _ in (ACCURACY | COST).values() if column != "spread"]
    found = []
    for (method, share), group in by_setting(rows, ("method", "share")).items():
        reached = [float(row["map50_95"]) for row in group]
        averages = {key: average for key in measured if (average := mean(group, key)) is not None}
        spread = f"{min(reached):.4f} to {max(reached):.4f} ({len(reached)})"
        found.append({"method": method, "share": share, "spread": spread, **averages})
    return sorted(found, key=lambda row: (-float(row["share"]), -row["map50_95"]))


def text(averages: list[dict]) -> str:
    """Return two tables in Markdown: accuracy, and what it costs, latencies as ratios to the original's."""
    tables = []
    for columns in (ACCURACY, COST):
        lines = [["method", *columns], [":--", *["--:"] * len(columns)]]
        for row in averages:
            cells = (format(row[key], how) if key in row else "–" for key, how in columns.values())
            lines.append([row["method"], *cells])
        tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(tables)


def points(
    averages: list[dict], x: tuple[str, ...], family: dict[str, str]
) -> dict[str, list[tuple[str, float, float]]]:
    """Return {family: [(name, x, mAP50-95)]} of methods whose family is given; the first measured of `x` counts."""
    found: dict[str, list] = {name: [] for name in FAMILIES}
    for row in averages:
        known = [row[key] for key in x if key in row]
        if row["method"] in family and known:
            found[family[row["method"]]].append((row["method"], known[0], row["map50_95"]))
    return {name: rows for name, rows in found.items() if rows}
