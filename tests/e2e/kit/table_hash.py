"""Run by the virtual environment's Python: `table_hash.py DATASET_URI TAG…`: a line with the hash of each tag's table.

The hash is of the rows' values, so it does not depend on how they lie in fragments and batches.
"""

import hashlib
import json
import sys

import lance


def main(uri: str, tags: list[str]) -> None:
    """Prints the hashes."""
    for tag in tags:
        table = hashlib.sha256()
        for batch in lance.dataset(uri, version=tag).to_batches():
            for row in batch.to_pylist():
                table.update(json.dumps(row, default=str, sort_keys=True).encode())
        print(table.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
