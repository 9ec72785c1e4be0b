"""Three times what the server can take, in an open loop: what is refused, what it holds in memory, whether anything is lost.

Capacity is what `persisting bench append` reaches in 5 s, for each shape its own: batches of 1,000 records over 8 connections
on one topic, single records over 64 connections on 100 topics. Then three times as many requests are due, by the clock. What
finds no free connection, of --connections at most, is turned away at the generator; what the generator itself is too slow to
send is told as well, because generator and server share the processors. Retention drops old records, so that the disk suffices.

At the end the server is killed at once. Every acknowledged append has to have offsets of its own below the tail, before and
after, and samples of them have to read back as they were sent, byte by byte.
"""

import argparse
import random
import shutil
import statistics
import time
from collections import Counter, defaultdict

from bounds.flood import Outcome, Plan, flood
from bounds.records import bodies, values
from bounds.server import GIB, MIB, Failed, Server, Wire, post
from bounds.table import markdown, number, verdict

SHAPES = {
    # Name: records in a request, topics, connections that measure the capacity, processes of the generator.
    "batches of 1,000, one topic": (1000, 1, 8, 1),
    "single appends, 100 topics": (1, 100, 64, 2),
}
BODIES = 32
TIMES = 3
SAMPLES = 500
# Less free space than this ends the load.
FREE_BYTES = 3 * GIB


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--capacity-seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=512, help="most connections of the generator")
    parser.add_argument("--shapes", choices=["batches", "single"], nargs="+", default=["batches", "single"])
    parser.add_argument("--tail-bytes", type=int, default=256 * MIB, help="the server's option; 256 MiB is its default")
    parser.add_argument("--max-inflight-bytes", type=int, default=256 * MIB, help="likewise")
    parser.add_argument("--keep-bytes", type=int, default=8 * GIB, help="retention of all topics together; 0 keeps all")


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """Each shape on a server of its own."""
    found = [one(args, name) for name in SHAPES if name.split()[0] in args.shapes]
    head = ["", "capacity/s", "offered/s", "sent/s", "admitted/s", "refused/s", "p50 ms", "p99 ms"]
    head += ["peak MiB", "beyond idle", "median beyond idle", "bound MiB", "within"]
    rows, notes = [], []
    for one_ in found:
        refused = ", ".join(f"{code}: {number(count, 1)}" for code, count in one_["refused_per_second"].items()) or "0"
        rows.append(
            [
                one_["shape"],
                *(number(one_[f"{what}_per_second"]) for what in ("capacity", "offered", "sent", "admitted")),
                refused,
                *(number(one_[quantile] and one_[quantile] / 1e3, 1) for quantile in ("p50_us", "p99_us")),
                number(one_["peak_mib"]),
                number(one_["peak_mib"] - one_["idle_mib"]),
                number(one_["median_mib"] - one_["idle_mib"]),
                number(one_["bound_mib"]),
                verdict(one_["peak_mib"] - one_["idle_mib"] <= one_["bound_mib"]),
            ]
        )
        notes.append(
            f"{one_['shape']}: {one_['seconds']:.0f} s; requests/s turned away for want of a connection "
            f"{number(one_['turned_away_per_second'])}, not sent in time by the generator {number(one_['behind_per_second'])}; "
            f"{one_['unanswered']} without an answer. {one_['acknowledged']:,} records acknowledged, {one_['stored']:,} stored "
            f"at the end, {one_['stored_after_kill']:,} after SIGKILL and restart (ready after "
            f"{one_['restart_seconds']:.1f} s), lost {one_['lost']}, offsets given twice {one_['doubled']}; "
            f"{one_['compared']:,} appends read back as sent, {one_['differing']} did not."
        )
    notes.append(
        "Rates are of records (turned away and not sent: requests). Peaks are of VmHWM, the median of VmRSS once a second; the bound is --tail-bytes and "
        "--max-inflight-bytes together, and stands for what comes on top of an idle process."
    )
    lost = sum(one_["lost"] + one_["doubled"] + one_["differing"] for one_ in found)
    return {"runs": found, "lost": lost}, "\n".join([markdown(head, rows), "", *notes])


