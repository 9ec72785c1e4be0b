"""Appends to one busy topic, one record at a time, and measures each: a process of its own, so that nothing else in the
suite's Python delays it. `probe.py BASE TOPIC FIRST`: appends `{"n": FIRST}`, `{"n": FIRST + 1}`, … until stdin ends,
then prints the seconds of each append as JSON.
"""

import json
import select
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kit import process
from kit.check import equal
from kit.wire import Wire


class Probe:
    """The process that measures."""

    def __init__(self, base: str, topic: str, first: int):
        arguments = [sys.executable, __file__, base, topic, str(first)]
        self.process = process.start(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self) -> list[float]:
        """Stops it; the seconds of each append, sorted."""
        out, _ = self.process.communicate(timeout=150)
        equal(self.process.returncode, 0, "the probe's exit code")
        return sorted(json.loads(out))


def percentile(sorted_secs: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted_secs[min(len(sorted_secs) - 1, int(len(sorted_secs) * share))] * 1000


def main(base: str, topic: str, first: str) -> None:
    """Appends until stdin ends."""
    wire, secs, number = Wire(base), [], int(first)
    while not select.select([sys.stdin], [], [], 0)[0]:
        body = b'{"n":%d}' % number
        begin = time.perf_counter()
        status, answer = wire.call("POST", f"/v1/topics/{topic}/records", body)
        secs.append(time.perf_counter() - begin)
        if status != 200:
            sys.exit(f"the append of {number} to {topic} answered {status}: {answer!r}")
        number += 1
    print(json.dumps(secs))


if __name__ == "__main__":
    main(*sys.argv[1:])
