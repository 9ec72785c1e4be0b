"""The time of a start after a SIGKILL, with a long log of which a part is in no dataset yet.

How so much log comes to lie there: a topic with one record, which does not commit, holds the oldest segment and with it all
that follow; the log's target is so high that this record is not moved. Topics commit when they are flushed and only then, so
what comes after the flush is in the log alone. One topic, however, commits by itself once 32 MiB of it wait. For it the process
is halted for a moment after the flush, its datasets and catalog are put aside, and after the kill they take the place of what
commits have made since: as if those had not happened. The log is left as it is.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from bounds.records import bodies
from bounds.server import GIB, MIB, Failed, Server, Wire
from bounds.table import markdown, number, verdict

AIM_SECS = 6.0
# Nothing is committed by age or by number.
WAITING = {"backend": "persisting", "backend_options": {"flush_interval_ms": 86_400_000, "batch_size": 1_000_000_000}}
LOOK_SECS = 0.005
PATIENCE_SECS = 300
RECORD_BYTES = 200


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-bytes", type=int, default=GIB)
    parser.add_argument("--waiting-bytes", type=int, default=200 * MIB, help="what of it is in no dataset")
    parser.add_argument("--topics", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--cold", action="store_true", help="drop the log from the page cache before the start")


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """Each number of topics with a server of its own."""
    found = [one(args, count if count == 1 else max(2, round(count * args.scale))) for count in args.topics]
    head = ["topics", "log MiB", "records in datasets", "in the log alone", "MiB of them", "ready s", "tail read s", "within"]
    rows = [
        [
            f"{one['topics']:,}",
            number(one["log_bytes"] / MIB),
            number(one["committed"]),
            number(one["waiting"]),
            number(one["waiting"] * RECORD_BYTES / MIB),
            number(one["ready"], 2),
            number(one["tail_read"], 2),
            f"{verdict(max(one['ready'], one['tail_read']) <= AIM_SECS)} (≤ {AIM_SECS:g} s)",
        ]
        for one in found
    ]
    notes = [
        f"{one['topics']:,} topics: {one['acknowledged']:,} records acknowledged, {one['stored']:,} there after the start; "
        f"by the server's own figure recovery took {one['told']:.2f} s; VmHWM {one['memory']['VmHWM']:.0f} MiB"
        for one in found
    ]
    lost = sum(max(0, one["acknowledged"] - one["stored"]) for one in found)
    cache = "dropped from" if args.cold else "in"
    text = "\n".join([markdown(head, rows), "", f"The log was {cache} the page cache.", *notes])
    return {"cold": args.cold, "runs": found, "lost": lost}, text


def one(args: argparse.Namespace, topics: int) -> dict:
    """One log, one kill, one start."""
    waiting = int(args.waiting_bytes * args.scale)
    settled = int(args.log_bytes * args.scale) - waiting
    serve = [f"--wal-target-bytes={8 * GIB}", f"--wal-max-bytes={16 * GIB}", f"--wal-segment-bytes={64 * MIB}"]
    # Past half of it the largest topic commits.
    serve += [f"--tail-bytes={4 * GIB}"]
    with Server(args.binary, serve, args.dir) as server:
        server.ask("PUT", "/v1/topics/holder", WAITING)
        server.ask("POST", "/v1/topics/holder/records", bodies(1, 1)[0])
        acknowledged = 1 + append(server, topics, settled)
        names = list(server.topics("log"))
        server.flush(names)
        aside = put_aside(server) if topics == 1 else None
        before = sum(one["committed_offset"] for one in server.stats(names))
        acknowledged += append(server, topics, waiting)
        stats = server.stats(names)
        server.kill()
        if aside:
            put_back(server, aside)
        committed = before if aside else sum(one["committed_offset"] for one in stats)
        stored = sum(one["tail_offset"] for one in stats)
        told = {"topics": topics, "log_bytes": server.log_bytes(), "committed": committed, "waiting": stored - committed}
        if args.cold:
            forget(server)
        told |= start(server, names[-1])
        # Commits may have begun again by now.
        told["committed_at_start"] = sum(one["committed_offset"] for one in server.stats(names))
        told["told"] = recovery_seconds(server)
        told["memory"] = server.memory()
        there = server.topics()
        told |= {"acknowledged": acknowledged, "stored": sum(topic["tail_offset"] for topic in there.values())}
        return told


def append(server: Server, topics: int, length: int) -> int:
    """Appends so many bytes of records; tells how many records."""
    batch = 1000 if topics == 1 else 100
    count = max(1, length // (RECORD_BYTES * batch))
    if topics > 1:
        # Every topic the same.
        count = max(1, count // topics) * topics
    told = server.bench(
        "append",
        topic="log",
        topics=topics,
        # More than one would each begin with the first topics.
        connections=4 if topics == 1 else 1,
        batch=batch,
        count=count,
        format="ndjson",
        ack="wal",
        create_body=json.dumps(WAITING),
    )
    return told["records"]


def put_aside(server: Server) -> str:
    """Keeps datasets and catalog as they are now; the process is halted meanwhile."""
    server.calm()
    aside = server.folder / "aside"
    aside.mkdir()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        kept = [path for path in server.data.iterdir() if path.name != "wal"]
        subprocess.run(["cp", "-a", *kept, aside], check=True, capture_output=True, text=True)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    return str(aside)


def put_back(server: Server, aside: str) -> None:
    """What was put aside takes the place of what came later, the log excepted."""
    os.rename(server.data / "wal", os.path.join(aside, "wal"))
    shutil.rmtree(server.data)
    os.rename(aside, server.data)


def forget(server: Server) -> None:
    """Asks the system to drop the log from the page cache."""
    for path in (server.data / "wal").iterdir():
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def start(server: Server, topic: str) -> dict:
    """Seconds from exec to the first 200 of /readyz, and of a read at a topic's tail, asked for side by side."""
    found: dict[str, float] = {}
    began = server.launch()
    paths = {"ready": "/readyz", "tail_read": f"/v1/topics/{topic}/records?offset=-1"}

    def ask(name: str) -> None:
        until = began + PATIENCE_SECS
        while time.monotonic() < until and server.process.poll() is None:
            if server.try_once(paths[name]) == 200:
                found[name] = time.monotonic() - began
                return
            time.sleep(LOOK_SECS)

    threads = [threading.Thread(target=ask, args=(name,)) for name in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) < len(paths):
        raise Failed(f"not ready after {PATIENCE_SECS} s: {server.last_words()}")
    return found


def recovery_seconds(server: Server) -> float:
    """What the server says itself."""
    with Wire(server.port) as wire:
        lines = wire.ask("GET", "/metrics", raw=True).decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("persisting_recovery_duration_seconds "))
