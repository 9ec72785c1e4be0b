"""Server-Sent Events as the WHATWG reads them, and streams on raw sockets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass
class Event:
    """One event; `name` is empty for a record, `id` is the last one set so far."""

    name: str
    id: str
    data: bytes


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a body that comes in chunks; what is unfinished at its end is dropped."""
    rest, name, last_id, data = b"", "", "", []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line == b"":
                if data:
                    yield Event(name, last_id, b"\n".join(data))
                name, data = "", []
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode()
            elif field == b"id":
                last_id = value.decode()
