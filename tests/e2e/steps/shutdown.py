"""SIGTERM: every stream is told, the process ends in time, and nothing acknowledged is missing afterwards."""

import json
import selectors
import socket
import time

from kit.check import check, equal
from kit.context import Context
from kit.records import offset_of, value_of
from kit.server import Server
from kit.sse import Event, events
from kit.writer import Writer

STREAMS = 200
TOPICS = {
    "logged": {"backend": "persisting"},
    "unlogged": {"backend": "persisting", "backend_options": {"enable_wal": False, "flush_interval_ms": 600_000}},
    "columns": {"backend": "lance", "backend_options": {"flush_interval_ms": 600_000}},
    "held": {"backend": "memory"},
}
KEPT = ["logged", "unlogged", "columns"]
WAIT_SECS = 30
EXIT_SECS = 10
WRITTEN = 300


def run(context: Context) -> None:
    """Streams on topics of every backend, a writer at work, SIGTERM, a new start."""
    server = context.server().start()
    for name, members in TOPICS.items():
        server.api.create(name, **members)
        server.api.append(name, [{"n": n} for n in range(100)])
    server.api.create("written")
    writer = Writer(server.api, "written", pause_secs=0.002)
    streams = Streams(server, ["written", *TOPICS])
    streams.read(lambda: streams.heard(b"event: caught-up") and writer.acknowledged >= WRITTEN, "caught-up on every stream")
    context.say(f"{STREAMS} streams open; {writer.acknowledged} records written so far")

    begin = time.monotonic()
    server.terminate()
    streams.read(streams.all_ended, "the end of every stream")
    told = time.monotonic() - begin
    code = server.exit_code()
    secs = time.monotonic() - begin
    total = writer.stop()
    streams.check_ends()
    equal(code, 0, "the exit code after SIGTERM")
    check(secs < EXIT_SECS, f"the process took {secs:.1f} s to end")
    context.say(f"SIGTERM: every stream was told within {told:.2f} s, exit code 0 after {secs:.2f} s")

    server.start()
    written = [value_of(line) for line in server.api.lines("written")]
    equal(written[:total], [b'{"n":%d}' % n for n in range(total)], "the records acknowledged before SIGTERM")
    check(len(written) <= total + 1, f"{len(written)} records where {total} were acknowledged and one was under way")
    for name in KEPT:
        values = [value_of(line) for line in server.api.lines(name)]
        equal(values, [b'{"n":%d}' % n for n in range(100)], f"the records of {name}")
    epochs = {name: server.api.describe(name)["epoch"] for name in [*KEPT, "written"]}
    equal(epochs, {name: streams.epochs[name] for name in epochs}, "the epochs after an orderly stop")
    context.say(f"all {total} records acknowledged at `wal` and those only accepted are there, no epoch has changed")


class Streams:
    """Many event streams on raw sockets, read together."""

    def __init__(self, server: Server, topics: list[str]):
        self.selector = selectors.DefaultSelector()
        self.bodies: list[bytearray] = []
        self.topics: list[str] = []
        self.epochs: dict[str, int] = {}
        for number in range(STREAMS):
            topic = topics[number % len(topics)]
            stream = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            ask = f"GET /v1/topics/{topic}/stream?offset=0 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
            stream.sendall(ask.encode())
            stream.setblocking(False)
            self.selector.register(stream, selectors.EVENT_READ, number)
            self.bodies.append(bytearray())
            self.topics.append(topic)

    def read(self, enough, what: str) -> None:
        """Reads all of them until `enough()`."""
        deadline = time.monotonic() + WAIT_SECS
        while not enough():
            check(time.monotonic() < deadline, f"not within {WAIT_SECS} s: {what}")
            for key, _ in self.selector.select(timeout=0.1) if self.selector.get_map() else []:
                try:
                    data = key.fileobj.recv(1 << 16)
                except ConnectionError:
                    data = b""
                self.bodies[key.data] += data
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()

    def heard(self, text: bytes) -> bool:
        """Whether each has sent this."""
        return all(text in body for body in self.bodies)

    def all_ended(self) -> bool:
        """Whether the server has ended each."""
        return not self.selector.get_map()

    def check_ends(self) -> None:
        """Fails unless each is gapless and ended whole, with an `end` event that says shutdown and where to go on."""
        for number, (topic, body) in enumerate(zip(self.topics, self.bodies)):
            what = f"stream {number} on {topic}"
            found = _events(bytes(body), what)
            offsets = [offset_of(event.data) for event in found if event.name == ""]
            equal(offsets, list(range(len(offsets))), f"the offsets of {what}")
            last = found[-1]
            equal((last.name, json.loads(last.data)), ("end", {"reason": "shutdown", "next_offset": len(offsets)}),
                  f"the last event of {what}")
            check(last.id != "end", f"{what} ended with the id of an end for ever")
            self.epochs[topic] = json.loads(found[0].data)["epoch"]


def _events(raw: bytes, what: str) -> list[Event]:
    """The events of a raw answer in chunked coding, which must be complete."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    equal(head.split(b"\r\n")[0], b"HTTP/1.1 200 OK", f"the status line of {what}")
    chunks = []
    while True:
        size, found, rest = rest.partition(b"\r\n")
        check(found != b"", f"{what} was cut off")
        if int(size, 16) == 0:
            return list(events(chunks))
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
