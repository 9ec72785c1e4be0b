"""Draws what growth costs."""

from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("svg")
# The same figures make the same file, with text as text.
matplotlib.rcParams.update({"svg.hashsalt": "persisting", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot  # noqa: E402

AIM = 1.3
KINDS = [
    # Where, key of the x axis, its label, unit of the y axis, lines.
    (
        "sizes",
        "size",
        "records in the topic",
        "CPU µs per record",
        [("cpu_us", 1, "batches, flushed"), ("cpu_settled_us", 1, "and upkeep after")],
    ),
    (
        "sizes",
        "size",
        "records in the topic",
        "p50, ms",
        [("append_us", 1e-3, "append"), ("get_us", 1e-3, "100 at random"), ("tail_us", 1e-3, "100 at the tail")],
    ),
    ("topics", "topics", "topics", "CPU µs per append", [("cpu_us", 1, "64 connections")]),
    ("topics", "topics", "topics", "p50, ms", [("append_us", 1e-3, "append")]),
]
MEMORY = [("sizes", "size", "records in the topic"), ("topics", "topics", "topics")]
TITLES = {"sizes": "one topic grows", "topics": "topics become many"}


def draw(result: dict, file: Path) -> None:
    """A row of panels for each kind: processor time, latency, memory. The band is the aim, from the cheapest point up."""
    kinds = [kind for kind in ("sizes", "topics") if result[kind]]
    figure, axes = pyplot.subplots(len(kinds), 3, figsize=(11, 3.1 * len(kinds)), squeeze=False, layout="constrained")
    for line, kind in enumerate(kinds):
        panels = [panel for panel in KINDS if panel[0] == kind]
        for place, (_, key, across, unit, curves) in enumerate(panels):
            curve_panel(axes[line][place], result[kind], key, curves)
            finish(axes[line][place], f"{TITLES[kind]}: {unit}", across, unit)
        _, key, across = next(panel for panel in MEMORY if panel[0] == kind)
        panel = axes[line][2]
        panel.plot([point[key] for point in result[kind]], [point["rss_mib"] for point in result[kind]], "o-")
        finish(panel, f"{TITLES[kind]}: memory", across, "RSS, MiB")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def curve_panel(panel, points: list[dict], key: str, curves: list[tuple[str, float, str]]) -> None:
    """Medians as lines, all rounds as dots."""
    for place, (name, scale, label) in enumerate(curves):
        across = [point[key] for point in points]
        rounds = [[round_[name] * scale for round_ in point["rounds"]] for point in points]
        middles = [median(found) for found in rounds]
        panel.plot(across, middles, "o-", color=f"C{place}", label=label)
        for x, found in zip(across, rounds, strict=True):
            panel.plot([x] * len(found), found, ".", color=f"C{place}", alpha=0.4)
        if place == 0:
            least = min(middles)
            panel.axhspan(least, least * AIM, color="C0", alpha=0.1, linewidth=0)
    if len(curves) > 1:
        panel.legend(frameon=False)


def finish(panel, title: str, across: str, up: str) -> None:
    panel.set_xscale("log")
    panel.set_ylim(bottom=0)
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    panel.grid(alpha=0.3)
