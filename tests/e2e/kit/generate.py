"""A load of events as somebody's tracker would send them: nested, odd, each with an embedding."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

DIM = 384
SCHEMA = {
    "fields": [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "big", "type": "uint64"},
        {"name": "signed", "type": "int64"},
        {"name": "embedding", "type": "vector", "dim": DIM},
    ]
}
_NAMES = ["Zoë", "Łukasz", "王小明", "محمد", "Ναταλία", "👩‍🚀 Ada", "O'Brien", 'say "hi"', "tab\there", "line\nbreak"]
_KINDS = ["view", "click", "buy", "détour", "退出"]


def write(path: Path, count: int, seed: int = 14) -> int:
    """Writes `count` events as NDJSON; the size of the file."""
    with path.open("w", encoding="utf-8") as out:
        for event in _events(count, random.Random(seed)):
            vector = event.pop("embedding")
            # Numbers as Python prints doubles: wider than the column, which takes the nearest float32.
            text = json.dumps(event, ensure_ascii=event["signed"] % 2 == 0)
            out.write(f'{text[:-1]}, "embedding": {vector!r}}}\n')
    return path.stat().st_size


def _events(count: int, dice: random.Random) -> Iterator[dict]:
    for number in range(count):
        yield {
            "id": f"event-{number:06}",
            "big": 2**53 + 1 + number * 900_719_925_474_099,
            "signed": -(2**53) - 1 - number,
            "kind": dice.choice(_KINDS),
            "user": {
                "name": dice.choice(_NAMES),
                "age": dice.choice([None, dice.randrange(18, 90)]),
                "address": {
                    "city": dice.choice(["Zürich", "東京", None]),
                    "geo": {"lat": dice.uniform(-90, 90), "lon": dice.uniform(-180, 180)},
                },
            },
            "tags": [dice.choice(_NAMES) for _ in range(dice.randrange(4))] or ["none"],
            "cart": [{"sku": f"s{n}", "price": dice.randrange(1, 999) / 4, "gift": dice.choice([None, True])} for n in range(2)],
            "note": dice.choice([None, "x" * dice.randrange(100)]),
            "embedding": [dice.gauss(0, 0.3) for _ in range(DIM)],
        }
