#!/usr/bin/env python3
"""Search: `search.py BINARY [--rows N] [--dim D] [--queries Q]`, with a Python that has numpy, pyarrow, pylance and lancedb.

Rows are a mixture of 256 Gaussians that overlap, in a space of 12 dimensions which lies slanted in that of the vectors, with a
little noise in all dimensions: as of embeddings, whose neighbours lie in several partitions of an index. Queries come from the
same mixture. The seed is fixed. One topic holds the rows in one fragment. For each kind of index (none first) the same questions are asked
of the server over one kept connection, and of LanceDB in this process on the same dataset, with the same index and the same
`nprobes`, `refine_factor` and `ef`, which are those that the server chooses. Printed for each: recall@10 against brute force in
numpy, p50 and p99 in milliseconds, and in how many partitions the ten true neighbours of a query lie on average.
"""

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lance
import lancedb
import numpy
import pyarrow

ARROW = "application/vnd.apache.arrow.stream"
K = 10
# Dimensions in which rows really differ.
LATENT = 12
# What the server chooses where nothing is asked for.
KINDS = {
    "none": None,
    "IVF_FLAT": {"refine": None, "ef": None},
    "IVF_PQ": {"refine": 10, "ef": None},
    "IVF_HNSW_SQ": {"refine": 2, "ef": 100},
}


class Server:
    """A server on a folder, and one connection to it."""

    def __init__(self, binary: Path, folder: str):
        self.folder = folder
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", folder]
        environment = {**os.environ, "PERSISTING_LOG": "warn"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        self.address = self.process.stdout.readline().strip().removeprefix("listening on http://")
        self.connection = http.client.HTTPConnection(self.address, timeout=600)
        while self.call("GET", "/readyz", raises=False)[0] != 200:  # recovering
            time.sleep(0.05)

    def call(self, method: str, path: str, body=None, headers=None, raises: bool = True):
        """Status and body of one request."""
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        answer = response.read()
        if raises and response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer[:500]!r}")
        return response.status, answer

    def stop(self) -> None:
        """Stops it in order."""
        self.process.terminate()
        self.process.wait(60)


def mixture(random, centres, slant, rows: int) -> numpy.ndarray:
    """Rows around the centres."""
    latent, dim = slant.shape
    chosen = random.integers(0, len(centres), rows)
    around = random.standard_normal((rows, latent)) * random.choice([0.6, 1.2], (rows, 1))
    noise = 0.05 * random.standard_normal((rows, dim))
    return ((0.7 * centres[chosen] + around) @ slant + noise).astype("float32")


def neighbours(vectors: numpy.ndarray, queries: numpy.ndarray) -> list[set[int]]:
    """The true nearest of each query."""
    squares = (vectors**2).sum(1)
    found = []
    for query in queries:
        distances = squares - 2 * (vectors @ query)
        found.append(set(numpy.argpartition(distances, K)[:K].tolist()))
    return found


def measured(ask, queries, truth) -> tuple[float, float, float]:
    """Recall, p50 and p99 in milliseconds."""
    # Once before, so that neither reads partitions of the index from files.
    for query in queries:
        ask(query)
    hits, took = 0, []
    for query, true in zip(queries, truth):
        begin = time.perf_counter()
        found = ask(query)
        took.append((time.perf_counter() - begin) * 1e3)
        hits += len(true & set(found))
    took.sort()
    return hits / (K * len(queries)), statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))]


def partitions(uri: str, name: str, vectors, truth) -> float:
    """In how many partitions of an index the true neighbours lie, on average."""
    statistics_of = lance.dataset(uri).stats.index_stats(name)
    centroids = numpy.array(statistics_of["indices"][0].get("centroids", []), dtype="float32")
    if centroids.size == 0:
        return float("nan")
    squares = (centroids**2).sum(1)
    rows = sorted(set().union(*truth))
    nearest = {row: int(numpy.argmin(squares - 2 * (centroids @ vectors[row]))) for row in rows}
    return statistics.mean(len({nearest[row] for row in true}) for true in truth)


