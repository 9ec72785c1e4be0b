"""What an append costs the server as a topic grows, and as topics become many; each point against the cheapest.

As a topic grows: from each size on a window of records of the same length is appended in batches of 1,000 and flushed, so that
points compare; up to 100,000 records on a fresh topic for each round, beyond that on one topic that goes on growing. As topics
become many: each has 100 records, committed; a window of single appends over 64 connections goes to all of them in turn.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bounds.flood import Plan, flood
from bounds.records import bodies
from bounds.server import Failed, Server, get, post, timed
from bounds.table import markdown, number, power, verdict

AIM = 1.3
BATCH = 1000
# Up to this size each round has a topic of its own.
FRESH = 100_000
FILLED = 100
PAGE = 100


def options(parser: argparse.ArgumentParser) -> None:
    sizes, topics = [10**power_ for power_ in range(3, 8)], [10**power_ for power_ in range(5)]
    parser.add_argument("--sizes", type=int, nargs="*", default=sizes, help="records of the topic")
    parser.add_argument("--topics", type=int, nargs="*", default=topics, help="numbers of topics")
    parser.add_argument("--window", type=int, default=100_000, help="records appended at each size")
    parser.add_argument("--appends", type=int, default=20_000, help="single appends at each number of topics")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="draws both into an SVG; needs matplotlib")


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """Both kinds."""
    draw = drawing() if args.plot else None
    sizes = sorted({max(BATCH, int(size * args.scale)) for size in args.sizes})
    topics = sorted({max(1, int(count * args.scale)) for count in args.topics})
    result = {"sizes": grow(args, sizes) if sizes else [], "topics": [many(args, count) for count in topics]}
    parts = []
    if result["sizes"]:
        parts += ["As one topic grows, batches of 1,000:", "", size_table(result["sizes"]), ""]
    if result["topics"]:
        parts += [f"As topics become many, {FILLED} records each, single appends:", "", topic_table(result["topics"])]
    if draw:
        draw(result, args.plot)
    return result, "\n".join(parts).rstrip()


def drawing() -> Callable[[dict, Path], None]:
    """What draws; asked for first, so that a missing matplotlib is told before the minutes are spent."""
    try:
        from bounds.plot import draw
    except ImportError as error:
        raise Failed(f"--plot needs matplotlib: {error}") from None
    return draw


# One topic.


def grow(args: argparse.Namespace, sizes: list[int]) -> list[dict]:
    """One server for all sizes."""
    points, window = [], max(BATCH, int(args.window * args.scale))
    with Server(args.binary, below=args.dir) as server:
        warm(server)
        for size in sizes:
            rounds = []
            for round_ in range(args.rounds):
                topic = f"fresh-{size}-{round_}" if size <= FRESH * args.scale else "growing"
                if topic != "growing":
                    load(server, topic, size)
                elif not rounds:
                    there = server.topics("growing")
                    load(server, topic, size - (there[topic]["tail_offset"] if there else 0))
                rounds.append(at_size(server, topic, window))
                if topic != "growing":
                    server.ask("DELETE", f"/v1/topics/{topic}")
            points.append({"size": size, "window": window, "rss_mib": server.memory()["VmRSS"], "rounds": rounds})
    return points


def warm(server: Server) -> None:
    """The first commits of a process cost more than later ones."""
    load(server, "warm", 20 * BATCH)
    server.ask("DELETE", "/v1/topics/warm")
    server.calm()


def load(server: Server, topic: str, records: int) -> None:
    """Appends and flushes, and waits until the server is done with what follows."""
    if records > 0:
        append(server, topic, records)
    server.flush([topic])
    server.calm()


def append(server: Server, topic: str, records: int) -> None:
    count = max(1, round(records / BATCH))
    told = server.bench("append", topic=topic, connections=4, batch=BATCH, count=count, format="ndjson", ack="wal")
    if told["records"] != count * BATCH:
        raise Failed(f"{told['records']} of {count * BATCH} records were appended")


def at_size(server: Server, topic: str, window: int) -> dict:
    """A window of appends, then reads and single appends."""
    spent, began = server.cpu(), time.monotonic()
    append(server, topic, window)
    server.flush([topic])
    flushed, seconds = server.cpu() - spent, time.monotonic() - began
    server.calm()
    settled = server.cpu() - spent
    tail = server.topics(topic)[topic]["tail_offset"]
    random_ = server.bench("get", topic=topic, connections=1, limit=PAGE, count=500)
    pages = [get(f"/v1/topics/{topic}/records?offset={tail - PAGE}&limit={PAGE}")] * 300
    return {
        "cpu_us": flushed * 1e6 / window,
        "cpu_settled_us": settled * 1e6 / window,
        "records_per_second": window / seconds,
        "get_us": random_["latency_us"]["p50"],
        "tail_us": median(timed(server.port, pages)),
        "append_us": median(timed(server.port, singles([topic], 500))),
    }


def singles(topics: list[str], count: int) -> list[bytes]:
    """Ready single appends, to one topic after the other."""
    texts = bodies(32, 1)
    heads = [post(f"/v1/topics/{topic}/records", len(texts[0]), "application/json") for topic in topics]
    return [heads[at % len(heads)] + texts[at % len(texts)] for at in range(count)]


# Many topics.


def many(args: argparse.Namespace, count: int) -> dict:
    """A server for one number of topics."""
    appends = max(200, int(args.appends * args.scale))
    chance, texts = random.Random(count), bodies(32, 1)
    with Server(args.binary, below=args.dir) as server:
        empty = server.memory()["VmRSS"]
        # One connection takes one topic after the other, so that each has the same.
        server.bench("append", topic="many", topics=count, connections=1, batch=FILLED, count=count, format="ndjson")
        names = list(server.topics("many"))
        server.flush(names)
        server.calm(patience=120)
        rss = server.memory()["VmRSS"]
        chance.shuffle(names)
        heads = [post(f"/v1/topics/{name}/records", len(texts[0]), "application/json") for name in names]
        rounds = []
        for round_ in range(args.rounds):
            # Each round goes on where the last has ended.
            at = round_ * appends % count
            plan = Plan(server.port, heads[at:] + heads[:at], texts, 64, count=appends)
            spent = server.cpu()
            outcome = flood(plan, 1)
            spent = server.cpu() - spent
            if len(outcome.topics) != appends:
                raise Failed(f"{appends - len(outcome.topics)} appends failed: {dict(outcome.refused)}")
            alone = timed(server.port, singles(chance.sample(names, min(count, 500)), 500))
            rounds.append(
                {
                    "cpu_us": spent * 1e6 / appends,
                    "append_us": median(alone),
                    "append64_us": outcome.quantile(0.5),
                    "appends_per_second": appends / outcome.seconds,
                }
            )
        after = server.memory()["VmRSS"]
    return {"topics": count, "empty_mib": empty, "rss_mib": rss, "rss_after_mib": after, "rounds": rounds}


# What is told.


def middle(point: dict, figure: str) -> float:
    """The median of a figure over a point's rounds."""
    return median(round_[figure] for round_ in point["rounds"])


