"""The servers that are compared: how each is started, what its acknowledgement waits for, and how it is driven.

Options are those of `persisting bench`. A server that cannot do a workload gives no options for it (`None`).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

START_SECS = 60
STOP_SECS = 15
TOPIC = "topic"
GIB = 1 << 30
IN_MEMORY = ("bare", "persisting-memory")


class Missing(Exception):
    """A server, or something that it needs, is not here or does not start."""


@dataclass(frozen=True)
class Places:
    """Where programs are."""

    persisting: Path
    floors: Path | None
    peers: Path

    def peer(self, name: str) -> str:
        """A program that setup.sh has brought, or one that the system has."""
        own = self.peers / "bin" / name
        found = str(own) if own.is_file() else shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not found:
            raise Missing(f"{name} is not installed: see setup.sh")
        return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server in a folder of its own. Only what it has started itself is ever ended."""

    name = ""
    # What has happened when an append is answered.
    answers = ""
    # The keys of what it is compared with: a floor, and this server at about the same durability.
    against = ("bare-log", "persisting")
    ready_path = "/"

    def __init__(self, places: Places):
        self.places = places
        self.processes: list[subprocess.Popen] = []
        self.folder = Path()
        self.port = 0

    # What differs.

    def launch(self) -> None:
        """Starts the processes."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What is done once the server answers."""

    def append(self) -> list[str] | None:
        """Options for appends of one record."""
        raise NotImplementedError

    def batch(self) -> list[str] | None:
        """Options for appends of many records, --batch excepted."""
        return None

    def fanout(self) -> list[str] | None:
        """Options for appends of one record, and the subscriptions to them."""
        return None

    def settle(self) -> None:
        """What is done between the load and the reading of it."""

    def catchup(self) -> tuple[str, dict[str, str]] | None:
        """Path and headers of one request that reads {count} records from the first on, and then ends."""
        return None

    def stored(self) -> int | None:
        """How many records the topic has, where success does not tell."""
        return None

    # What is the same for all.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, folder: Path) -> None:
        """Starts it in an empty folder, and waits until it answers."""
        self.folder = folder
        self.port = free_port()
        try:
            self.launch()
            self.wait()
            self.prepare()
        except (OSError, Missing) as error:
            self.stop()
            raise Missing(f"{error}; {self.last_words()}".rstrip("; ")) from error

    def spawn(self, arguments: list[str], **environment: str) -> None:
        """Starts one process of it."""
        log = open(self.folder / f"log-{len(self.processes)}.txt", "ab")
        with log:
            self.processes.append(
                subprocess.Popen(
                    arguments,
                    cwd=self.folder,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def wait(self) -> None:
        """Waits until it answers."""
        until = time.monotonic() + START_SECS
        while time.monotonic() < until:
            ended = [process.args[0] for process in self.processes if process.poll() is not None]
            if ended:
                raise Missing(f"{Path(ended[0]).name} has ended")
            try:
                self.ask("GET", self.ready_path)
                return
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Missing(f"no answer for {START_SECS} s")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """One request, whose answer is a success."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()

    def stop(self) -> None:
        """Ends the processes that it has started, the last one first."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes = []

    def restart(self) -> None:
        """The same server again, on what it has stored."""
        self.stop()
        self.launch()
        self.wait()
        self.prepare()

    def last_words(self) -> str:
        """The end of what it has logged."""
        logs = sorted(self.folder.glob("log-*.txt"))
        text = " ".join(log.read_text(errors="replace")[-300:] for log in logs).split()
        return " ".join(text)[-300:]

    @property
    def pids(self) -> list[int]:
        """Its processes, the one that takes requests last."""
        return [process.pid for process in self.processes]


class Bare(Server):
    """Reads a body as JSON and answers."""

    name, answers, against, program = "bare", "memory", IN_MEMORY, "bare"
    path = "/v1/topics/{topic}/records?floor"

    def launch(self) -> None:
        program = self.places.floors / self.program if self.places.floors else Path()
        if not program.is_file():
            raise Missing("the floors are not built: see ../floors")
        self.spawn([str(program), f"127.0.0.1:{self.port}", str(self.folder / "floor.log")])

    # The query keeps the generator from taking the floor for one of ours, and asking it for its tail.
    def append(self) -> list[str]:
        return [f"--append-path={self.path}"]

    def batch(self) -> list[str]:
        return [*self.append(), "--format=ndjson"]


class BareLog(Bare):
    """The same with a log: answers after the fdatasync of its group, then feeds subscribers."""

    name, answers, against, program = "bare-log", "fdatasync of the group", Server.against, "bare-log"

    def fanout(self) -> list[str]:
        return self.append()


class Persisting(Server):
    """This server."""

    name, answers = "persisting", "fdatasync of the group"
    ready_path = "/readyz"
    backend = "persisting"
    ack = ["--ack=wal"]

    def launch(self) -> None:
        data = str(self.folder / "data")
        self.spawn(
            [str(self.places.persisting), "serve", f"--listen=127.0.0.1:{self.port}", f"--data-dir={data}"]
            + [f"--memory-limit-bytes={8 * GIB}"],
            PERSISTING_LOG="warn",
        )

    def append(self) -> list[str]:
        return [f"--backend={self.backend}", *self.ack]

    def batch(self) -> list[str]:
        return [*self.append(), "--format=ndjson"]

    def fanout(self) -> list[str]:
        return self.append()

    def catchup(self) -> tuple[str, dict[str, str]]:
        return f"/v1/topics/{TOPIC}/records?offset=0&limit={{count}}", {"Accept": "application/x-ndjson"}

    def flush(self) -> None:
        """Returns when everything is in the dataset."""
        self.ask("POST", f"/v1/topics/{TOPIC}/flush", b"")


class PersistingMemory(Persisting):
    """This server, a topic in memory."""

    name, answers, against, backend = "persisting memory", "memory", IN_MEMORY, "memory"
    ack: list[str] = []


class PersistingTable(Persisting):
    """This server, reading from the dataset alone: flushed, then started anew."""

    name = "persisting, from the table"

    def settle(self) -> None:
        self.flush()
        self.restart()


class DurableStreams(Server):
    """The crate durable-streams-server, in one of its modes."""

    mode = ""
    ready_path = "/readyz"

    def launch(self) -> None:
        self.spawn(
            [self.places.peer("durable-streams-server")],
            DS_SERVER__BIND_ADDRESS=f"127.0.0.1:{self.port}",
            DS_STORAGE__MODE=self.mode,
            DS_STORAGE__DATA_DIR=str(self.folder / "data"),
            # By default 100 MiB in all and 10 MiB for a stream: it would refuse within seconds.
            DS_LIMITS__MAX_MEMORY_BYTES=str(8 * GIB),
            DS_LIMITS__MAX_STREAM_BYTES=str(8 * GIB),
            DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS="0",
            DS_OBSERVABILITY__RUST_LOG="warn",
            RUST_LOG="warn",
        )

    def append(self) -> list[str]:
        return ["--append-path=/v1/stream/{topic}", "--create-path=/v1/stream/{topic}", "--create-body="]

    def batch(self) -> list[str]:
        return [*self.append(), "--format=json"]

    def fanout(self) -> list[str]:
        return [*self.append(), "--stream-path=/v1/stream/{topic}?offset=now&live=sse"]

    def catchup(self) -> tuple[str, dict[str, str]]:
        return f"/v1/stream/{TOPIC}?offset=-1", {}


class DurableStreamsMemory(DurableStreams):
    name, answers, against, mode = "durable-streams memory", "memory", IN_MEMORY, "memory"


class DurableStreamsFile(DurableStreams):
    name, answers, mode = "durable-streams file-durable", "fdatasync of its own", "file-durable"


class DurableStreamsAcid(DurableStreams):
    name, answers, mode = "durable-streams acid", "commit of redb", "acid"


class S2Lite(Server):
    """The server `lite` of the crate s2-cli, on a local folder. It listens on all interfaces: it has no option for that."""

    name, answers = "s2-lite", "fsync of the group, every 5 ms"
    ready_path = "/health"
    basin = "benchmarks"

    def launch(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        self.spawn(
            [self.places.peer("s2"), "lite", f"--local-root={self.folder / 'data'}", f"--port={self.port}"]
            + ["--no-dashboard"],
            RUST_LOG="warn",
            HOME=str(self.folder),
        )

    def prepare(self) -> None:
        self.ask("PUT", f"/v1/basins/{self.basin}", b"{}", {"Content-Type": "application/json"})

    def append(self) -> list[str]:
        return [
            f"--header=s2-basin: {self.basin}",
            "--append-path=/v1/streams/{topic}/records",
            "--create-path=/v1/streams/{topic}",
            "--create-body={}",
            '--body-prefix={"records":[',
            "--body-suffix=]}",
            '--record-prefix={"body":"',
            '--record-suffix="}',
            "--record-separator=,",
            "--escape",
        ]

    def batch(self) -> list[str]:
        return self.append()

    def fanout(self) -> list[str]:
        return [*self.append(), "--stream-path=/v1/streams/{topic}/records?seq_num=0"]

    def catchup(self) -> tuple[str, dict[str, str]]:
        headers = {"s2-basin": self.basin, "Accept": "text/event-stream"}
        return f"/v1/streams/{TOPIC}/records?seq_num=0&count={{count}}", headers


class Webdis(Server):
    """Redis Streams behind Webdis: Redis syncs its append-only file before it answers.

    A batch is one EVALSHA that adds each line of the body. A subscription is SUBSCRIBE, to which the same script that adds a
    record publishes it: Redis hands it on after the sync as well.
    """

    name, answers = "redis + webdis", "fdatasync of the group"
    ready_path = "/PING"
    adds_lines = "for line in string.gmatch(ARGV[1], '[^\\n]+') do redis.call('XADD', KEYS[1], '*', 'd', line) end return 1"
    adds_and_publishes = (
        "local id = redis.call('XADD', KEYS[1], '*', 'd', ARGV[1]) redis.call('PUBLISH', KEYS[1], ARGV[1]) return id"
    )
    # Webdis answers lists of lists with null: XRANGE itself cannot be read through it.
    reads_all = (
        "local all = redis.call('XRANGE', KEYS[1], '-', '+') for at = 1, #all do all[at] = all[at][2][2] end return all"
    )

    def launch(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        redis_port = free_port()
        self.redis_port = redis_port
        self.spawn(
            [self.places.peer("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1"]
            + ["--dir", str(self.folder / "data"), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        )
        until = time.monotonic() + START_SECS
        while self.redis("PING") != b"PONG" and time.monotonic() < until:
            time.sleep(0.05)
        config = {
            "redis_host": "127.0.0.1",
            "redis_port": redis_port,
            "http_host": "127.0.0.1",
            "http_port": self.port,
            "threads": 2,
            "daemonize": False,
            "database": 0,
            "verbosity": 1,
            "logfile": str(self.folder / "webdis.log"),
        }
        (self.folder / "webdis.json").write_text(json.dumps(config))
        self.spawn([self.places.peer("webdis"), str(self.folder / "webdis.json")])

    def redis(self, *words: str) -> bytes:
        """A command, spoken to Redis itself; empty where it does not answer."""
        sent = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), 5) as connection:
                connection.sendall(b"*%d\r\n%s" % (len(words), sent))
                answer = connection.makefile("rb")
                line = answer.readline().strip()
                return answer.readline().strip() if line.startswith(b"$") else line[1:]
        except OSError:
            return b""

    def prepare(self) -> None:
        self.lines = self.redis("SCRIPT", "LOAD", self.adds_lines).decode()
        self.reads = self.redis("SCRIPT", "LOAD", self.reads_all).decode()
        self.publishes = self.redis("SCRIPT", "LOAD", self.adds_and_publishes).decode()

    def append(self) -> list[str]:
        return ["--method=PUT", "--append-path=/XADD/{topic}/*/d", "--create-path="]

    def batch(self) -> list[str]:
        return ["--method=PUT", f"--append-path=/EVALSHA/{self.lines}/1/{{topic}}", "--create-path=", "--format=ndjson"]

    def fanout(self) -> list[str]:
        path = f"--append-path=/EVALSHA/{self.publishes}/1/{{topic}}"
        return ["--method=PUT", path, "--create-path=", "--stream-path=/SUBSCRIBE/{topic}"]

    def catchup(self) -> tuple[str, dict[str, str]]:
        return f"/EVALSHA/{self.reads}/1/{TOPIC}", {}

    def stored(self) -> int:
        return int(self.redis("XLEN", TOPIC) or 0)


class Nats(Server):
    """NATS JetStream on file storage. It has no HTTP: a client of its own drives it, see nats/."""

    name, answers = "nats jetstream", "page cache, no sync"
    core = False

    def launch(self) -> None:
        self.places.peer("nats-bench")
        self.spawn(
            [self.places.peer("nats-server"), "-a", "127.0.0.1", "-p", str(self.port), "-js"]
            + ["-sd", str(self.folder / "data")]
        )

    def wait(self) -> None:
        until = time.monotonic() + START_SECS
        while time.monotonic() < until and self.processes[0].poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                    if connection.recv(4) == b"INFO":
                        return
            except OSError:
                time.sleep(0.05)
        raise Missing("nats-server does not answer")

    def append(self) -> list[str]:
        return []

    def batch(self) -> list[str]:
        return []

    def fanout(self) -> list[str]:
        return ["--core"] if self.core else []

    def catchup(self) -> tuple[str, dict[str, str]]:
        return "", {}


class NatsCore(Nats):
    """The same with plain subscriptions, to which the server hands on messages before it has stored them."""

    name, answers, core = "nats core subscriptions", "page cache, no sync", True

    def append(self) -> None:
        return None

    def batch(self) -> None:
        return None

    def catchup(self) -> None:
        return None


SERVERS: dict[str, type[Server]] = {
    "bare": Bare,
    "bare-log": BareLog,
    "persisting": Persisting,
    "persisting-table": PersistingTable,
    "persisting-memory": PersistingMemory,
    "ds-file-durable": DurableStreamsFile,
    "ds-acid": DurableStreamsAcid,
    "ds-memory": DurableStreamsMemory,
    "s2-lite": S2Lite,
    "webdis": Webdis,
    "nats": Nats,
    "nats-core": NatsCore,
}


OURS = ("persisting", "persisting-table", "persisting-memory")


def build_of(name: str, build: str, binary: Path) -> type[Server]:
    """One of [`OURS`] as another build of this server runs it."""
    base = SERVERS[name]

    class Other(base):
        def __init__(self, places: Places):
            super().__init__(replace(places, persisting=binary))

    Other.name = f"{base.name}, {build}"
    return Other
