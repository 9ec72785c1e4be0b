"""A file of events goes in with curl and comes out whole, through HTTP and through pylance, LanceDB and Polars."""

import filecmp
import json
import time
from collections.abc import Iterator
from pathlib import Path

from kit import generate, process
from kit.check import check, equal
from kit.compare import same_values
from kit.context import Context
from kit.records import offset_of, value_of
from kit.server import Server
from kit.sse import events

EVENTS = 20_000
TOPIC = "events"
READER = Path(__file__).resolve().parent.parent / "kit" / "read_dataset.py"


def run(context: Context) -> None:
    """Loads, kills, reads, flushes, kills, reads again, reads the dataset."""
    source = context.folder / "events.ndjson"
    size = generate.write(source, EVENTS)
    context.say(f"{EVENTS:,} events, {size / 1e6:.0f} MB of NDJSON")
    server = context.server().start()
    server.api.create(TOPIC, schema=generate.SCHEMA)
    curl = Curl(context, server.base)

    answer = json.loads(curl.load(source))
    equal([answer["first_offset"], answer["next_offset"], answer["count"]], [0, EVENTS, EVENTS], "the load's answer")
    equal(answer["durability"], "wal", "the load's durability")
    _say_peak(context, server, "the load")
    _kill(context, server)
    lines = curl.read("lines", "records", "application/x-ndjson")
    count = same_values(_lines(source), _values(lines), "embedding", "NDJSON")
    context.say(f"{count:,} records come back equal, as {lines.stat().st_size / 1e6:.0f} MB of NDJSON")
    _same_stream(curl.read("stream", "stream?offset=0&block=false", "text/event-stream"), lines)
    context.say("the stream has the same records, gapless")

    begin = time.monotonic()
    equal(server.api.flush(TOPIC)["committed_offset"], EVENTS, "what a flush has committed")
    context.say(f"flushed in {time.monotonic() - begin:.2f} s")
    _same_files(curl.read("flushed", "records", "application/x-ndjson"), lines, "NDJSON after a flush")
    _say_peak(context, server, "recovery, reads and a flush")
    _kill(context, server)
    equal(server.api.flush(TOPIC)["committed_offset"], EVENTS, "what is committed after a flush and SIGKILL")
    _same_stream(curl.read("again", "stream?offset=0&block=false", "text/event-stream"), lines)

    uri = server.api.describe(TOPIC)["dataset_uri"]
    python = context.tools.venv_bin() / "python"
    for line in process.run([python, READER, uri, server.data / "topics", TOPIC, source], 240).splitlines():
        context.say(line)


class Curl:
    """The real curl, timed."""

    def __init__(self, context: Context, base: str):
        self.context, self.base = context, base

    def load(self, file: Path) -> str:
        """Appends a file as a person would: without naming its type."""
        begin = time.monotonic()
        url = f"{self.base}/v1/topics/{TOPIC}/records?atomic=false"
        out = process.run(["curl", "-sS", "--fail-with-body", "--data-binary", f"@{file}", url], 300)
        secs = time.monotonic() - begin
        self.context.say(f"loaded in {secs:.2f} s, {file.stat().st_size / 1e6 / secs:.0f} MB/s")
        return out

    def read(self, name: str, path: str, accept: str) -> Path:
        """Reads into a file."""
        begin = time.monotonic()
        file = self.context.folder / name
        url = f"{self.base}/v1/topics/{TOPIC}/{path}"
        process.run(["curl", "-sS", "--fail-with-body", "-N", "-H", f"Accept: {accept}", "-o", file, url], 180)
        secs = time.monotonic() - begin
        self.context.say(f"read {name} in {secs:.2f} s, {file.stat().st_size / 1e6 / secs:.0f} MB/s")
        return file


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from lines


def _values(file: Path) -> Iterator[dict]:
    for number, line in enumerate(_lines(file)):
        record = line.removesuffix(b"\n")
        equal(offset_of(record), number, "an offset")
        yield json.loads(value_of(record))


def _same_files(one: Path, other: Path, what: str) -> None:
    check(filecmp.cmp(one, other, shallow=False), f"{what} is not what it was before")
    one.unlink()


def _same_stream(stream: Path, lines: Path) -> None:
    """Fails unless the stream has the lines, in order, and then says that it has caught up and ends."""
    wanted, named = _lines(lines), []
    for event in events(_lines(stream)):
        if event.name:
            named.append(event.name)
        elif event.data + b"\n" != next(wanted, None):
            check(False, f"the event {event.id} is not the record of NDJSON")
    equal(next(wanted, None), None, "a record that the stream lacks")
    equal((named[0], named[-2:]), ("position", ["caught-up", "end"]), "the named events of the stream")


def _kill(context: Context, server: Server) -> None:
    committed = server.api.get(f"/v1/topics/{TOPIC}/stats").ok(200).json()["committed_offset"]
    server.kill()
    server.spawn()
    secs = server.wait_ready()
    context.say(f"SIGKILL with {EVENTS - committed:,} records in the log alone; ready {secs:.2f} s after a new start")


def _say_peak(context: Context, server: Server, what: str) -> None:
    context.say(f"peak memory of the server with {what}: {server.peak_mib():.0f} MiB (aim 1024)")
