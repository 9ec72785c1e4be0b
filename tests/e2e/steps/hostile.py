"""SQL of people who mean harm, while somebody appends.

Every statement of `tests/hostile/queries.json` is sent while a probe appends record after record. Each is
refused or ends within its limits; nothing is written, the server lives, and its memory stays bounded. What an append takes
is printed, alone and meanwhile.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit.check import Failed, check, equal
from kit.context import Context
from kit.probe import Probe, percentile
from kit.server import Server

HOSTILE = Path(__file__).resolve().parents[2] / "hostile" / "queries.json"
TIMEOUT_SECS, MEMORY_MIB, CLIENTS = 2, 64, 4
RECORDS, BATCH = 20_000, 5_000
# How long the probe has the server for itself.
ALONE_SECS = 3
# The server alone, the memory of as many queries as run at a time, and what no pool counts: batches on their way.
PEAK_MIB_MAX = 400 + CLIENTS * (MEMORY_MIB + 256)
# How late a client may hear of the end of a query.
GRACE_SECS = 5


def run(context: Context) -> None:
    """Appends alone, then beside the statements."""
    options = "--query-timeout-secs", str(TIMEOUT_SECS), "--query-memory-bytes", f"{MEMORY_MIB}MiB"
    server = context.server(*options, "--max-queries", str(CLIENTS)).start()
    _fill(server)
    before = server.peak_mib()
    alone = _measured(server, 0, lambda: time.sleep(ALONE_SECS))
    statements = json.loads(HOSTILE.read_text())
    outcomes: list[tuple[dict, int, float]] = []

    def send_all() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            outcomes.extend(pool.map(lambda statement: _send(server, statement), statements))

    meanwhile = _measured(server, len(alone), send_all)
    check(len(statements) >= 100, f"there are {len(statements)} statements")
    wrong = [f"{each['name']}: {status} after {secs:.1f} s" for each, status, secs in outcomes if not _fits(each, status, secs)]
    check(not wrong, "refused or bounded are all but " + "; ".join(wrong))
    answered = server.api.call("POST", "/v1/query", {"sql": "SELECT count(*) AS n FROM a"}).ok(200).json()
    equal(answered["rows"], [{"n": RECORDS}], "the records afterwards")
    names = [topic["topic"] for topic in server.api.get("/v1/topics").ok(200).json()["topics"]]
    equal(names, ["a", "b", "busy", "memory_topic"], "the topics afterwards")
    peak = server.peak_mib()
    refused = sum(status != 200 for _, status, _ in outcomes)
    context.say(f"{len(outcomes)} statements: {refused} refused or ended, {len(outcomes) - refused} answered;"
                f" the slowest took {max(secs for *_, secs in outcomes):.1f} s")
    for name, secs in ("alone", alone), ("meanwhile", meanwhile):
        context.say(f"an append {name:>9}: p50 {percentile(secs, 0.5):.1f} ms, p99 {percentile(secs, 0.99):.1f} ms, of {len(secs):,}")
    context.say(f"the server's memory: {before:.0f} MiB before, {peak:.0f} MiB at most")
    check(peak < PEAK_MIB_MAX, f"the server took {peak:.0f} MiB, more than {PEAK_MIB_MAX}")
    server.stop()


def _fill(server: Server) -> None:
    for name, members in (("a", {}), ("b", {}), ("busy", {}), ("memory_topic", {"backend": "memory"})):
        server.api.create(name, **members)
    for first in range(0, RECORDS, BATCH):
        server.api.append("a", [
            {"n": n, "k": f"k{n % 7}", "text": f"some text {n} " * 20, "xs": [n, 1], "s": {"x": n}}
            for n in range(first, first + BATCH)
        ])


def _measured(server: Server, first: int, work) -> list[float]:
    probe = Probe(server.base, "busy", first)
    try:
        work()
    finally:
        secs = probe.finish()
    return secs


def _send(server: Server, statement: dict) -> tuple[dict, int, float]:
    sql = "".join(text * times for text, times in statement["pieces"])
    begin = time.monotonic()
    try:
        answer = server.api.call("POST", "/v1/query", {"sql": sql, "params": statement.get("params", [])})
    except Exception as error:
        raise Failed(f"{statement['name']}: {error}") from None
    return statement, answer.status, time.monotonic() - begin


def _fits(statement: dict, status: int, secs: float) -> bool:
    allowed = (200, 400, 404) if statement.get("may_run") else (400, 404)
    return status in allowed and secs < TIMEOUT_SECS + GRACE_SECS