def main() -> None:
    """Everything, printed as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--partitions", type=int, default=None, help="of an index; the square root of the rows unless given")
    given = parser.parse_args()
    random = numpy.random.default_rng(11)
    centres = random.standard_normal((256, LATENT))
    slant = random.standard_normal((LATENT, given.dim)) / LATENT**0.5
    vectors = mixture(random, centres, slant, given.rows)
    queries = mixture(random, centres, slant, given.queries)
    truth = neighbours(vectors, queries)
    count = given.partitions or max(1, round(given.rows**0.5))
    print(f"{given.rows:,} rows of {given.dim} float32, {given.queries} queries, {count} partitions")
    print(f"{'index':>12} {'who':>10} {'recall@10':>9} {'p50 ms':>8} {'p99 ms':>8}  partitions of the true ten")
    with tempfile.TemporaryDirectory(prefix="persisting-search-") as folder:
        server = Server(given.binary.resolve(), folder)
        fill(server, vectors)
        uri = json.loads(server.call("GET", "/v1/topics/rows")[1])["dataset_uri"]
        for kind, effort in KINDS.items():
            if effort is not None and not make_index(server, kind, count):
                # A server without indexes of its own finds those of others when it opens the dataset.
                server.stop()
                make_index_outside(uri, kind, count, given.dim)
                server = Server(given.binary.resolve(), folder)
            spread = partitions(uri, "by_vector", vectors, truth) if effort else float("nan")
            for who, ask in (("persisting", of_server(server)), ("lancedb", of_lancedb(folder, effort, count))):
                recall, p50, p99 = measured(ask, queries, truth)
                print(f"{kind:>12} {who:>10} {recall:9.3f} {p50:8.2f} {p99:8.2f}  {spread:.1f}", flush=True)
        server.stop()


def fill(server: Server, vectors: numpy.ndarray) -> None:
    """A topic with the vectors."""
    dim = vectors.shape[1]
    fields = [{"name": "n", "type": "int64"}, {"name": "v", "type": "vector", "dim": dim}]
    server.call("PUT", "/v1/topics/rows", json.dumps({"schema": {"fields": fields}}))
    for first in range(0, len(vectors), 20_000):
        some = vectors[first : first + 20_000]
        column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(some.ravel()), dim)
        table = pyarrow.table({"n": pyarrow.array(range(first, first + len(some)), pyarrow.int64()), "v": column})
        out = io.BytesIO()
        with pyarrow.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        server.call("POST", "/v1/topics/rows/records", out.getvalue(), {"Content-Type": ARROW})
    server.call("POST", "/v1/topics/rows/flush")


def make_index(server: Server, kind: str, count: int) -> bool:
    """An index in the place of the last one, by the server; whether it makes any."""
    server.call("DELETE", "/v1/topics/rows/indexes/by_vector", raises=False)
    ask = {"column": "v", "type": kind.lower(), "name": "by_vector", "params": {"num_partitions": count}}
    status, answer = server.call("POST", "/v1/topics/rows/indexes", json.dumps(ask), raises=False)
    if status == 400 and b"unsupported_by_backend" in answer:
        return False
    if status != 202:
        raise SystemExit(f"no index: {status} {answer!r}")
    while json.loads(server.call("GET", "/v1/topics/rows/indexes/by_vector")[1])["state"] == "building":
        time.sleep(0.2)
    return True


def make_index_outside(uri: str, kind: str, count: int, dim: int) -> None:
    """The same by pylance."""
    options = {"num_partitions": count, "name": "by_vector", "replace": True, "metric": "l2"}
    if kind == "IVF_PQ":
        options["num_sub_vectors"] = dim // 8
    lance.dataset(uri).create_index("v", kind, **options)


def of_server(server: Server):
    """Asks the server."""

    def ask(query) -> list[int]:
        body = json.dumps({"vector": {"column": "v", "query": query.tolist()}, "k": K, "fields": "n"})
        answer = json.loads(server.call("POST", "/v1/topics/rows/search", body)[1])
        return [hit["offset"] for hit in answer["hits"]]

    return ask


def of_lancedb(folder: str, effort, count: int):
    """Asks LanceDB in this process, on the same dataset."""
    table = lancedb.connect(f"{folder}/topics").open_table("rows")

    def ask(query) -> list[int]:
        asked = table.search(query, vector_column_name="v").select(["_offset", "n"]).limit(K)
        if effort is None:
            asked = asked.bypass_vector_index()
        else:
            asked = asked.nprobes(max(20, count // 10))
            asked = asked.refine_factor(effort["refine"]) if effort["refine"] else asked
            asked = asked.ef(effort["ef"]) if effort["ef"] else asked
        return asked.to_arrow()["_offset"].to_pylist()

    return ask


if __name__ == "__main__":
    sys.exit(main())
