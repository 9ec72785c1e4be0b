"""Run by the virtual environment's Python: `index_of_others.py BASE TOPIC`.

An index that pylance makes on a topic's dataset goes on to answer right when the server merges the fragments that it covers.
"""

import json
import sys
import time
import urllib.request
from pathlib import Path

import lance

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit.check import check, equal


def main(base: str, topic: str) -> None:
    """Indexes, appends, merges, asks."""
    path = f"{base}/v1/topics/{topic}"
    call("PUT", path, {"backend_options": {"batch_size": 1, "flush_interval_ms": 1}})
    for number in range(6):
        call("POST", f"{path}/records?ack=committed", {"n": number})
    uri = call("GET", path)["dataset_uri"]
    lance.dataset(uri).create_scalar_index("n", "BTREE")
    for number in range(6, 9):
        call("POST", f"{path}/records?ack=committed", {"n": number})
    call("POST", f"{path}/compact")
    deadline = time.monotonic() + 30
    while call("GET", f"{path}/stats")["fragments"] > 1:
        check(time.monotonic() < deadline, "fragments are merged")
        time.sleep(0.05)
    dataset = lance.dataset(uri)
    for number in range(9):
        found = [(row["n"], row["_offset"]) for row in dataset.to_table(filter=f"n = {number}").to_pylist()]
        equal(found, [(number, number)], "what the index finds after a merge")
    equal(call("GET", path)["state"], "open", "the topic's state")
    print("an index by pylance finds all 9 records after the server has merged the fragments that it covers")


def call(method: str, url: str, body=None) -> dict:
    """An answer as JSON."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
