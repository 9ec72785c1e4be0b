"""Values as they were sent against values as they are read: equal at each column's width."""

import array
import json
from collections.abc import Iterable

from kit.check import Failed, equal, short


def pruned(value):
    """The value without members that are null: absent and null are the same in columns. Nulls in lists stay."""
    if isinstance(value, dict):
        return {name: pruned(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [pruned(item) for item in value]
    return value


def as_float32(numbers: list) -> bytes:
    """The nearest float32 of each number."""
    return array.array("f", numbers).tobytes()


def same_values(sent: Iterable[bytes | str], seen: Iterable[dict], vector: str, what: str) -> int:
    """Fails at the first record that is not the one sent; the number of records."""
    count = 0
    seen = iter(seen)
    for line in sent:
        wanted, got = pruned(json.loads(line)), next(seen, None)
        if got is None:
            raise Failed(f"{what}: {count} records, and more were sent")
        got = dict(got)
        if as_float32(wanted.pop(vector)) != as_float32(got.pop(vector)):
            raise Failed(f"{what}: the vector of record {count} differs")
        if wanted != got:
            raise Failed(f"{what}: record {count} reads\n  {short(repr(got))}\nand was sent as\n  {short(repr(wanted))}")
        count += 1
    equal(sum(1 for _ in seen), 0, f"{what}: records that were not sent")
    return count
