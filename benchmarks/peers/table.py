"""Rows over several seeds as a table and as pictures."""

from __future__ import annotations

from common import by_setting, mean

FAMILIES = ("unpruned", "ours", "Torch-Pruning", "narrower", "others")  # in the order of the pictures' colours
SETTING = ("data", "epochs", "imgsz", "fraction", "lr0")  # rows that differ in one of these are not compared
RATIOS = ("torch_ratio", "onnx_ratio", "openvino_ratio")  # of the latency to the original's in the same runtime
MEASURED = ("cut_map50_95", "map50_95", "map50", "relation_f1", "gflops_share", *RATIOS, "seconds")


def means(rows: list[dict[str, str]]) -> list[dict]:
    """Return, for each method and share, the means over the seeds, best first; what no row has is left out.

    Each has also `seeds`, their number, and `spread`, the lowest and highest mAP50-95.
    """
    found = []
    for (method, share), group in by_setting(rows, ("method", "share")).items():
        reached = [float(row["map50_95"]) for row in group]
        averages = {key: average for key in MEASURED if (average := mean(group, key)) is not None}
        spread = (min(reached), max(reached))
        found.append({"method": method, "share": share, "seeds": len(group), "spread": spread, **averages})
    return sorted(found, key=lambda row: (-float(row["share"]), -row["map50_95"]))


def text(averages: list[dict]) -> str:
    """Return the table as Markdown."""
    head = "| method | GFLOPs | mAP50-95 | lowest to highest | right after | mAP50 | relations | PyTorch | ONNX | OpenVINO | s |"
    lines = [head, "| :-- " + "| --: " * 10 + "|"]
    for row in averages:
        seeds = f"{row['spread'][0]:.4f} to {row['spread'][1]:.4f} ({row['seeds']})"
        keys = ("cut_map50_95", "map50", "relation_f1")
        cells = [row["method"], f"{row['gflops_share']:.3f}", f"{row['map50_95']:.4f}", seeds]
        cells += [f"{row[key]:.4f}" for key in keys]
        cells += [f"{row[key]:.3f}" if key in row else "–" for key in RATIOS]
        lines.append("| " + " | ".join([*cells, f"{row['seconds']:.0f}"]) + " |")
    return "\n".join(lines)


def points(
    averages: list[dict], x: tuple[str, ...], family: dict[str, str]
) -> dict[str, list[tuple[str, float, float]]]:
    """Return {family: [(name, x, mAP50-95)]} of the methods whose family is given; the first of `x` that was measured counts."""
    found: dict[str, list] = {name: [] for name in FAMILIES}
    for row in averages:
        known = [row[key] for key in x if key in row]
        if row["method"] in family and known:
            found[family[row["method"]]].append((row["method"], known[0], row["map50_95"]))
    return {name: rows for name, rows in found.items() if rows}
