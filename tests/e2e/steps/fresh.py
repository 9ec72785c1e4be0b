"""A record is found in the moment it is acknowledged, by all ways there are, and the same whatever becomes of it afterwards."""

import json
import random
from urllib.parse import quote

from kit.api import Api
from kit.check import equal, until
from kit.context import Context

RECORDS, DIM = 400, 8
INDEXES = [("btree", "id"), ("bitmap", "kind"), ("inverted", "text"), ("ivf_flat", "v")]
WORDS = ["disk", "queue", "retry", "slow", "deploy", "secret", "index", "merge", "lag", "full"]


def run(context: Context) -> None:
    """Takes a topic of each backend from memory to the disk, through indexes, merges, a restart and a kill."""
    chance = random.Random(6)
    server = context.server().start()
    for backend in ("persisting", "lance"):
        topic = Topic(server.api, backend, chance)
        for _ in range(4):
            topic.append(RECORDS // 4)
            server.api.flush(topic.name)
        stages = [
            ("a flush", lambda: server.api.flush(topic.name)),
            ("indexes", topic.index),
            ("a flush beside indexes", lambda: server.api.flush(topic.name)),
            ("a merge", topic.compact),
            ("a restart", lambda: restart(server)),
            ("another flush", lambda: server.api.flush(topic.name)),
            ("a kill", lambda: kill(server, topic)),
        ]
        for what, happens in stages:
            topic.found_at_once(what)
            before = topic.answers()
            happens()
            topic.api = server.api
            equal(topic.answers(), before, f"{backend}: what is found after {what}")
        context.say(f"{backend}: {topic.marked} records found at once by vector, text, both, filter and SQL, the same after each of {len(stages)} changes")


def restart(server) -> None:
    """Stops the server in order and starts it again."""
    server.stop()
    server.start()


def kill(server, topic: "Topic") -> None:
    """Ends the server where it stands; what only memory had may be gone, so that it is flushed first."""
    server.api.flush(topic.name)
    server.kill()
    server.start()


class Topic:
    """A topic with something to find."""

    def __init__(self, api: Api, backend: str, chance: random.Random):
        self.api, self.name, self.chance, self.count, self.marked = api, f"fresh-{backend}", chance, 0, 0
        fields = [{"name": name, "type": "string"} for name in ("id", "kind", "text")]
        fields.append({"name": "v", "type": "vector", "dim": DIM})
        # What is due by age is not: each commit is one that is asked for.
        options = {"flush_interval_ms": 3_600_000}
        api.create(self.name, backend=backend, schema={"fields": fields}, backend_options=options)

    def append(self, count: int) -> None:
        """Appends some records."""
        records = []
        for number in range(self.count, self.count + count):
            text = " ".join(self.chance.choices(WORDS, k=self.chance.randint(1, 9)))
            vector = [round(self.chance.gauss(0, 1), 3) for _ in range(DIM)]
            records.append({"id": f"r{number}", "kind": f"k{number % 5}", "text": text, "v": vector})
        self.api.append(self.name, json.dumps(records))
        self.count += count

    def found_at_once(self, before: str) -> None:
        """Appends a record that is like no other, and finds it by all ways."""
        self.marked += 1
        word, vector = f"zebra{self.marked}", [100.0 + self.marked] * DIM
        mark = {"id": f"mark{self.marked}", "kind": "mark", "text": f"{word} crossing", "v": vector}
        self.api.append(self.name, json.dumps(mark))
        offset, self.count = self.count, self.count + 1
        vector = {"column": "v", "query": vector}
        text = {"columns": ["text"], "query": word}
        for ask in ({"vector": vector, "k": 1}, {"text": text, "k": 1}, {"vector": vector, "text": text, "k": 1}):
            hits = self.search(ask)
            equal([hit["offset"] for hit in hits], [offset], f"before {before}: the record found by {list(ask)}")
        ids = [record["offset"] for record in self.filtered(f"id = '{mark['id']}'")]
        equal(ids, [offset], f"before {before}: the record found by a filter")
        rows = self.sql(f"""SELECT _offset FROM "{self.name}" WHERE id = $1""", [mark["id"]])
        equal(rows, [{"_offset": offset}], f"before {before}: the record found by SQL")

    def answers(self) -> dict:
        """The answers to some questions; distances without the last digits, which an index adds up in another order."""
        point = [0.5, -0.25, 0.125, 0.0, 1.0, -1.0, 0.75, 0.3]
        # Every partition is looked into, so that an index answers as exactly as none.
        vector = {"column": "v", "query": point, "nprobes": 1_000}
        text = {"columns": ["text"], "query": "retry disk +slow"}
        found = {
            "vector": self.search({"vector": vector, "k": 25}),
            "text": self.search({"text": text, "k": 25}),
            "both": self.search({"vector": vector, "text": text, "k": 25}),
            "filtered": self.search({"vector": vector, "k": 25, "filter": "kind IN ('k1', 'k3')"}),
            "filter": self.filtered("kind = 'k2' AND text LIKE '%disk%'"),
            "sql": self.sql(f"""SELECT kind, count(*) AS n, max(_offset) AS last FROM "{self.name}" GROUP BY kind ORDER BY kind"""),
        }
        for hits in found.values():
            for hit in hits:
                for name in ("_distance", "_score"):
                    if name in hit:
                        hit[name] = f"{hit[name]:.4g}"
        return found

    def search(self, ask: dict) -> list[dict]:
        """The hits of a search."""
        return self.api.call("POST", f"/v1/topics/{self.name}/search", json.dumps(ask)).ok().json()["hits"]

    def filtered(self, condition: str) -> list[dict]:
        """The records that pass a filter."""
        path = f"/v1/topics/{self.name}/records?limit=10000&filter={quote(condition)}"
        return self.api.get(path).ok().json()["records"]

    def sql(self, text: str, params: list | None = None) -> list[dict]:
        """The rows of a query."""
        body = json.dumps({"sql": text, "params": params or []})
        return self.api.call("POST", "/v1/query", body).ok().json()["rows"]

    def index(self) -> None:
        """Makes the indexes, and waits until they have everything that is in the dataset."""
        path = f"/v1/topics/{self.name}/indexes"
        for kind, column in INDEXES:
            self.api.call("POST", path, json.dumps({"column": column, "type": kind})).ok(202)

        def are_ready() -> bool:
            return all(index["state"] == "ready" for index in self.api.get(path).ok().json()["indexes"])

        until(are_ready, 120, "the indexes are ready")

    def compact(self) -> None:
        """Merges the fragments."""
        self.api.call("POST", f"/v1/topics/{self.name}/compact", "").ok(202)

        def is_done() -> bool:
            return self.api.get(f"/v1/topics/{self.name}/stats").ok().json()["fragments"] <= 2

        until(is_done, 120, "the fragments are merged")
