"""`arrow_client.py BASE ROWS`: appends rows with pyarrow, reads them with pyarrow and Polars; run in the virtual environment."""

import io
import json
import sys
import time
import urllib.request

import lance
import numpy
import polars
import pyarrow
import pyarrow.parquet

ARROW = "application/vnd.apache.arrow.stream"


def main(base: str, rows: int) -> None:
    """Each way in and out, timed; fails where something is not equal."""
    topics = f"{base}/v1/topics"
    table = made(rows)
    body, secs = timed(lambda: stream(table))
    receipt, secs = timed(lambda: json.loads(call(f"{topics}/rows/records?atomic=false", body, content_type=ARROW)))
    assert receipt["count"] == rows, receipt
    print(f"{rows:,} rows, {len(body) / 1e6:.0f} MB, appended in {secs:.2f} s: {rows / secs:,.0f} rows/s")

    answer, secs = timed(lambda: call(f"{topics}/rows/records", accept=ARROW))
    same(pyarrow.ipc.open_stream(answer).read_all(), table, "read from the log")
    print(f"read back equal in {secs:.2f} s, {len(answer) / 1e6:.0f} MB")
    _, secs = timed(lambda: call(f"{topics}/rows/flush", b""))
    print(f"flushed in {secs:.2f} s")
    answer, secs = timed(lambda: call(f"{topics}/rows/records", accept=ARROW))
    same(pyarrow.ipc.open_stream(answer).read_all(), table, "read from the dataset")
    print(f"read back equal from the dataset in {secs:.2f} s")

    file, secs = timed(lambda: call(f"{topics}/rows/export?format=parquet"))
    same(pyarrow.parquet.read_table(io.BytesIO(file)), table, "the Parquet file")
    frame = polars.read_parquet(io.BytesIO(file))
    assert frame.height == rows and frame["id"].to_list() == table["id"].to_pylist()
    print(f"Parquet in {secs:.2f} s, {len(file) / 1e6:.0f} MB, reads equal with pyarrow and Polars")

    copied = io.BytesIO()
    polars.read_ipc_stream(io.BytesIO(answer)).write_ipc_stream(copied, compression="zstd")
    receipt = json.loads(call(f"{topics}/copy/records?atomic=false", copied.getvalue(), content_type=ARROW))
    assert receipt["count"] == rows, receipt
    lines, secs = timed(lambda: call(f"{topics}/rows/export?format=ndjson"))
    assert call(f"{topics}/copy/export") == lines, "what Polars has written prints otherwise"
    print(f"Polars wrote it all back, and both topics export the same NDJSON ({secs:.2f} s, {len(lines) / 1e6:.0f} MB)")

    uri = json.loads(call(f"{topics}/rows"))["dataset_uri"]
    same(lance.dataset(uri).to_table(), table, "the dataset")
    print("pylance reads the dataset equal")


def made(rows: int) -> pyarrow.Table:
    """Rows with about every type."""
    random = numpy.random.default_rng(7)
    numbers = numpy.arange(rows)
    floats = random.standard_normal(rows)
    floats[::97] = numpy.nan
    floats[1::97] = numpy.inf
    vectors = pyarrow.array(random.standard_normal(8 * rows).astype("float32"))
    return pyarrow.table(
        {
            "id": pyarrow.array(numbers, pyarrow.int64()),
            "small": pyarrow.array(numbers % 100, pyarrow.int8()),
            "score": pyarrow.array(floats, from_pandas=False),
            "single": pyarrow.array(floats.astype("float32"), from_pandas=False),
            "name": pyarrow.array([f"user-{number % 1000}" for number in range(rows)]),
            "kind": pyarrow.array([("a", "b", None)[number % 3] for number in range(rows)]).dictionary_encode(),
            "at": pyarrow.array(numbers * 1_000, pyarrow.timestamp("us", "UTC")),
            "ok": pyarrow.array(numbers % 2 == 0),
            "embedding": pyarrow.FixedSizeListArray.from_arrays(vectors, 8),
            "tags": pyarrow.array([["x", None], [], None][number % 3] for number in range(rows)),
            "nested": pyarrow.array([{"n": number, "s": None} for number in range(rows)],
                                    pyarrow.struct([("n", pyarrow.int32()), ("s", pyarrow.string())])),
        }
    )


def same(found: pyarrow.Table, table: pyarrow.Table, what: str) -> None:
    """Fails unless the table has the rows, NaN as NaN, beside the service's own columns."""
    assert found.num_rows == table.num_rows, f"{what}: {found.num_rows} rows"
    assert found["_offset"].to_numpy()[-1] == table.num_rows - 1
    for name in table.column_names:
        one, other = found[name].combine_chunks(), table[name].combine_chunks()
        if pyarrow.types.is_floating(other.type):
            equal = numpy.array_equal(one.to_numpy(zero_copy_only=False), other.to_numpy(zero_copy_only=False), equal_nan=True)
        else:
            plain = other.cast(one.type) if not pyarrow.types.is_dictionary(other.type) else other.dictionary_decode().cast(one.type)
            equal = one.equals(plain)
        assert equal, f"{what}: column {name} differs"


def stream(table: pyarrow.Table) -> bytes:
    """The table as a stream of batches."""
    out = io.BytesIO()
    with pyarrow.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    return out.getvalue()


def call(url: str, body: bytes | None = None, accept: str = "*/*", content_type: str = "application/json") -> bytes:
    """One request; fails where it is refused."""
    headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
    with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers), timeout=300) as answer:
        return answer.read()


def timed(work):
    """What the work gives, and the seconds it took."""
    begin = time.monotonic()
    result = work()
    return result, time.monotonic() - begin


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
