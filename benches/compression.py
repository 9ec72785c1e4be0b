#!/usr/bin/env python3
"""What is stored of log-like records: `compression.py BINARY [RECORDS]`, with a Python that has numpy and pyarrow.

Each record has an id (64 random bits in hex), a time (a random step after the last), a user (one of 2,000), level, component,
method and status (few values, unevenly), a latency (log-normal, two decimals), a message of 4 to 13 words out of 26, and a vector
of 128 float32 with six decimals, made of 16 hidden normal variables, so that its elements are correlated. The seed is fixed.

The same records are appended to topics with each codec and flushed; `stats` tells what is stored. Beside it stand the NDJSON,
and a Parquet file of the same columns by pyarrow with zstd. Printed as a table, sizes in MB, with the seconds that append and
flush took, medians of three reads of one record at random, and the ratio to the NDJSON.
"""

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet

WORDS = ("connection refused retry timeout after backend replica shard index commit flush session token expired upstream"
         " returned status while reading body from cache miss for key").split()
STRINGS = ("id", "user", "level", "component", "method", "message")
DIM, HIDDEN, BATCH = 128, 16, 10_000
CODECS = ("none", "lz4", "zstd")
SCHEMA = {"fields": [
    {"name": "id", "type": "string"}, {"name": "time", "type": "timestamp"}, {"name": "user", "type": "string"},
    {"name": "level", "type": "string"}, {"name": "component", "type": "string"}, {"name": "method", "type": "string"},
    {"name": "status", "type": "int64"}, {"name": "latency_ms", "type": "float64"}, {"name": "message", "type": "string"},
    {"name": "embedding", "type": "vector", "dim": DIM},
]}


def records(count: int):
    """The records, a batch at a time."""
    draw, grid = random.Random(7), numpy.random.default_rng(7)
    mixing = grid.normal(size=(HIDDEN, DIM)) / 4
    micros = 1_760_000_000_000_000
    for first in range(0, count, BATCH):
        batch = []
        vectors = numpy.round(grid.normal(size=(min(BATCH, count - first), HIDDEN)) @ mixing, 6)
        for vector in vectors:
            micros += draw.randrange(1, 2_000)
            whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 1_000_000))
            batch.append({
                "id": f"{draw.getrandbits(64):016x}", "time": f"{whole}.{micros % 1_000_000:06}Z",
                "user": f"user-{draw.randrange(2_000):05}",
                "level": draw.choices(("INFO", "WARN", "ERROR"), (90, 8, 2))[0],
                "component": draw.choice(("gateway", "auth", "search", "ingest", "worker", "mailer")),
                "method": draw.choice(("GET", "PUT", "POST", "DELETE")),
                "status": draw.choices((200, 201, 404, 500), (85, 8, 5, 2))[0],
                "latency_ms": round(draw.lognormvariate(2, 1), 2),
                "message": " ".join(draw.choice(WORDS) for _ in range(draw.randrange(4, 14))),
                "embedding": vector.tolist(),
            })
        yield batch


def write(folder: Path, count: int) -> tuple[Path, Path]:
    """The records as NDJSON and as Parquet."""
    text, table = folder / "records.ndjson", folder / "records.parquet"
    types = [(name, pyarrow.string()) for name in STRINGS]
    types += [("time", pyarrow.timestamp("us", "UTC")), ("status", pyarrow.int64()), ("latency_ms", pyarrow.float64()),
              ("embedding", pyarrow.list_(pyarrow.float32(), DIM))]
    schema = pyarrow.schema(types)
    with open(text, "w") as lines, pyarrow.parquet.ParquetWriter(table, schema, compression="zstd") as rows:
        for batch in records(count):
            lines.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in batch)
            columns = {name: [record[name] for record in batch] for name in schema.names}
            columns["time"] = pyarrow.array(columns["time"]).cast(pyarrow.timestamp("us", "UTC"))
            rows.write_table(pyarrow.table(columns, schema=schema))
    return text, table


def call(method: str, url: str, body=None, headers=None):
    """An answer as JSON."""
    request = urllib.request.Request(url, body, headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def ready(base: str) -> None:
    """Waits until the server has started."""
    while True:
        try:
            return call("GET", f"{base}/readyz")
        except urllib.error.HTTPError:
            time.sleep(0.02)


def load(base: str, codec: str, text: Path, count: int) -> tuple[float, float, dict]:
    """Appends the file to a topic with a codec: the seconds, the median milliseconds of a read, the topic's figures."""
    topic = f"{base}/v1/topics/logs-{codec}"
    call("PUT", topic, json.dumps({"schema": SCHEMA, "backend_options": {"compression": codec}}).encode())
    begin = time.monotonic()
    subprocess.run(["curl", "-sS", "--fail-with-body", "-o", os.devnull, "-T", text, "-X", "POST", "-H",
                    "content-type: application/x-ndjson", f"{topic}/records?atomic=false"], check=True)
    call("POST", f"{topic}/flush", b"")
    secs = time.monotonic() - begin
    times = []
    for _ in range(300):
        begin = time.perf_counter()
        call("GET", f"{topic}/records/{random.randrange(count)}")
        times.append((time.perf_counter() - begin) * 1_000)
    return secs, statistics.median(times), call("GET", f"{topic}/stats")


def main() -> None:
    """Prints the table."""
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="persisting-compression-") as folder, socket.socket() as free:
        folder = Path(folder)
        text, table = write(folder, count)
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        server = subprocess.Popen([binary, "serve", "--listen", address, "--data-dir", folder / "data"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            server.stdout.readline()
            base = f"http://{address}"
            ready(base)
            raw = text.stat().st_size
            vectors = count * DIM * 4
            print(f"{count:,} records; vectors alone {vectors / 1e6:,.0f} MB")
            print("| stored as | MB | without vectors | of the NDJSON | append and flush | one record, median |")
            print("|---|---|---|---|---|---|")
            print(f"| NDJSON | {raw / 1e6:,.1f} | | 1 | | |")
            size, meta = table.stat().st_size, pyarrow.parquet.ParquetFile(table).metadata
            rest = size - sum(
                group.column(at).total_compressed_size
                for group in map(meta.row_group, range(meta.num_row_groups)) for at in range(group.num_columns)
                if group.column(at).path_in_schema.startswith("embedding"))
            print(f"| Parquet, zstd (pyarrow) | {size / 1e6:,.1f} | {rest / 1e6:,.1f} | {size / raw:.3f} | | |")
            for codec in CODECS:
                secs, median, stats = load(base, codec, text, count)
                size = stats["stored_bytes"]
                print(f"| `compression: {codec}` | {size / 1e6:,.1f} | {(size - vectors) / 1e6:,.1f} | {size / raw:.3f} |"
                      f" {secs:.1f} s | {median:.2f} ms |", flush=True)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
