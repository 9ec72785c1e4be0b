"""Records of 200 bytes with ten members, as `persisting bench` makes them, and as the server prints them again."""

import json
import random

WORDS = "amber birch cedar delta ember fjord grove heath islet jetty kelp ledge marsh north oasis pier".split()
KINDS = ["view", "click", "order", "login"]


def record(number: int, chance: random.Random, length: int = 200) -> bytes:
    """One record, its members in the order in which they are printed."""
    fields = {
        "id": f"{number:016x}.{chance.getrandbits(64):016x}",
        "n": chance.getrandbits(31),
        "price": chance.randrange(4, 4000) / 4 + 0.125,
        "ok": chance.random() < 0.5,
        "kind": chance.choice(KINDS),
        "user": f"u{chance.randrange(100_000):05}",
        "lat": chance.randrange(-90, 90) + 0.125,
        "count": chance.randrange(10, 100),
        "at": chance.randrange(1_600_000_000, 1_900_000_000),
        "text": "",
    }
    room = length - len(json.dumps(fields, separators=(",", ":")))
    text = " ".join(chance.choices(WORDS, k=max(room, 0) // 4 + 2))
    fields["text"] = text[: max(room, 0)]
    return json.dumps(fields, separators=(",", ":")).encode()


def bodies(count: int, batch: int, seed: int = 1) -> list[bytes]:
    """Bodies of so many lines; all of one length."""
    chance = random.Random(seed)
    return [b"".join(record(number * batch + line, chance) + b"\n" for line in range(batch)) for number in range(count)]


def values(page: bytes) -> bytes:
    """The values of an answer in lines, as a body of them was sent."""
    mark = b'"value":'
    return b"".join(line[line.index(mark) + len(mark) : -1] + b"\n" for line in page.splitlines() if line)
