"""Opens a topic's dataset with pylance and compares it with what a client knows.

usage: check.py EXPECTED.json, which is {"dataset", "earliest", "tail", "records": [[offset, timestamp, value], ...]};
values are without nulls, and with whole floats as integers.
"""

import json
import re
import sys

import lance


def plain(value):
    """A value as the expectation has it."""
    if isinstance(value, dict):
        return {decoded(name): plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def decoded(column):
    """The key of a column."""
    if column == "%":
        return ""
    return re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), column)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = json.load(file)
    dataset = lance.dataset(expected["dataset"])
    offsets = dataset.to_table(columns=["_offset"])["_offset"].to_pylist()
    earliest, tail = expected["earliest"], expected["tail"]
    base = offsets[0] if offsets else tail
    if offsets != list(range(base, base + len(offsets))):
        odd = next((at for at, offset in enumerate(offsets) if offset != base + at), None)
        sys.exit(f"_offset is not dense: row {odd} has {offsets[odd]}, row 0 has {base}")
    if dataset.count_rows() != len(offsets):
        sys.exit(f"count_rows is {dataset.count_rows()}, but {len(offsets)} offsets came")
    if base > earliest or base + len(offsets) != tail:
        sys.exit(f"rows from {base} to {base + len(offsets)}, expected from {earliest} at most to {tail}")
    records = expected["records"]
    rows = dataset.take([offset - base for offset, _, _ in records]).to_pylist() if records else []
    for (offset, timestamp, value), row in zip(records, rows, strict=True):
        found_offset, found_time = row.pop("_offset"), row.pop("_timestamp")
        found_time = found_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if (found_offset, found_time, plain(row)) != (offset, timestamp, value):
            sys.exit(f"offset {offset}: expected {timestamp} {value}\nfound {found_offset} {found_time} {plain(row)}")


main()
