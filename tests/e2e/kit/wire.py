"""A lean HTTP/1.1 client that keeps its connection: the load generator shares the machine with the server."""

import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from kit.check import Failed


class Wire:
    """One connection to the server."""

    def __init__(self, base: str):
        address = urlsplit(base)
        self.host = address.netloc
        self.socket = socket.create_connection((address.hostname, address.port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one call."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.socket.sendall(head.encode() + b"\r\n" + (body or b""))
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            self._more()
        head, self.rest = self.rest[:end].lower(), self.rest[end + 4 :]
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise Failed(f"{method} {path} has no Content-Length: {head!r}")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        while len(self.rest) < length:
            self._more()
        found, self.rest = self.rest[:length], self.rest[length:]
        return int(head[9:12]), found

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise Failed("the server closed the connection")
        self.rest += data

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()


def by_many(base: str, clients: int, count: int, work: Callable[[Wire, int], None]) -> None:
    """Calls `work` for each number below `count`, shared out among clients with a connection each."""
    numbers, failures = iter(range(count)), []
    lock = threading.Lock()

    def client() -> None:
        wire = Wire(base)
        try:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                work(wire, number)
        except Exception as failure:
            failures.append(failure)
        finally:
            wire.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f"a client of {clients}: {failures[0]}") from failures[0]
