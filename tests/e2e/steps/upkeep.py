"""What upkeep keeps small, and what it leaves alone: many small commits, tags, retention, many topics.

Fails where more is left than is promised, or where a tag has changed; the figures are printed as a curve. By default it is
short; `--commits 5000 --upkeep-topics 1000` is the whole.
"""

import hashlib
import random
import time
from pathlib import Path

from kit import process
from kit.check import Failed, check, equal, until
from kit.context import Context
from kit.probe import percentile
from kit.server import Server
from kit.wire import Wire, by_many

HASHER = Path(__file__).resolve().parent.parent / "kit" / "table_hash.py"
INDEXER = HASHER.with_name("index_of_others.py")
BUSY = "busy"
CLIENTS = 16
APPENDS_EACH = 200
# What is left for each topic, at most.
FRAGMENTS, VERSIONS = 40, 25
POINTS = 10
GETS = 400


def run(context: Context) -> None:
    """One topic of many commits with tags and retention, then many topics."""
    server = context.server("--wal-segment-bytes", "8MiB").start()
    server.api.create(BUSY, backend_options={"batch_size": 1, "flush_interval_ms": 1})
    context.say("commits  fragments versions   live KiB   dead KiB     merges  removed KiB   get p50/p99 ms")
    tags, appended = {}, 0
    for point in range(1, POINTS + 1):
        appended = _commit_until(server, context.commits * point // POINTS, appended)
        _say_point(context, server)
        if point in (3, 6):
            tag = f"at-{point}"
            server.api.call("PUT", f"/v1/topics/{BUSY}/tags/{tag}", {}).ok(201)
            tags[tag] = _hashes(context, server, tag)
        if point == 8:
            server.api.call("POST", f"/v1/topics/{BUSY}/trim", {"before": appended // 2}).ok(200)
    for tag, before in tags.items():
        equal(_hashes(context, server, tag), before, f"the hashes of NDJSON and of pylance's table at the tag {tag}")
    context.say(f"{len(tags)} tags: NDJSON and pylance's tables hash as before")
    for tag in tags:
        server.api.call("DELETE", f"/v1/topics/{BUSY}/tags/{tag}").ok(204)
    # The next clean-ups find what the tags alone have held.
    appended = _commit_until(server, _version(server) + 60, appended)
    _settled(server, BUSY)
    stats, last = _stats(server, BUSY), _stats(server, BUSY)["last_upkeep"]
    context.say(f"{_version(server):,} commits of {appended:,} records and {len(tags)} tags set and deleted: {stats['fragments']}"
                f" fragments, {stats['versions']} versions, dead/live {stats['dead_bytes'] / stats['live_bytes']:.2f};"
                f" {last['total_merges']} merges, {last['total_versions_removed']:,} versions and"
                f" {last['total_bytes_removed'] / 1024:,.0f} KiB of files removed")
    check(last["total_merges"] >= 3 and last["total_bytes_removed"] > 0, f"upkeep has done its part: {last}")
    _compare_with_fresh(context, server, appended)
    _many(context, server)
    context.say(process.run([context.tools.venv_bin() / "python", INDEXER, server.base, "indexed"], 120).strip())
    server.kill()


def _stats(server: Server, topic: str) -> dict:
    return server.api.get(f"/v1/topics/{topic}/stats").ok(200).json()


def _version(server: Server) -> int:
    newest = server.api.get(f"/v1/topics/{BUSY}/versions?limit=1").ok(200).json()["versions"]
    return newest[0]["version"] if newest else 0


def _value(number: int) -> bytes:
    return b'{"n":%d,"level":"%s","text":"record %d of a topic with many commits"}' % (
        number, (b"info", b"warning", b"error")[number % 3], number)


def _commit_until(server: Server, commits: int, appended: int) -> int:
    """Appends one record after the other until the dataset has had so many versions."""
    wire, path = Wire(server.base), f"/v1/topics/{BUSY}/records"
    while True:
        for _ in range(20):
            status, answer = wire.call("POST", path, _value(appended))
            if status != 200:
                raise Failed(f"an append answered {status}: {answer.decode()}")
            appended += 1
            # A commit takes what is pending: a moment for each lets it be one record.
            time.sleep(0.012)
        if _version(server) >= commits:
            wire.close()
            return appended


def _settled(server: Server, topic: str) -> None:
    """Waits until upkeep has come to rest within what is promised."""

    def holds() -> bool:
        stats = _stats(server, topic)
        return stats["fragments"] <= FRAGMENTS and stats["versions"] <= VERSIONS

    until(holds, 60, lambda: f"{topic}: {_stats(server, topic)}", poll_secs=0.1)


def _say_point(context: Context, server: Server) -> None:
    stats = _stats(server, BUSY)
    last = stats["last_upkeep"] or {"total_merges": 0, "total_bytes_removed": 0}
    p50, p99 = _gets(server, BUSY, stats["earliest_offset"], stats["committed_offset"])
    context.say(f"{_version(server):7,}  {stats['fragments']:9} {stats['versions']:8} {stats['live_bytes'] / 1024:10,.0f}"
                f" {stats['dead_bytes'] / 1024:10,.0f} {last['total_merges']:10} {last['total_bytes_removed'] / 1024:12,.0f}"
                f"   {p50:.2f} {p99:.2f}")


def _gets(server: Server, topic: str, first: int, end: int) -> tuple[float, float]:
    """p50 and p99 in ms of reading single records that are committed."""
    wire, times = Wire(server.base), []
    for _ in range(GETS):
        begin = time.perf_counter()
        status, answer = wire.call("GET", f"/v1/topics/{topic}/records/{random.randrange(first, end)}")
        times.append(time.perf_counter() - begin)
        if status != 200:
            raise Failed(f"a record answered {status}: {answer.decode()}")
    wire.close()
    times.sort()
    return percentile(times, 0.5), percentile(times, 0.99)


def _hashes(context: Context, server: Server, tag: str) -> tuple[str, str]:
    lines = server.api.lines(BUSY, f"?tag={tag}&offset=earliest")
    uri = server.api.describe(BUSY)["dataset_uri"]
    table = process.run([context.tools.venv_bin() / "python", HASHER, uri, tag], 120)
    return hashlib.sha256(b"\n".join(lines)).hexdigest(), table.strip()


def _compare_with_fresh(context: Context, server: Server, appended: int) -> None:
    """Single records of the topic beside those of one that got the same rows at once."""
    earliest = _stats(server, BUSY)["earliest_offset"]
    server.api.create("fresh")
    server.api.append("fresh", b"\n".join(map(_value, range(appended))), headers={"Content-Type": "application/x-ndjson"})
    server.api.flush("fresh")
    ratios = []
    for _ in range(5):
        old, new = _gets(server, BUSY, earliest, appended), _gets(server, "fresh", earliest, appended)
        ratios.append((old[1] / new[1], old, new))
    ratio, old, new = sorted(ratios)[2]
    context.say(f"get of a record: p99 {old[1]:.2f} ms (p50 {old[0]:.2f}); of a fresh topic with the same rows {new[1]:.2f} ms"
                f" (p50 {new[0]:.2f}): {ratio:.2f}x (aim 2x), the median of five rounds")


def _many(context: Context, server: Server) -> None:
    """Appends to many topics at once, and what is left of each."""
    names = [f"many-{number:04}" for number in range(context.upkeep_topics)]

    def make(wire: Wire, number: int) -> None:
        status, answer = wire.call("PUT", f"/v1/topics/{names[number]}", b"{}")
        check(status == 201, f"{names[number]} answered {status}: {answer.decode()}")

    def fill(wire: Wire, number: int) -> None:
        topic = names[number % len(names)]
        status, answer = wire.call("POST", f"/v1/topics/{topic}/records", _value(number))
        check(status == 200, f"{topic} answered {status}: {answer.decode()}")

    by_many(server.base, CLIENTS, len(names), make)
    begin = time.monotonic()
    by_many(server.base, CLIENTS, len(names) * APPENDS_EACH, fill)
    secs = time.monotonic() - begin
    worst = {"fragments": 0, "versions": 0, "dead": 0.0}
    for topic in names:
        server.api.flush(topic)
        _settled(server, topic)
        stats = _stats(server, topic)
        equal(stats["total_count"], APPENDS_EACH, f"the records of {topic}")
        worst["fragments"] = max(worst["fragments"], stats["fragments"])
        worst["versions"] = max(worst["versions"], stats["versions"])
        worst["dead"] = max(worst["dead"], stats["dead_bytes"] / max(stats["live_bytes"], 1))
    context.say(f"{len(names) * APPENDS_EACH:,} appends over {len(names):,} topics in {secs:.1f} s; of the worst topic"
                f" {worst['fragments']} fragments, {worst['versions']} versions, dead/live {worst['dead']:.2f}"
                f" (aims {FRAGMENTS}, {VERSIONS}, 1)")
