"""Many small topics: what they cost to make, to keep and to recover, and what they do to a busy one.

Fails on wrong data alone; the figures are printed beside what is aimed at for 10,000 topics on the reference machine.
"""

import os
import threading
import time

from kit.check import Failed, equal, until
from kit.context import Context
from kit.probe import Probe, percentile
from kit.records import in_page, value_of
from kit.server import Server
from kit.wire import Wire, by_many

CLIENTS = 32
BUSY = "busy"
ALONE_SECS = 5
IDLE_SECS = 120


def run(context: Context) -> None:
    """Makes and writes them, waits until the log is small, kills, recovers, reads all."""
    server = context.server().start()
    files = OpenFiles(server)
    server.api.create(BUSY)
    appended = []
    probe = Probe(server.base, BUSY, 0)
    time.sleep(ALONE_SECS)
    alone = probe.finish()
    appended += alone
    _say_probe(context, "alone", alone, alone)

    probe = Probe(server.base, BUSY, len(appended))
    begin = time.monotonic()
    by_many(server.base, CLIENTS, context.topics, _make_and_write)
    context.say(f"{context.topics:,} topics made and written in {time.monotonic() - begin:.1f} s (aim 120)")
    meanwhile = probe.finish()
    appended += meanwhile
    _say_probe(context, "meanwhile", meanwhile, alone)

    probe = Probe(server.base, BUSY, len(appended))
    time.sleep(ALONE_SECS)
    after = probe.finish()
    appended += after
    _say_probe(context, "right after", after, alone)
    _say_idle(context, server)
    context.say(f"peak memory {server.peak_mib():.0f} MiB (aim 500), at most {files.most} open files (aim 500)")

    server.kill()
    server.spawn()
    context.say(f"ready {server.wait_ready(120):.2f} s after SIGKILL and a new start (aim 5)")
    begin = time.monotonic()
    equal(_listed(server), context.topics + 1, "the topics listed")
    by_many(server.base, CLIENTS, context.topics, _read)
    wanted = [b'{"n":%d}' % number for number in range(len(appended))]
    busy = [value_of(line) for line in server.api.lines(BUSY)]
    equal(busy == wanted, True, f"whether the busy topic has the {len(wanted)} records appended; it has {len(busy)}")
    context.say(f"all {context.topics:,} topics and {len(busy):,} records of the busy one read back"
                f" in {time.monotonic() - begin:.1f} s")
    context.say(f"peak memory with recovery and reads {server.peak_mib():.0f} MiB, at most {files.most} open files")


class OpenFiles:
    """Watches how many descriptors the server holds, through all of its lives."""

    def __init__(self, server: Server):
        self.server, self.most = server, 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                self.most = max(self.most, self.server.open_files())
            except (OSError, AttributeError):
                # It is down just now.
                pass
            time.sleep(0.1)


def _name(number: int) -> str:
    return f"topic-{number:05}"


def _value(number: int) -> bytes:
    return b'{"number":%d,"text":"record of topic %d","deep":{"ok":true}}' % (number, number)


def _make_and_write(wire: Wire, number: int) -> None:
    for method, path, body, wanted in (
        ("PUT", f"/v1/topics/{_name(number)}", b"{}", 201),
        ("POST", f"/v1/topics/{_name(number)}/records", _value(number), 200),
    ):
        status, answer = wire.call(method, path, body)
        if status != wanted:
            raise Failed(f"{method} {path} answered {status}: {answer.decode()}")


def _read(wire: Wire, number: int) -> None:
    path = f"/v1/topics/{_name(number)}/records"
    status, answer = wire.call("GET", path)
    if status != 200 or [value_of(record) for record in in_page(answer)] != [_value(number)]:
        raise Failed(f"GET {path} answered {status}: {answer.decode()}")


def _listed(server: Server) -> int:
    count, after = 0, ""
    while after is not None:
        page = server.api.get(f"/v1/topics?limit=1000{after and f'&after={after}'}").ok(200).json()
        count, after = count + len(page["topics"]), page["next_after"]
    return count


def _say_probe(context: Context, when: str, secs: list[float], alone: list[float]) -> None:
    ratio = percentile(secs, 0.99) / percentile(alone, 0.99)
    context.say(f"appends to a busy topic {when}: {len(secs):,}, p50 {percentile(secs, 0.5):.2f} ms,"
                f" p99 {percentile(secs, 0.99):.2f} ms, {ratio:.1f}× alone (aim 2×), most {secs[-1] * 1000:.1f} ms")


def _say_idle(context: Context, server: Server) -> None:
    """Waits until the log has at most three files, within bounds."""
    folder, begin = server.data / "wal", time.monotonic()
    before = len(os.listdir(folder))
    try:
        until(lambda: len(os.listdir(folder)) <= 3, IDLE_SECS, "three files in wal/", poll_secs=0.2)
    except Failed:
        pass
    datasets = len(os.listdir(server.data / "datasets"))
    context.say(f"datasets so far: {datasets:,}")
    context.say(f"files in wal/: {before}, after {time.monotonic() - begin:.1f} s idle {len(os.listdir(folder))} (aim 3)")
