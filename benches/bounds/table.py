"""Tables in Markdown, and the figures in them."""

from collections.abc import Iterable
from statistics import median


def markdown(head: list[str], rows: Iterable[list[object]], left: int = 1) -> str:
    """A table; the first columns are words, the others figures."""
    lines = [head, ["---" if at < left else "---:" for at in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def number(figure: float | None, digits: int = 0) -> str:
    """A figure, with commas."""
    return "–" if figure is None else f"{figure:,.{digits}f}"


def spread(figures: list[float], digits: int = 2) -> str:
    """The median, the least and the most."""
    middle = number(median(figures), digits)
    return f"{middle} ({number(min(figures), digits)}…{number(max(figures), digits)})" if len(figures) > 1 else middle


def verdict(holds: bool) -> str:
    """Whether an aim is reached."""
    return "yes" if holds else "**no**"


def power(count: int) -> str:
    """A count, as a power of ten where it is one."""
    digits = str(count)
    if count >= 1000 and digits.strip("0") == "1":
        return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(len(digits) - 1))
    return f"{count:,}"
