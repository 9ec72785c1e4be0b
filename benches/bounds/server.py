"""A server in a fresh folder, what is seen of it from outside, and kept connections to it."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

START_SECS = 60
STOP_SECS = 30
MIB = 1 << 20
GIB = 1 << 30
NDJSON = {"Content-Type": "application/x-ndjson"}


class Failed(Exception):
    """A measurement that did not come about."""


class Server:
    """A server in a folder of its own, which goes with it. Only what it has started itself is ever ended."""

    def __init__(self, binary: Path, options: list[str] | tuple[str, ...] = (), below: Path | None = None):
        self.binary, self.options = binary, list(options)
        self.folder = Path(tempfile.mkdtemp(prefix="bounds-", dir=below))
        self.data = self.folder / "data"
        self.port = 0
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self) -> float:
        """Starts it, again on its old port, and tells when; it does not answer yet."""
        with open(self.folder / "log.txt", "ab") as log:
            command = [str(self.binary), "serve", f"--listen=127.0.0.1:{self.port}", f"--data-dir={self.data}", *self.options]
            environment = {**os.environ, "PERSISTING_LOG": "warn"}
            began = time.monotonic()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        return began

    def start(self) -> None:
        """Starts it, and waits until it is ready."""
        self.launch()
        line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
        if not found:
            raise Failed(f"the server does not start: {line}{self.last_words()}")
        self.port = int(found[1])
        until = time.monotonic() + START_SECS
        while time.monotonic() < until:
            if self.try_once("/readyz") == 200:
                return
            time.sleep(0.02)
        raise Failed(f"the server is not ready after {START_SECS} s: {self.last_words()}")

    def try_once(self, path: str) -> int | None:
        """The status of one request on a connection of its own; none where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            if self.process.poll() is not None:
                raise Failed(f"the server has ended: {self.last_words()}") from None
            return None
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL, to this one process."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> None:
        """An orderly stop."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def last_words(self) -> str:
        """The end of what it has logged."""
        log = self.folder / "log.txt"
        return " ".join(log.read_text(errors="replace")[-400:].split()) if log.exists() else ""

    # What is seen of the process.

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """Processor time until now, in seconds; of threads that have ended as well."""
        # How Linux numbers the clock of another process: clock_getcpuclockid(3).
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self) -> dict[str, float]:
        """What /proc tells, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")}

    def calm(self, patience: float = 60.0, windows: int = 2, seconds: float = 0.5) -> bool:
        """Waits, asking nothing, until it does next to nothing: 2 % of a processor at most, several times in a row."""
        until, quiet = time.monotonic() + patience, 0
        while quiet < windows and time.monotonic() < until:
            spent = self.cpu()
            time.sleep(seconds)
            quiet = quiet + 1 if self.cpu() - spent <= 0.02 * seconds else 0
        return quiet >= windows

    def log_bytes(self) -> int:
        """The files of the write-ahead log."""
        return sum(path.stat().st_size for path in (self.data / "wal").iterdir())

    # What is asked of it.

    def ask(self, method: str, path: str, body: object = None, raw: bool = False) -> dict | bytes:
        """One request, whose answer is a success."""
        with Wire(self.port) as wire:
            return wire.ask(method, path, body, raw)

    def each(self, requests: list[tuple[str, str, object]], connections: int = 4) -> None:
        """Many requests, over a few connections."""

        def run(own: list[tuple[str, str, object]]) -> None:
            with Wire(self.port) as wire:
                for method, path, body in own:
                    wire.ask(method, path, body)

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(run, [requests[at::connections] for at in range(connections)]))

    def flush(self, topics: list[str]) -> None:
        """Returns when everything is in the datasets."""
        self.each([("POST", f"/v1/topics/{topic}/flush", b"") for topic in topics])

    def topics(self, prefix: str = "") -> dict[str, dict]:
        """Descriptions by name."""
        found, after = {}, ""
        with Wire(self.port) as wire:
            while after is not None:
                query = "limit=1000" + (f"&prefix={prefix}" if prefix else "") + (f"&after={after}" if after else "")
                told = wire.ask("GET", f"/v1/topics?{query}")
                found |= {topic["topic"]: topic for topic in told["topics"]}
                after = told["next_after"]
        return found

    def stats(self, topics: list[str]) -> list[dict]:
        """What is told of topics."""
        with Wire(self.port) as wire:
            return [wire.ask("GET", f"/v1/topics/{topic}/stats") for topic in topics]

    def bench(self, workload: str, **options: object) -> dict:
        """Runs `persisting bench`, and takes nothing but success. `server_cpu` is the server's processor time meanwhile."""
        out = self.folder / "bench.json"
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = [str(self.binary), "bench", workload, f"--url=http://127.0.0.1:{self.port}", f"--json={out}", *arguments]
        spent = self.cpu()
        ended = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        spent = self.cpu() - spent
        try:
            told = json.loads(out.read_text())
        except (OSError, ValueError):
            raise Failed(f"bench {workload}: {(ended.stderr or ended.stdout)[-400:]}") from None
        out.unlink()
        if not told["ok"]:
            raise Failed(f"bench {workload}: {told['parts']} {told['verification']}")
        return {**told["parts"][0], "server_cpu": spent}


class Wire:
    """One kept connection."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def __enter__(self) -> Self:
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: object = None, raw: bool = False) -> dict | bytes:
        """One request, whose answer is a success: its JSON, or its bytes. A dict is sent as JSON, bytes as lines of it."""
        is_lines = isinstance(body, bytes) and body
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        accept = {"Accept": "application/x-ndjson"} if raw and path.startswith("/v1/") else {}
        self.connection.request(method, path, sent, {**(NDJSON if is_lines else {}), **accept})
        answer = self.connection.getresponse()
        told = answer.read()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {told[:300].decode(errors='replace')}")
        return told if raw else json.loads(told or b"null")


def timed(port: int, requests: list[bytes]) -> list[float]:
    """Sends ready requests one after the other, on one connection, and tells how many microseconds each took."""
    took = []
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), 60)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            began = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(1 << 18)
            while (length := whole(answer)) is None or len(answer) < length:
                more = connection.recv(1 << 18)
                if not more:
                    raise Failed("the connection was closed")
                answer += more
            took.append((time.perf_counter() - began) * 1e6)
            if answer[9:12] != b"200":
                raise Failed(answer[:400].decode(errors="replace"))
    return took


def whole(answer: bytes) -> int | None:
    """The length of an answer with its head; none while that is not there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = answer.find(b"content-length: ", 0, end)
    if at < 0:
        raise Failed(f"an answer without a length: {answer[:end].decode(errors='replace')}")
    return end + 4 + int(answer[at + 16 : answer.find(b"\r", at)])


def get(path: str) -> bytes:
    """A request as it is sent."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, length: int, media: str = "application/x-ndjson") -> bytes:
    """The head of a request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode()
