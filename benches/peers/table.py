"""The table of a run, in Markdown."""

from collections.abc import Callable
from statistics import median


def markdown(result: dict, workloads: dict, servers: dict) -> str:
    """Everything that a run has measured, for people."""
    machine, cells = result["machine"], result["cells"]
    busiest = max((cell["load_before"] for cell in cells), default=0.0)
    lines = [
        f"{machine['began']}, {machine['system']}, {machine['processors']} processors, shared by server and generator; "
        f"{result['rounds']} rounds of {result['seconds']:g} s; load before a measurement at most {busiest:.1f}. "
        "Figures are medians over the rounds (least…most); ratios are medians of the ratios within each round.",
        "",
        "Versions: " + "; ".join(f"{name}: {said}" for name, said in result["versions"].items()) + ".",
        "",
        *disk(result["disk"]),
    ]
    for key in dict.fromkeys(cell["workload"] for cell in cells):
        lines += section(key, workloads[key], [cell for cell in cells if cell["workload"] == key], servers)
    return "\n".join(lines) + "\n"


def disk(rounds: list[dict | None]) -> list[str]:
    """Small writes with fdatasync."""
    lines = ["| disk: 4 KiB and fdatasync | p50 ms | p99 ms |", "|---|---:|---:|"]
    for kind, title in (("growing", "a growing file"), ("preallocated", "a file laid out before")):
        found = [one[kind]["latency_us"] for one in rounds if one]
        if found:
            figures = [millis([latency[quantile] for latency in found]) for quantile in ("p50", "p99")]
            lines.append(f"| {title} | {' | '.join(figures)} |")
    return [*lines, ""] if len(lines) > 2 else []


def section(key: str, workload, cells: list[dict], servers: dict) -> list[str]:
    """One workload's table."""
    lines = [
        f"### {workload.title} (`{key}`)",
        "",
        f"| server | answers after | {workload.unit} | p50 ms | p99 ms | CPU s per 10⁶ "
        "| ÷ floor | p99 ÷ floor's | ÷ persisting | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name in dict.fromkeys(sorted((cell["server"] for cell in cells), key=workload.servers.index)):
        own = [cell for cell in cells if cell["server"] == name]
        floor, ours = compared(name, cells, servers)
        sound = [cell for cell in own if cell.get("figure")]
        columns = [
            servers[name].name if name in servers else name,
            servers[name].answers if name in servers else "in process",
            spread([cell["figure"] for cell in sound], lambda figure: f"{figure:,.0f}"),
            millis([cell["p50_us"] for cell in sound]),
            millis([cell["p99_us"] for cell in sound]),
            spread([cell["cpu"] for cell in sound], lambda seconds: f"{seconds:.2f}"),
            ratio(sound, floor, cells, "figure"),
            ratio(sound, floor, cells, "p99_us"),
            ratio(sound, ours, cells, "figure"),
            notes(own),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return [*lines, ""]


def compared(name: str, cells: list[dict], servers: dict) -> tuple[str, str]:
    """The floor and the server of ours that it is compared with; the durable ones where the others do not do the work."""
    floor, ours = servers[name].against if name in servers else ("", "persisting")
    there = {cell["server"] for cell in cells if cell.get("figure")}
    return floor if floor in there else "bare-log", ours if ours in there else "persisting-table" if ours else ours


def ratio(own: list[dict], base: str, cells: list[dict], figure: str) -> str:
    """The median of the ratios within each round."""
    bases = {cell["round"]: cell.get(figure) for cell in cells if cell["server"] == base}
    ratios = [cell[figure] / bases[cell["round"]] for cell in own if cell.get(figure) and bases.get(cell["round"])]
    return f"{median(ratios):.2f}" if ratios else "–"


def spread(figures: list[float | None], text: Callable[[float], str]) -> str:
    """The median, the least and the most."""
    known = [figure for figure in figures if figure is not None]
    if not known:
        return "–"
    middle = text(median(known))
    return f"{middle} ({text(min(known))}…{text(max(known))})" if len(known) > 1 else middle


def millis(micros: list[float | None]) -> str:
    """Times in milliseconds."""
    return spread(micros, lambda time: f"{time / 1e3:.2f}")


def notes(cells: list[dict]) -> str:
    """What went wrong, in how many rounds."""
    said = [cell.get("missing") or cell.get("fault") for cell in cells]
    texts = dict.fromkeys(text for text in said if text)
    return "; ".join(f"{said.count(text)}×: {text}" for text in texts).replace("|", "/").replace("\n", " ")
