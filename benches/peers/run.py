#!/usr/bin/env python3
"""Measures this server beside its peers: the same work, the same machine, in one run.

    benches/peers/run.py --binary PATH --floors FOLDER --peers FOLDER --out FILE.json [--rounds 5] [--seconds 5]
                         [--only SERVER,…] [--workloads WORKLOAD,…] [--data FOLDER] [--also NAME=PATH]…

In each round every workload is given to one server after the other; only that one runs, in an empty folder. The order of the
servers is turned by one from round to round. FILE.json gets everything that was measured, and FILE.md the table. It is
written after each round, so that a run that is broken off is not lost. What is missing or fails is a row that says so.

--also puts another build of this server beside, as `persisting@NAME`, `persisting-table@NAME` and `persisting-memory@NAME`.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import reader
from peers import OURS, SERVERS, TOPIC, Missing, Nats, Persisting, Places, Server, build_of
from table import markdown

TICKS = os.sysconf("SC_CLK_TCK")
WARMUP_SECS = 0.5
PATIENCE_SECS = 10
LOADED_RECORDS = 1_000_000
LOADED_BATCH = 1_000
PYLANCE = "pylance"

DURABLE = ["bare-log", "persisting", "ds-file-durable", "ds-acid", "s2-lite", "webdis", "nats"]
MEMORY = ["bare", "persisting-memory", "ds-memory"]
WRITERS = [*DURABLE, *MEMORY]
READERS = [*DURABLE[:-1], "nats", "nats-core", "persisting-memory", "ds-memory"]


@dataclass(frozen=True)
class Workload:
    """Work that is given to servers."""

    title: str
    # Which of a server's ways it takes: append, batch, fanout, catchup, commit or get.
    kind: str
    servers: list[str]
    # Options of the generator.
    options: dict[str, int] = field(default_factory=dict)
    # Which part of what the generator tells is the figure.
    part: str = "append"
    unit: str = "records/s"
    # Deliveries to a subscriber for each second asked for, instead of a time.
    count_per_second: int | None = None
    warmup: bool = True


WORKLOADS = {
    "append64": Workload("single appends, 64 connections", "append", WRITERS, {"connections": 64}),
    "append256": Workload("single appends, 256 connections", "append", WRITERS, {"connections": 256}),
    "topics1000": Workload(
        "single appends, 64 connections, 1,000 topics",
        "append",
        ["bare-log", "persisting", "ds-file-durable", "s2-lite", "webdis"],
        {"connections": 64, "topics": 1000},
    ),
    "batch": Workload("batches of 1,000, 8 connections", "batch", WRITERS, {"connections": 8, "batch": 1000}),
    "flood": Workload(
        "flood to 1,000 subscribers, 16 connections",
        "fanout",
        READERS,
        {"connections": 16, "subscribers": 1000},
        "deliver",
        "deliveries/s",
        # As many records as a fast server delivers in that time: a slow one is not flooded without an end.
        count_per_second=1000,
        warmup=False,
    ),
    "fanout": Workload(
        "300 records/s to 1,000 subscribers",
        "fanout",
        READERS,
        {"connections": 16, "subscribers": 1000, "rate": 300},
        "deliver",
        "deliveries/s",
    ),
    "latency": Workload(
        "500 records/s to 10 subscribers",
        "fanout",
        READERS,
        {"connections": 16, "subscribers": 10, "rate": 500},
        "deliver",
        "deliveries/s",
    ),
    "catchup": Workload(
        "catch-up of 1,000,000 records, one reader",
        "catchup",
        ["persisting", "persisting-table", "persisting-memory", *DURABLE[2:], "ds-memory", PYLANCE],
        part="catchup",
    ),
    "commit": Workload(
        "1,000,000 records as NDJSON, then flush, into Lance", "commit", ["persisting", PYLANCE], part="commit"
    ),
    "get": Workload(
        "100 records at random offsets in 1,000,000, one connection",
        "get",
        ["persisting-table", PYLANCE],
        {"connections": 1},
        "get",
        "requests/s",
    ),
}


class Failed(Exception):
    """A measurement that did not come about."""


@dataclass(frozen=True)
class Run:
    """What a whole run is given."""

    places: Places
    data: Path
    seconds: float

    @property
    def deadline(self) -> float:
        """The longest time of one measurement."""
        return 90 + 30 * self.seconds

    def measure(self, key: str, name: str, folder: Path) -> dict:
        """One workload on one server, in an empty folder."""
        workload = WORKLOADS[key]
        if name == PYLANCE:
            return self.pylance(workload, folder)
        server = SERVERS[name](self.places)
        server.start(folder)
        try:
            match workload.kind:
                case "catchup":
                    return self.catch_up(server)
                case "commit":
                    return self.commit(server)
                case "get":
                    return self.get(server, workload)
            return self.write(server, workload)
        finally:
            server.stop()

    def write(self, server: Server, workload: Workload) -> dict:
        """Appends, alone or with subscribers."""
        drive = getattr(server, workload.kind)()
        if drive is None:
            raise Missing("has no such thing")
        options = dict(workload.options)
        if workload.count_per_second:
            options["count"] = int(workload.count_per_second * self.seconds)
        if isinstance(server, Nats):
            if workload.warmup and workload.kind != "fanout":
                self.nats(server, "append", {"connections": options["connections"]}, [], WARMUP_SECS)
            program = "fanout" if workload.kind == "fanout" else "append"
            return self.nats(server, program, options, drive, self.seconds)
        if not workload.count_per_second:
            options["duration"] = f"{self.seconds * 1000:.0f}ms"
        if workload.warmup:
            options["warmup"] = f"{WARMUP_SECS * 1000:.0f}ms"
        return self.bench(server, "fanout" if workload.kind == "fanout" else "append", options, drive)

    def catch_up(self, server: Server) -> dict:
        """Loads records, then reads them again and again, all in one answer."""
        path_and_headers = server.catchup()
        if path_and_headers is None:
            raise Missing("has no such thing")
        self.load(server)
        server.settle()
        if isinstance(server, Nats):
            return self.nats(server, "catchup", {"count": LOADED_RECORDS}, [], self.seconds)
        path, headers = path_and_headers
        took, spent = [], spent_by(server.pids)
        while sum(took) < self.seconds:
            records, length, seconds = reader.read(
                server.port, path.format(count=LOADED_RECORDS), headers, LOADED_RECORDS, self.deadline
            )
            if records != LOADED_RECORDS:
                raise Failed(f"{records} of {LOADED_RECORDS} records came")
            took.append(seconds)
        cpu, middle = (spent_by(server.pids) - spent) / len(took), sorted(took)[len(took) // 2]
        return {
            "ok": True,
            "parts": [{"name": "catchup", "records_per_second": LOADED_RECORDS / middle, "bytes": length, "all": took}],
            "server_cpu_seconds_per_million_records": cpu * 1e6 / LOADED_RECORDS,
        }

    def commit(self, server: Persisting) -> dict:
        """Loads records and flushes: until everything is in the dataset."""
        spent = spent_by(server.pids)
        loaded = self.load(server)
        began = time.monotonic()
        server.flush()
        seconds = loaded["parts"][0]["seconds"] + time.monotonic() - began
        cpu = (spent_by(server.pids) - spent) * 1e6 / LOADED_RECORDS
        part = {"name": "commit", "records_per_second": LOADED_RECORDS / seconds, "seconds": seconds}
        return {"ok": True, "parts": [part], "server_cpu_seconds_per_million_records": cpu}

    def get(self, server: Server, workload: Workload) -> dict:
        """Pages at random offsets."""
        self.load(server)
        server.settle()
        options = {**workload.options, "limit": 100, "duration": f"{self.seconds * 1000:.0f}ms"}
        return self.bench(server, "get", options, [])

    def load(self, server: Server) -> dict:
        """A million records."""
        options = {"connections": 4, "batch": LOADED_BATCH, "count": LOADED_RECORDS // LOADED_BATCH}
        drive = server.batch()
        told = (
            self.nats(server, "append", options, drive, self.seconds)
            if isinstance(server, Nats)
            else self.bench(server, "append", options, drive)
        )
        if told["parts"][0]["records"] != LOADED_RECORDS:
            raise Failed(f"loading: {fault(told) or told['parts'][0]['records']}")
        return told

    def bench(self, server: Server, program: str, options: dict, drive: list[str]) -> dict:
        """Runs the generator, and adds what it cannot see."""
        pids, out = server.pids, server.folder / "result.json"
        arguments = [f"--{name}={value}" for name, value in options.items()]
        where = [f"--url={server.url}", f"--topic={TOPIC}", f"--server-pid={pids[-1]}", f"--json={out}"]
        spent = spent_by(pids[:-1])
        told = self.call([str(self.places.persisting), "bench", program, *where, *arguments, *drive], out)
        behind = spent_by(pids[:-1]) - spent
        records = sum(part["records"] for part in told["parts"])
        if behind and records:
            # What stands behind the process that takes requests is seen with the warm-up: its share is taken off.
            seconds = told["parts"][0]["seconds"]
            behind *= seconds / (seconds + (WARMUP_SECS if "warmup" in options else 0))
            told["server_cpu_seconds_per_million_records"] += behind * 1e6 / records
        stored = server.stored() if "topics" not in options else None
        if stored is not None and stored < told["parts"][0]["records"]:
            raise Failed(f"{told['parts'][0]['records']} records were acknowledged, {stored} are stored")
        return told

    def nats(self, server: Server, program: str, options: dict, drive: list[str], seconds: float) -> dict:
        """Runs the client of NATS."""
        arguments = [f"--{name}={value}" for name, value in options.items()]
        where = [self.places.peer("nats-bench"), program, f"--url=nats://127.0.0.1:{server.port}", f"--seconds={seconds}"]
        spent, client = spent_by(server.pids), spent_by_children()
        told = self.call([*where, *arguments, *drive])
        told["client_cpu_seconds"] = spent_by_children() - client
        records = sum(part["records"] for part in told["parts"])
        cpu = spent_by(server.pids) - spent
        return {**told, "server_cpu_seconds_per_million_records": cpu * 1e6 / records if records else None}

    def pylance(self, workload: Workload, folder: Path) -> dict:
        """What pylance does in process."""
        python = self.places.peers / "venv" / "bin" / "python"
        if not python.is_file():
            raise Missing("pylance is not installed: see setup.sh")
        script = [str(python), str(Path(__file__).with_name("pylance_peer.py"))]
        told = self.call([*script, "append", str(folder)])
        if workload.kind == "commit":
            return told
        program = "scan" if workload.kind == "catchup" else "get"
        return self.call([*script, program, str(folder), f"--seconds={self.seconds}"])

    def call(self, arguments: list[str], out: Path | None = None) -> dict:
        """A program that tells JSON, within its time."""
        try:
            ended = subprocess.run(arguments, capture_output=True, text=True, timeout=self.deadline, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"not done after {self.deadline:.0f} s") from error
        try:
            told = json.loads(out.read_text() if out else ended.stdout)
        except (OSError, ValueError) as error:
            raise Failed(" ".join((ended.stderr or ended.stdout).split())[-300:] or str(error)) from error
        if out:
            out.unlink()
        return {**told, "command": arguments}


def fault(told: dict) -> str | None:
    """What was wrong with a measurement, if anything."""
    if told["ok"]:
        return None
    notes = [note for part in told["parts"] for note in part.get("error_notes") or []]
    verified = told.get("verification", {})
    wrong = [check["what"] for check in verified.get("checks", []) if not check["ok"]]
    wrong += [f"{verified[what]} {what}" for what in ("lost", "doubled") if not wrong and verified.get(what)]
    return "; ".join([*wrong, *notes])[:300] or "not as expected"


def spent_by(pids: list[int]) -> float:
    """Processor time of processes until now."""
    seconds = 0.0
    for pid in pids:
        try:
            numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds += (int(numbers[11]) + int(numbers[12])) / TICKS
        except OSError:
            pass
    return seconds


def spent_by_children() -> float:
    """Processor time of the programs that were called and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def one(run: Run, number: int, key: str, name: str) -> dict:
    """One measurement, whatever comes of it."""
    cell = {"round": number, "workload": key, "server": name, "load_before": os.getloadavg()[0]}
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=run.data))
    began = time.monotonic()
    try:
        told = run.measure(key, name, folder)
        part = next((part for part in told["parts"] if part["name"] == WORKLOADS[key].part), {})
        rate = "requests_per_second" if WORKLOADS[key].unit == "requests/s" else "records_per_second"
        latency = part.get("latency_us") or {}
        cell |= {
            "figure": part.get(rate),
            "p50_us": latency.get("p50"),
            "p99_us": latency.get("p99"),
            "cpu": told.get("server_cpu_seconds_per_million_records"),
            "fault": fault(told),
            "raw": told,
        }
    except Missing as error:
        cell["missing"] = str(error)
    except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        cell["fault"] = f"{error}" if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    said = f"{cell['figure']:,.0f} {WORKLOADS[key].unit}" if cell.get("figure") else ""
    said += "".join(f" [{cell[why]}]" for why in ("missing", "fault") if cell.get(why))
    print(f"{number} {key:<10} {name:<18} {time.monotonic() - began:5.1f} s  {said.strip()}", file=sys.stderr, flush=True)
    return cell


