"""Run by the virtual environment's Python: `read_dataset.py DATASET_URI TOPICS_FOLDER TOPIC NDJSON`.

Reads a topic with pylance, LanceDB and Polars, as people do, and compares it with what was sent.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lance
import lancedb
import polars
import pyarrow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit.check import equal
from kit.compare import pruned, same_values

VECTOR = "embedding"
OWN = {"_offset", "_timestamp"}


def main(uri: str, folder: str, topic: str, source: str) -> None:
    """Compares the rows of each reader with the lines of the source."""
    with open(source, "rb") as lines:
        sent = list(lines)
    begin = time.monotonic()
    dataset = lance.dataset(uri)
    equal(dataset.count_rows(), len(sent), "the rows that pylance counts")
    count = same_values(sent, rows(dataset.to_batches(), dataset.schema), VECTOR, "pylance")
    print(f"pylance reads the same {count:,} rows, {time.monotonic() - begin:.1f} s; columns {dataset.schema.names}")

    begin = time.monotonic()
    database = lancedb.connect(folder)
    names = database.list_tables().tables
    equal(topic in names, True, f"whether LanceDB lists {topic} in {names}")
    table = database.open_table(topic)
    equal(table.count_rows(), len(sent), "the rows that LanceDB counts")
    arrow = table.to_arrow()
    count = same_values(sent, rows(arrow.to_batches(), arrow.schema), VECTOR, "LanceDB")
    nearest = table.search(arrow[VECTOR][7].as_py(), vector_column_name=VECTOR).limit(1).to_list()[0]
    equal(nearest["id"], "event-000007", "LanceDB's nearest neighbour of a row's own vector")
    print(f"LanceDB reads the same {count:,} rows, {time.monotonic() - begin:.1f} s")

    frame = polars.scan_pyarrow_dataset(dataset).select("id", "big").collect()
    equal(frame.height, len(sent), "the rows that Polars reads")
    equal(frame["big"].max(), 2**53 + 1 + (len(sent) - 1) * 900_719_925_474_099, "the largest integer that Polars reads")
    print(f"Polars reads the same {frame.height:,} rows")


def rows(batches, schema: pyarrow.Schema) -> Iterator[dict]:
    """The rows in order, nulls left out, without the service's own columns, which must be as documented."""
    own = [name for name in schema.names if name in OWN]
    number = 0
    for batch in batches:
        vectors = batch.column(VECTOR).flatten().to_numpy().reshape(batch.num_rows, -1)
        for index, row in enumerate(batch.drop_columns([VECTOR]).to_pylist()):
            if "_offset" in own:
                equal(row["_offset"], number, "the column _offset")
            number += 1
            row = {name: value for name, value in row.items() if name not in OWN}
            yield pruned(row) | {VECTOR: vectors[index].tolist()}


if __name__ == "__main__":
    main(*sys.argv[1:])
