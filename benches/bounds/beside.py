"""The latency of single appends while a reader scans another topic and a compaction runs, against the same alone.

The scanned topic lies in its dataset, all of it: the server is started anew after the load. What is compacted is a fork of a
topic of three fragments that stay apart by themselves: forked, compacted to one, deleted, and so on. Rounds are interleaved.
"""

import argparse
import contextlib
import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Iterator
from statistics import median

from bounds.server import Failed, Server, Wire
from bounds.table import markdown, number, spread, verdict

AIM = 2.0
BATCH = 1000
# 26 MB of text: a commit each, less than makes one due before the flush.
FRAGMENT_RECORDS = 130_000
FRAGMENTS = 3
CASES = {"alone": (False, False), "reader": (True, False), "compaction": (False, True), "both": (True, True)}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--records", type=int, default=2_000_000, help="of the topic that is scanned")
    parser.add_argument("--cases", choices=list(CASES), nargs="+", default=["alone", "both"])


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """Loads, then the cases in turn."""
    cells = []
    with Server(args.binary, below=args.dir) as server:
        records = max(BATCH, int(args.records * args.scale))
        load(server, "scanned", records)
        for _ in range(FRAGMENTS):
            load(server, "apart", max(BATCH, int(FRAGMENT_RECORDS * args.scale)), batch_size=1_000_000)
        server.ask("PUT", "/v1/topics/apart/tags/apart", {})
        server.stop()
        server.start()
        server.calm()
        for round_ in range(args.rounds):
            cases = args.cases if round_ % 2 == 0 else args.cases[::-1]
            for case in cases:
                cells.append({"round": round_, "case": case, **measure(args, server, case, records)})
    return {"cells": cells, "rounds": args.rounds}, table(args.cases, cells)


def load(server: Server, topic: str, records: int, **backend_options: int) -> None:
    """Appends and flushes."""
    options_ = {"backend_options": backend_options} if backend_options else {}
    server.ask("PUT", f"/v1/topics/{topic}", options_)
    server.bench("append", topic=topic, create_path="", connections=4, batch=BATCH, count=records // BATCH, format="ndjson")
    server.flush([topic])
    server.calm()


def measure(args: argparse.Namespace, server: Server, case: str, records: int) -> dict:
    """One case of one round."""
    reads, compacts = CASES[case]
    milliseconds = max(500, int(args.seconds * 1000 * args.scale))
    with scanning(server, records, reads) as scanned, compacting(server, compacts) as compacted:
        # Both are at work when it begins.
        time.sleep(0.2 if reads or compacts else 0)
        began = time.monotonic()
        scans, rounds = scanned(), compacted()
        told = server.bench(
            "append", topic="appended", connections=args.connections, warmup="300ms", duration=f"{milliseconds}ms"
        )
        seconds = time.monotonic() - began
        scans, rounds = scanned() - scans, compacted() - rounds
    server.flush(["appended"])
    server.calm(patience=15)
    return {
        "p50_us": told["latency_us"]["p50"],
        "p99_us": told["latency_us"]["p99"],
        "records_per_second": told["records_per_second"],
        "scanned_per_second": scans / seconds,
        "compactions": rounds,
    }


@contextlib.contextmanager
def scanning(server: Server, records: int, is_wanted: bool) -> Iterator:
    """A reader in a process of its own; tells how many records it has read."""
    fork = multiprocessing.get_context("fork")
    count = fork.Value("d", 0.0)
    process = fork.Process(target=_scan, args=(server.port, records, count), daemon=True)
    if is_wanted:
        process.start()
    try:
        yield lambda: count.value
    finally:
        if is_wanted:
            died = not process.is_alive()
            process.terminate()
            process.join()
            if died:
                raise Failed("the reader has ended")


def _scan(port: int, records: int, count) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    request = b"GET /v1/topics/scanned/records?offset=0 HTTP/1.1\r\nHost: localhost\r\n"
    request += b"Accept: application/x-ndjson\r\nConnection: close\r\n\r\n"
    room, length = bytearray(1 << 20), 0
    while True:
        done, read = count.value, 0
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(request)
            head = b""
            while got := connection.recv_into(room):
                if not read:
                    head = bytes(room[:200])
                read += got
                # The share of a scan that is not over, by the bytes of the last.
                if length:
                    count.value = done + records * min(1.0, read / length)
        if head[9:12] != b"200" or (length and abs(read - length) > length // 100):
            raise SystemExit(f"the scan has ended early: {read} of {length} bytes, {head!r}")
        length, count.value = read, done + records


@contextlib.contextmanager
def compacting(server: Server, is_wanted: bool) -> Iterator:
    """Compactions one after the other; tells how many are done, and the parts of the one that runs are not."""
    ended, count, faults = threading.Event(), [0], []

    def work() -> None:
        with Wire(server.port) as wire:
            while not ended.is_set():
                name = f"fork-{time.monotonic_ns()}"
                wire.ask("POST", "/v1/topics/apart/fork", {"topic": name, "at": {"tag": "apart"}})
                wire.ask("POST", f"/v1/topics/{name}/compact", {})
                while wire.ask("GET", f"/v1/topics/{name}/stats")["fragments"] > 1 and not ended.is_set():
                    time.sleep(0.02)
                wire.ask("DELETE", f"/v1/topics/{name}")
                count[0] += 1

    def guarded() -> None:
        try:
            work()
        except (Failed, OSError) as error:
            faults.append(error)

    thread = threading.Thread(target=guarded)
    if is_wanted:
        thread.start()
    try:
        yield lambda: count[0]
    finally:
        ended.set()
        if is_wanted:
            thread.join()
    if faults:
        raise Failed(f"compaction: {faults[0]}")


def table(cases: list[str], cells: list[dict]) -> str:
    """Medians over the rounds, and ratios within each."""
    alone = {cell["round"]: cell for cell in cells if cell["case"] == "alone"}
    rows = []
    for case in cases:
        own = [cell for cell in cells if cell["case"] == case]
        ratios = [cell["p99_us"] / alone[cell["round"]]["p99_us"] for cell in own if cell["round"] in alone]
        rows.append(
            [
                case,
                *(spread([cell[quantile] / 1e3 for cell in own]) for quantile in ("p50_us", "p99_us")),
                spread([cell["records_per_second"] for cell in own], 0),
                number(median(cell["scanned_per_second"] for cell in own)),
                sum(cell["compactions"] for cell in own),
                number(median(ratios), 2) if ratios else "–",
                f"{verdict(median(ratios) <= AIM)} (≤ {AIM:g})" if ratios and case == "both" else "",
            ]
        )
    head = ["appends", "p50 ms", "p99 ms", "appends/s", "records scanned/s", "compactions", "p99 ÷ alone", "within the aim"]
    return markdown(head, rows)