def disk(run: Run) -> dict | None:
    """A small write with fdatasync, on the same disk."""
    out = run.data / "disk.json"
    try:
        told = run.call(
            [str(run.places.persisting), "bench", "disk", f"--dir={run.data}", "--duration=1s", f"--json={out}"], out
        )
    except Failed as error:
        print(f"disk: {error}", file=sys.stderr)
        return None
    return told["disk"]


def versions(places: Places) -> dict[str, str]:
    """What the programs say that they are."""
    said = {}
    for name, program, argument in [
        ("persisting", str(places.persisting), "--version"),
        ("durable-streams-server", "durable-streams-server", "--version"),
        ("s2", "s2", "--version"),
        ("redis-server", "redis-server", "--version"),
        ("nats-server", "nats-server", "--version"),
    ]:
        try:
            path = program if name == "persisting" else places.peer(program)
            told = subprocess.run([path, argument], capture_output=True, text=True, timeout=20, check=False)
            said[name] = " ".join((told.stdout or told.stderr).split()[:4])
        except (Missing, OSError, subprocess.SubprocessError) as error:
            said[name] = f"not known: {error}"
    return said


def chosen(text: str | None, all_of: list[str], what: str) -> list[str]:
    """Names that were given, or all."""
    names = text.split(",") if text else all_of
    if wrong := [name for name in names if name not in all_of]:
        raise SystemExit(f"no such {what}: {', '.join(wrong)}; there are {', '.join(all_of)}")
    return names


