"""Reads an answer as fast as Python's sockets do, and counts the records in it by the marks that they carry."""

import socket
import time

# A record's mark is ~~digits.digits~~, and nothing else has this letter, the framing of chunks neither: the bytes are
# counted as they come.
MARK = b"~"
MARKS_OF_A_RECORD = 4


def read(port: int, path: str, headers: dict[str, str], records: int, patience: float) -> tuple[int, int, float]:
    """One GET, until so many records have come or it ends: records, bytes, and seconds."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers.items())]
    room = bytearray(1 << 20)
    marks = length = 0
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        while marks < records * MARKS_OF_A_RECORD and (count := connection.recv_into(room)):
            if not length and not room.startswith(b"HTTP/1.1 200 "):
                raise OSError(room[: min(count, 300)].decode(errors="replace"))
            marks += room.count(MARK, 0, count)
            length += count
    return marks // MARKS_OF_A_RECORD, length, time.monotonic() - began
