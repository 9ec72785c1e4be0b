"""A client that sends ready requests over many connections, in processes of its own.

Open: a request is due at its time, whether or not earlier ones are answered. It takes a free connection, or a new one up to a
limit; where none is to be had it is not sent, and counted. Closed: each connection sends its next request when the last is
answered. Every answer is kept: which topic and body, which offset.
"""

import errno
import math
import multiprocessing
import select
import signal
import socket
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field

from bounds.server import whole

# A generator that is behind by more than this gives up what was due: it cannot keep up.
LAG_SECS = 0.25
# How long answers are waited for at the end.
GRACE_SECS = 10
# Buckets of latencies: each 2 % wider than the last.
STEP = 1.02


@dataclass
class Plan:
    """What is sent."""

    port: int
    # The head of a request for each topic; every body has the same length.
    heads: list[bytes]
    bodies: list[bytes]
    connections: int
    # Requests a second; none: closed.
    rate: float | None = None
    seconds: float | None = None
    count: int | None = None


@dataclass
class Outcome:
    """What came of it."""

    # Of admitted appends: topic, body, first offset.
    topics: array = field(default_factory=lambda: array("H"))
    bodies: array = field(default_factory=lambda: array("H"))
    offsets: array = field(default_factory=lambda: array("L"))
    latencies: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    sent: int = 0
    # Due, but no connection was free.
    turned_away: int = 0
    # Due, but the generator was behind.
    behind: int = 0
    # Sent, without an answer.
    unanswered: int = 0
    seconds: float = 0.0

    def add(self, other: "Outcome") -> None:
        for name in ("topics", "bodies", "offsets"):
            getattr(self, name).extend(getattr(other, name))
        self.latencies += other.latencies
        self.refused += other.refused
        for name in ("sent", "turned_away", "behind", "unanswered"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds = max(self.seconds, other.seconds)

    def quantile(self, part: float) -> float | None:
        """Microseconds that so large a part of admitted appends took at most."""
        left = part * self.latencies.total()
        for bucket in sorted(self.latencies):
            left -= self.latencies[bucket]
            if left <= 0:
                return STEP**bucket
        return None


class Connection:
    """One connection, with one request under way at most."""

    __slots__ = ("answer", "body", "due", "left", "sock", "topic")

    def __init__(self, port: int):
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.answer, self.left = b"", None
        self.topic, self.body, self.due = 0, 0, 0.0


class Generator:
    """What one process does."""

    def __init__(self, plan: Plan, number: int, workers: int):
        self.plan, self.number, self.workers = plan, number, workers
        self.limit = max(1, plan.connections // workers)
        self.out = Outcome()
        self.epoll = select.epoll()
        self.all: dict[int, Connection] = {}
        self.free: list[Connection] = []
        self.turn = number

    def run(self) -> Outcome:
        plan = self.plan
        rate = plan.rate / self.workers if plan.rate else None
        count = None if plan.count is None else plan.count // self.workers
        began = time.perf_counter()
        until = began + plan.seconds if plan.seconds else math.inf
        taken = 0
        while (now := time.perf_counter()) < until and (count is None or taken < count):
            if rate is None:
                while self.is_room() and (count is None or taken < count):
                    self.send(time.perf_counter())
                    taken += 1
                self.answers(0.1)
                continue
            due = int((now - began) * rate) + 1
            late = due - taken - int(LAG_SECS * rate) - 1
            if late > 0:
                self.out.behind += late
                taken += late
            while taken < due and self.is_room():
                self.send(began + taken / rate)
                taken += 1
            if taken < due:
                self.out.turned_away += due - taken
                taken = due
            self.answers(max(0.0, min(began + taken / rate - time.perf_counter(), 0.1)))
        self.out.seconds = time.perf_counter() - began
        patience = time.perf_counter() + GRACE_SECS
        while len(self.free) < len(self.all) and time.perf_counter() < patience:
            self.answers(0.1)
        self.out.unanswered += len(self.all) - len(self.free)
        if rate is None:
            self.out.seconds = time.perf_counter() - began
        for connection in self.all.values():
            connection.sock.close()
        return self.out

    def is_room(self) -> bool:
        """Whether a connection is free; opens one where there may be more."""
        if not self.free and len(self.all) < self.limit:
            connection = Connection(self.plan.port)
            self.all[connection.sock.fileno()] = connection
            self.epoll.register(connection.sock, select.EPOLLIN)
            self.free.append(connection)
        return bool(self.free)

    def send(self, due: float) -> None:
        """Sends the next request, as much as goes at once."""
        plan, connection, turn = self.plan, self.free.pop(), self.turn
        self.turn += self.workers
        connection.topic, connection.body, connection.due = turn % len(plan.heads), turn % len(plan.bodies), due
        self.out.sent += 1
        self.go_on(connection, memoryview(plan.heads[connection.topic] + plan.bodies[connection.body]))

    def go_on(self, connection: Connection, left: memoryview) -> None:
        try:
            sent = connection.sock.send(left)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.drop(connection)
            return
        was = connection.left
        connection.left = left[sent:] if sent < len(left) else None
        if (was is None) != (connection.left is None):
            events = select.EPOLLIN if connection.left is None else select.EPOLLIN | select.EPOLLOUT
            self.epoll.modify(connection.sock, events)

    def answers(self, patience: float) -> None:
        """Takes what has come, and goes on with what is half sent."""
        for number, event in self.epoll.poll(patience, 1024):
            connection = self.all.get(number)
            if connection is None:
                continue
            if event & select.EPOLLOUT and connection.left is not None:
                self.go_on(connection, connection.left)
            if event & ~select.EPOLLOUT and number in self.all:
                self.take(connection)

    def take(self, connection: Connection) -> None:
        try:
            more = connection.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            more = b""
        if not more:
            self.drop(connection)
            return
        answer = connection.answer + more
        length = whole(answer)
        if length is None or len(answer) < length:
            connection.answer = answer
            return
        connection.answer = b""
        out = self.out
        if answer[9:12] == b"200":
            at = answer.index(b'"first_offset":') + 15
            out.topics.append(connection.topic)
            out.bodies.append(connection.body)
            out.offsets.append(int(answer[at : answer.index(b",", at)]))
            micros = max((time.perf_counter() - connection.due) * 1e6, 1.0)
            out.latencies[int(math.log(micros) / math.log(STEP)) + 1] += 1
        else:
            at = answer.find(b'"code":"')
            code = answer[at + 8 : answer.find(b'"', at + 8)].decode() if at > 0 else ""
            out.refused[f"{answer[9:12].decode()} {code}".strip()] += 1
        if connection.left is not None or b"\r\nconnection: close\r\n" in answer[:length]:
            # Refused before its body was read, or for the last time: nothing more goes over it.
            self.close(connection)
        else:
            self.free.append(connection)

    def drop(self, connection: Connection) -> None:
        """The connection is gone, with the request that was under way."""
        if connection in self.free:
            self.free.remove(connection)
        else:
            self.out.unanswered += 1
        self.close(connection)

    def close(self, connection: Connection) -> None:
        del self.all[connection.sock.fileno()]
        connection.sock.close()


def _work(plan: Plan, number: int, workers: int, pipe) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pipe.send(Generator(plan, number, workers).run())
    pipe.close()


def flood(plan: Plan, workers: int, each_second=None) -> Outcome:
    """Sends in so many processes; `each_second` is called meanwhile, and may end it by an exception."""
    fork = multiprocessing.get_context("fork")
    processes, pipes = [], []
    try:
        for number in range(workers):
            own, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_work, args=(plan, number, workers, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(own)
        outcome = Outcome()
        for pipe in pipes:
            while not pipe.poll(1 if each_second else 60):
                if each_second:
                    each_second()
            outcome.add(pipe.recv())
        return outcome
    finally:
        for process in processes:
            if process.is_alive():
                process.join(5)
            if process.is_alive():
                process.terminate()