def add_build(text: str) -> None:
    """Puts another build of this server beside it, wherever it is measured."""
    build, _, path = text.partition("=")
    binary = Path(path).resolve()
    if not build or not binary.is_file():
        raise SystemExit(f"--also {text}: NAME=PATH of a program")
    for name in OURS:
        other = f"{name}@{build}"
        SERVERS[other] = build_of(name, build, binary)
        for workload in WORKLOADS.values():
            if name in workload.servers and other not in workload.servers:
                workload.servers.insert(workload.servers.index(name) + 1, other)


def main() -> None:
    """Measures, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="`persisting`, a release build")
    parser.add_argument("--floors", type=Path, help="folder of the programs bare and bare-log")
    parser.add_argument("--peers", type=Path, required=True, help="folder that setup.sh has filled")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--out", type=Path, required=True, help="JSON; the table goes beside, as .md")
    parser.add_argument("--also", action="append", default=[], help="another build of this server", metavar="NAME=PATH")
    parser.add_argument("--only", help=f"servers: {','.join([*SERVERS, PYLANCE])}")
    parser.add_argument("--workloads", help=",".join(WORKLOADS))
    parser.add_argument("--data", type=Path, help="folder on the disk to measure [default: beside --out]")
    given = parser.parse_args()
    for text in given.also:
        add_build(text)
    only = chosen(given.only, [*SERVERS, PYLANCE], "server")
    workloads = chosen(given.workloads, list(WORKLOADS), "workload")
    places = Places(given.binary.resolve(), given.floors and given.floors.resolve(), given.peers.resolve())
    if not places.persisting.is_file():
        parser.error(f"there is no {places.persisting}")
    out = given.out.resolve()

    result = {
        "machine": {"system": platform.platform(), "processors": os.cpu_count(), "began": time.strftime("%Y-%m-%d %H:%M")},
        "versions": versions(places),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "disk": [],
        "cells": [],
    }
    with tempfile.TemporaryDirectory(prefix="peers-", dir=(given.data or out.parent).resolve()) as data:
        run = Run(places, Path(data), given.seconds)
        for number in range(1, given.rounds + 1):
            result["disk"].append(disk(run))
            for key in workloads:
                names = [name for name in WORKLOADS[key].servers if name in only]
                turn = (number - 1) % max(len(names), 1)
                result["cells"] += [one(run, number, key, name) for name in names[turn:] + names[:turn]]
            text = markdown(result, WORKLOADS, SERVERS)
            out.write_text(json.dumps(result, indent=1) + "\n")
            out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
