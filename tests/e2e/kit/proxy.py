"""A TCP proxy between a browser and the server that can lose connections."""

import socket
import struct
import threading


class Proxy:
    """Forwards to one port, tells of the requests that passed, and cuts when told to."""

    def __init__(self, upstream_port: int):
        self.upstream = ("127.0.0.1", upstream_port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests: list[str] = []
        self.cuts = 0
        self._lock = threading.Lock()
        self._live: set[tuple[socket.socket, socket.socket]] = set()
        self._refusing = False
        self._cut_after: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def live(self) -> int:
        """How many connections pass through it now."""
        with self._lock:
            return len(self._live)

    def cut(self) -> None:
        """Resets every connection, at once."""
        with self._lock:
            live, self._live = self._live, set()
            self.cuts += 1
        for pair in live:
            for end in pair:
                _reset(end)

    def cut_after(self, count: int) -> None:
        """Resets every connection within the bytes from the server: after the next `count` of them."""
        with self._lock:
            self._cut_after = count

    def refuse(self, refusing: bool) -> None:
        """Whether new connections are reset before a byte has passed."""
        with self._lock:
            self._refusing = refusing

    def close(self) -> None:
        """Ends it."""
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.upstream, timeout=10)
                server.settimeout(None)
            except OSError:
                _reset(client)
                continue
            pair = (client, server)
            with self._lock:
                refused = self._refusing
                if not refused:
                    self._live.add(pair)
            if refused:
                _reset(client)
                _reset(server)
                continue
            threading.Thread(target=self._up, args=pair, daemon=True).start()
            threading.Thread(target=self._down, args=pair, daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """From the browser; its requests have no bodies."""
        head = b""
        while data := _receive(client):
            head += data
            *whole, head = head.split(b"\r\n\r\n")
            with self._lock:
                self.requests += [text.decode("latin-1") for text in whole]
            if not _send(server, data):
                break
        self._drop(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """From the server."""
        while data := _receive(server):
            with self._lock:
                allowed = self._cut_after
                if allowed is not None:
                    self._cut_after = allowed - len(data) if len(data) < allowed else None
            if allowed is not None and len(data) >= allowed:
                _send(client, data[:allowed])
                # An orderly end for once: the browser has read all that came before.
                client.shutdown(socket.SHUT_WR)
                self.cut()
                return
            if not _send(client, data):
                break
        self._drop(client, server)

    def _drop(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._live.discard((client, server))
        for end in (client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _send(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
        return True
    except OSError:
        return False


def _reset(end: socket.socket) -> None:
    """Closes with a reset, so that the other side sees a lost connection."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