def cells(points: list[dict], figure: str, digits: int, scale: float = 1.0) -> list[str]:
    """A figure at each point, with its ratio to the least."""
    found = [middle(point, figure) for point in points]
    return [f"{number(one * scale, digits)} ({one / min(found):.2f})" for one in found]


def within(points: list[dict], *figures: str) -> list[str]:
    """Whether all of some figures are within the aim, at each point."""
    least = {figure: min(middle(point, figure) for point in points) for figure in figures}
    return [verdict(all(middle(point, name) <= AIM * least[name] for name in figures)) for point in points]


def rows(points: list[dict], name: Callable[[dict], str], columns: list[list[str]]) -> list[list[str]]:
    return [[name(point), *(column[at] for column in columns)] for at, point in enumerate(points)]


def size_table(points: list[dict]) -> str:
    """Figures with their ratio to the cheapest point."""
    head = ["records", "CPU µs per record", "and upkeep after", "append p50 ms", f"{PAGE} at random p50 ms"]
    head += ["at the tail p50 ms", "records/s", "RSS MiB", f"CPU within {AIM:g}", "p50 within"]
    columns = [cells(points, "cpu_us", 2), cells(points, "cpu_settled_us", 2)]
    columns += [cells(points, figure, 3, 1e-3) for figure in ("append_us", "get_us", "tail_us")]
    columns += [[number(middle(point, "records_per_second")) for point in points]]
    columns += [[number(point["rss_mib"]) for point in points]]
    columns += [within(points, "cpu_us"), within(points, "append_us", "get_us", "tail_us")]
    return markdown(head, rows(points, lambda point: power(point["size"]), columns))


def topic_table(points: list[dict]) -> str:
    """The same."""
    head = ["topics", "CPU µs per append", "append p50 ms", "on 64 connections", "appends/s", "RSS MiB", "RSS after"]
    head += [f"CPU within {AIM:g}", "p50 within"]
    columns = [cells(points, "cpu_us", 1), cells(points, "append_us", 3, 1e-3), cells(points, "append64_us", 2, 1e-3)]
    columns += [[number(middle(point, "appends_per_second")) for point in points]]
    columns += [[number(point[name]) for point in points] for name in ("rss_mib", "rss_after_mib")]
    columns += [within(points, "cpu_us"), within(points, "append_us")]
    return markdown(head, rows(points, lambda point: power(point["topics"]), columns))
