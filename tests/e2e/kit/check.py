"""How a step fails, and how it waits."""

import time

POLL_SECS = 0.02


class Failed(Exception):
    """Something is not as promised; the text says what was seen."""


def check(holds: bool, what: str) -> None:
    """Fails with `what` unless it holds."""
    if not holds:
        raise Failed(what)


def equal(seen, wanted, what: str) -> None:
    """Fails unless both are equal; shows both, shortened."""
    if seen != wanted:
        raise Failed(f"{what}: {short(seen)} where {short(wanted)} was wanted")


def short(value, limit: int = 600) -> str:
    """A value for a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def until(holds, secs: float, what: str, poll_secs: float = POLL_SECS):
    """Polls until `holds()` is true and gives what it gave; fails past the deadline."""
    deadline = time.monotonic() + secs
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {secs:g} s: {what() if callable(what) else what}")
        time.sleep(poll_secs)
