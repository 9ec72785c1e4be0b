"""Memory of a server with many topics in which nothing is going on."""

import argparse
import time

from bounds.server import Failed, Server
from bounds.table import markdown, number, verdict

AIM_MIB = 120
STEADY_SECS = 10
STEADY_MIB = 0.5
PATIENCE_SECS = 180


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topics", type=int, default=1000)


def steady(server: Server) -> dict:
    """Waits until commits have ended, no processor time is spent and the memory stays the same."""
    until, began = time.monotonic() + PATIENCE_SECS, time.monotonic()
    server.calm()
    before, since = server.memory(), time.monotonic()
    while time.monotonic() - since < STEADY_SECS:
        if time.monotonic() > until:
            raise Failed(f"its memory is not steady after {PATIENCE_SECS} s: {before}")
        spent = server.cpu()
        time.sleep(1)
        now = server.memory()
        if abs(now["VmRSS"] - before["VmRSS"]) > STEADY_MIB or server.cpu() - spent > 0.02:
            before, since = now, time.monotonic()
    return {**server.memory(), "seconds_until_steady": time.monotonic() - began - STEADY_SECS}


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """Topics with one record each, flushed, then left alone."""
    count = max(1, round(args.topics * args.scale))
    with Server(args.binary, below=args.dir) as server:
        empty = steady(server)
        # One connection takes one topic after the other, so that each has one record.
        server.bench("append", topic="idle", topics=count, connections=1, count=count)
        names = list(server.topics())
        server.flush(names)
        stats = server.stats(names)
        if any(one["committed_offset"] != 1 or one["tail_offset"] != 1 for one in stats):
            raise Failed("a topic has not one record, committed")
        full = steady(server)
    rows = [
        [f"{topics:,}", *(number(found[name], 1) for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")), aim]
        for topics, found, aim in (
            (0, empty, ""),
            (count, full, f"{verdict(full['VmRSS'] <= AIM_MIB)} (≤ {AIM_MIB})"),
        )
    ]
    head = ["topics", "VmRSS MiB", "VmHWM MiB", "RssAnon MiB", "RssFile MiB", "within the aim"]
    return {"topics": count, "empty": empty, "full": full}, markdown(head, rows)
