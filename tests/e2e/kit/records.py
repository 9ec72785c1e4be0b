"""Record objects as the very bytes that the server sent: nothing is parsed and printed again."""

import json
import re

from kit.api import Api
from kit.check import Failed, check, equal, short
from kit.sse import events

_RECORD = re.compile(rb'\{"offset":(\d+),"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)","value":(\{.*\})\}', re.DOTALL)
_decoder = json.JSONDecoder()


def offset_of(record: bytes) -> int:
    """The offset of a record object."""
    return int(_parts(record).group(1))


def value_of(record: bytes) -> bytes:
    """The bytes of a record object's value."""
    return _parts(record).group(3)


def _parts(record: bytes) -> re.Match:
    found = _RECORD.fullmatch(record)
    if not found:
        raise Failed(f"no record object: {short(record.decode(errors='replace'))}")
    return found


def in_page(body: bytes) -> list[bytes]:
    """The record objects of a JSON page, cut out of its bytes."""
    text = body.decode()
    head = re.match(r'\{"topic":"[^"]*","epoch":\d+,"records":\[', text)
    check(head is not None, f"no page: {short(text)}")
    found, at = [], head.end()
    while text[at] != "]":
        _, end = _decoder.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = end + 1 if text[end] == "," else end
    return found


def by_pages(api: Api, topic: str, limit: int = 1000) -> list[bytes]:
    """All records, page after page."""
    found, offset = [], 0
    while True:
        answer = api.get(f"/v1/topics/{topic}/records?offset={offset}&limit={limit}").ok(200)
        found += in_page(answer.body)
        page = answer.json()
        if page["up_to_date"]:
            return found
        check(page["next_offset"] > offset, f"a page of {topic} at {offset} that leads nowhere")
        offset = page["next_offset"]


def by_lines(api: Api, topic: str) -> list[bytes]:
    """All records as NDJSON."""
    body = api.get(f"/v1/topics/{topic}/records", headers={"Accept": "application/x-ndjson"}, timeout=120).ok(200).body
    check(body.endswith(b"\n") or not body, "NDJSON that ends within a line")
    return body.split(b"\n")[:-1]


def by_stream(api: Api, topic: str) -> list[bytes]:
    """All records as events; their ids must be those of their offsets."""
    body = api.get(f"/v1/topics/{topic}/stream?offset=0&block=false", timeout=120).ok(200).body
    found = []
    for event in events([body]):
        check(event.name in ("", "position", "schema", "caught-up", "end"), f"an event {event.name}: {short(event.data.decode())}")
        if event.name == "":
            equal(int(event.id.split(":")[1]), offset_of(event.data), "the id of an event against its record")
            found.append(event.data)
    return found


def by_stream_lines(api: Api, topic: str) -> list[bytes]:
    """All records as the lines of a stream."""
    path = f"/v1/topics/{topic}/stream?offset=earliest&block=false"
    body = api.get(path, headers={"Accept": "application/x-ndjson"}, timeout=120).ok(200).body
    lines = [line for line in body.split(b"\n") if line]
    check(lines[-1].startswith(b'{"event":"end"'), f"a stream as NDJSON that ends with {short(lines[-1].decode())}")
    return [line for line in lines if not line.startswith(b'{"event":')]


def one_by_one(api: Api, topic: str, count: int) -> list[bytes]:
    """Each record by its offset."""
    return [api.get(f"/v1/topics/{topic}/records/{offset}").ok(200).body for offset in range(count)]


def read_every_way(api: Api, topic: str, when: str) -> list[bytes]:
    """All records; fails unless every reading operation gives the same bytes, gapless from 0."""
    lines = by_lines(api, topic)
    for way, other in (
        ("JSON pages", by_pages(api, topic)),
        ("small JSON pages", by_pages(api, topic, limit=7)),
        ("stream", by_stream(api, topic)),
        ("stream as NDJSON", by_stream_lines(api, topic)),
        ("single records", one_by_one(api, topic, len(lines))),
    ):
        same_bytes(other, lines, f"{when}, {way} against NDJSON")
    equal([offset_of(record) for record in lines], list(range(len(lines))), f"{when}, the offsets")
    return lines


def same_bytes(seen: list[bytes], wanted: list[bytes], what: str) -> None:
    """Fails at the first record whose bytes differ."""
    for index, (one, other) in enumerate(zip(seen, wanted)):
        if one != other:
            at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
            near = slice(max(0, at - 60), at + 60)
            raise Failed(f"{what}: record {index} differs at byte {at}:\n  {one[near]!r}\n  {other[near]!r}")
    equal(len(seen), len(wanted), f"{what}: the number of records")