def one(args: argparse.Namespace, shape: str) -> dict:
    """One shape."""
    batch, topics, connections, workers = SHAPES[shape]
    names = [f"load-{at}" for at in range(topics)]
    keep = {"retention": {"max_bytes": args.keep_bytes // topics}} if args.keep_bytes else {}
    serve = [f"--tail-bytes={args.tail_bytes}", f"--max-inflight-bytes={args.max_inflight_bytes}"]
    with Server(args.binary, serve, args.dir) as server:
        idle = server.memory()["VmRSS"]
        seconds = max(0.5, args.capacity_seconds * args.scale)
        shared = {"connections": connections, "batch": batch, "format": "ndjson" if batch > 1 else "json", "ack": "wal"}
        told = server.bench("append", topic="capacity", topics=topics, duration=f"{seconds * 1000:.0f}ms", **shared)
        capacity = told["records_per_second"]
        for name in server.topics():
            server.ask("DELETE", f"/v1/topics/{name}")
        server.each([("PUT", f"/v1/topics/{name}", keep) for name in names])
        server.calm()
        texts = bodies(BODIES, batch)
        heads = [post(f"/v1/topics/{name}/records?ack=wal", len(texts[0])) for name in names]
        plan = Plan(server.port, heads, texts, args.connections, TIMES * capacity / batch, args.minutes * 60 * args.scale)
        samples: list[dict] = []
        outcome = flood(plan, workers, lambda: sample(server, samples))
        sample(server, samples)
        before, differing = check(server, names, texts, batch, outcome)
        server.kill()
        began = time.monotonic()
        server.start()
        restart = time.monotonic() - began
        after, differing_after = check(server, names, texts, batch, outcome)
    rate = batch / outcome.seconds
    return {
        "shape": shape,
        "capacity_per_second": capacity,
        "offered_per_second": TIMES * capacity,
        "sent_per_second": outcome.sent * rate,
        "admitted_per_second": len(outcome.topics) * rate,
        "refused_per_second": {code: count * rate for code, count in sorted(outcome.refused.items())},
        "turned_away_per_second": outcome.turned_away / outcome.seconds,
        "behind_per_second": outcome.behind / outcome.seconds,
        "unanswered": outcome.unanswered,
        "p50_us": outcome.quantile(0.5),
        "p99_us": outcome.quantile(0.99),
        "seconds": outcome.seconds,
        "idle_mib": idle,
        "peak_mib": max(one_["VmHWM"] for one_ in samples),
        "median_mib": statistics.median(one_["VmRSS"] for one_ in samples),
        "bound_mib": (args.tail_bytes + args.max_inflight_bytes) / MIB,
        "memory": samples,
        "acknowledged": len(outcome.topics) * batch,
        "stored": before["stored"],
        "stored_after_kill": after["stored"],
        "restart_seconds": restart,
        "lost": max(before["lost"], after["lost"]),
        "doubled": before["doubled"],
        "compared": before["compared"] + after["compared"],
        "differing": differing + differing_after,
    }


def sample(server: Server, samples: list[dict]) -> None:
    """Once a second while the load lasts."""
    samples.append({"at": time.monotonic(), **server.memory()})
    free = shutil.disk_usage(server.folder).free
    if free < FREE_BYTES:
        raise Failed(f"only {free / GIB:.1f} GiB are free on the disk: --keep-bytes or --minutes is too much")


def check(server: Server, names: list[str], texts: list[bytes], batch: int, outcome: Outcome) -> tuple[dict, int]:
    """What is stored against what was acknowledged, and samples of it byte by byte."""
    told = server.topics("load-")
    firsts: dict[int, list[int]] = defaultdict(list)
    for topic, first in zip(outcome.topics, outcome.offsets, strict=True):
        firsts[topic].append(first)
    lost = doubled = 0
    for at, name in enumerate(names):
        own = sorted(firsts[at])
        tail = told[name]["tail_offset"]
        doubled += sum(batch for one_, next_ in zip(own, own[1:], strict=False) if next_ < one_ + batch)
        # Offsets are dense: what lies at or past the tail is not there.
        lost += sum(min(batch, first + batch - tail) for first in own if first + batch > tail)
    chance = random.Random(len(outcome.topics))
    earliest = {at: told[name]["earliest_offset"] for at, name in enumerate(names)}
    kept = [at for at in range(len(outcome.topics)) if outcome.offsets[at] >= earliest[outcome.topics[at]]]
    compared, wrong = 0, Counter()
    with Wire(server.port) as wire:
        # The last ones are the likeliest to be lost.
        for at in [*kept[-20:], *chance.sample(kept, min(SAMPLES, len(kept)))]:
            name, first = names[outcome.topics[at]], outcome.offsets[at]
            try:
                page = wire.ask("GET", f"/v1/topics/{name}/records?offset={first}&limit={batch}", raw=True)
            except Failed as error:
                # Retention goes on meanwhile.
                wrong["gone" if "410" in str(error) else "differing"] += 1
                continue
            compared += 1
            wrong["differing"] += values(page) != texts[outcome.bodies[at]]
    stored = sum(topic["tail_offset"] for topic in told.values())
    return {"stored": stored, "lost": lost, "doubled": doubled, "compared": compared}, wrong["differing"]
