"""pylance in process: what a program without any server would do. Prints JSON in the shape of `persisting bench`.

Run by run.py in the environment that setup.sh makes: `pylance_peer.py append|scan|get FOLDER [--rows N] [--seconds S]`.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path

import lance
import pyarrow as pa

KINDS = ["view", "click", "order", "refund", "search", "login", "logout", "share"]
BATCH_ROWS = 8192
PAGE_ROWS = 100


def table(rows: int) -> pa.Table:
    """Rows of the same ten members and of about the same length as the records of `persisting bench`."""
    numbers = list(range(rows))
    text = "amber basin cedar delta ember fjord grove"
    columns = {
        "_offset": pa.array(numbers, pa.uint64()),
        "_timestamp": pa.array([1_764_104_662_000_000 + number for number in numbers], pa.timestamp("us", "UTC")),
        "id": pa.array([f"~~{number:016}.{1_764_104_662_000_000_000 + number:019}~~" for number in numbers]),
        "n": pa.array([1_000_000_000 + number for number in numbers]),
        "price": pa.array([100.25 + number % 100 for number in numbers]),
        "ok": pa.array([number % 3 > 0 for number in numbers]),
        "kind": pa.array([KINDS[number % 8] for number in numbers]),
        "user": pa.array([f"u{number * 7919 % 100_000:05}" for number in numbers]),
        "lat": pa.array([50.125 + number % 10 for number in numbers]),
        "count": pa.array([40 + number % 10 for number in numbers]),
        "at": pa.array([1_700_000_000 + number for number in numbers]),
        "text": pa.array([f"{text[number % 13:]}" for number in numbers]),
    }
    return pa.table(columns)


def sync(folder: Path) -> None:
    """What Lance on a local disk does not do itself: syncs every file of the dataset and every folder."""
    for place, _, names in os.walk(folder):
        for name in [*names, "."]:
            handle = os.open(os.path.join(place, name), os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


def append(dataset: Path, rows: int, _: float) -> dict:
    """Appends all rows from Arrow in one commit, and syncs what was written."""
    given = table(rows)
    lance.write_dataset(given.slice(0, 0), str(dataset))
    began, spent = time.monotonic(), time.process_time()
    lance.write_dataset(given, str(dataset), mode="append")
    sync(dataset)
    return figures("commit", time.monotonic() - began, time.process_time() - spent, 1, rows)


def scan(dataset: Path, rows: int, seconds: float) -> dict:
    """Reads all columns of all rows, again and again."""
    opened, took, spent = lance.dataset(str(dataset)), [], time.process_time()
    while sum(took) < seconds:
        began = time.monotonic()
        count = sum(batch.num_rows for batch in opened.scanner(batch_size=BATCH_ROWS).to_batches())
        took.append(time.monotonic() - began)
        assert count == rows, f"{count} rows of {rows}"
    each = (time.process_time() - spent) / len(took)
    return figures("catchup", sorted(took)[len(took) // 2], each, 1, rows)


def get(dataset: Path, rows: int, seconds: float) -> dict:
    """Gets pages of rows at random offsets."""
    opened, took, spent = lance.dataset(str(dataset)), [], time.process_time()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        first = random.randrange(rows - PAGE_ROWS)
        began = time.monotonic()
        page = opened.take(list(range(first, first + PAGE_ROWS)))
        took.append(time.monotonic() - began)
        assert page["_offset"][0].as_py() == first and page.num_rows == PAGE_ROWS
    return figures("get", sum(took), time.process_time() - spent, len(took), len(took) * PAGE_ROWS, took)


def figures(
    name: str, seconds: float, cpu: float, requests: int, records: int, latencies: list[float] | None = None
) -> dict:
    """Figures as `persisting bench` tells them."""
    took = sorted(latencies or [seconds])
    at = {name: took[min(int(len(took) * share), len(took) - 1)] * 1e6 for name, share in (("p50", 0.5), ("p99", 0.99))}
    rates = {"requests_per_second": requests / seconds, "records_per_second": records / seconds}
    part = {"name": name, "seconds": seconds, "requests": requests, "records": records, **rates, "latency_us": at}
    return {"ok": True, "parts": [part], "server_cpu_seconds_per_million_records": cpu * 1e6 / records}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=["append", "scan", "get"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    run = {"append": append, "scan": scan, "get": get}[given.workload]
    told = run(given.folder / "rows.lance", given.rows, given.seconds)
    print(json.dumps(told))
