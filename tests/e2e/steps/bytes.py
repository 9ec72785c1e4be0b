"""A record, once acknowledged, is the same bytes in every reading operation for ever."""

from kit import nasty
from kit.api import Api
from kit.check import check, until
from kit.context import Context
from kit.records import read_every_way, same_bytes, value_of

TOPIC = "nasty"


def run(context: Context) -> None:
    """Nasty records through every reading operation, before and after all that the service does to them by itself."""
    server = context.server().start()
    api = server.api
    api.create(TOPIC, schema=nasty.SCHEMA)
    sent, wanted = nasty.records(nasty.CASES + nasty.JOINED, 0)
    api.append(TOPIC, "[" + ",".join(sent) + "]")
    first = read_every_way(api, TOPIC, "after the append")
    same_bytes([value_of(record) for record in first], wanted, "values after the append")
    context.say(f"{len(first)} records, {sum(map(len, first)):,} bytes")

    def still(when: str, records: list[bytes]) -> None:
        same_bytes(read_every_way(api, TOPIC, when), records, when)
        context.say(f"the same {when}")

    for topic, send in (("singly", _singly), ("loaded", _load)):
        api.create(topic, schema=nasty.SCHEMA)
        count = send(api, topic, sent)
        values = [value_of(record) for record in read_every_way(api, topic, topic)]
        same_bytes(values, wanted[:count], f"values appended {topic}")
    context.say("the same values when appended one by one, and as a load")

    server.restart()
    still("after SIGKILL and restart", first)
    api.flush(TOPIC)
    still("after a flush", first)
    server.restart()
    still("after a flush, SIGKILL and restart", first)

    versions = {api.describe(TOPIC)["schema_version"]}
    more, more_wanted = nasty.records(nasty.EVOLVING, len(first))
    for record in more:
        versions.add(api.append(TOPIC, record)["schema_version"])
    check(len(versions) == len(more) + 1, f"{len(more)} appends that evolve the schema gave the versions {versions}")
    both = read_every_way(api, TOPIC, "after the schema evolved")
    same_bytes(both[: len(first)], first, "old records after the schema evolved")
    same_bytes([value_of(record) for record in both[len(first) :]], more_wanted, "values that evolved the schema")
    context.say(f"the same after {len(more)} evolutions of the schema")
    server.restart()
    still("after evolution, SIGKILL and restart", both)
    api.flush(TOPIC)
    still("after evolution and a flush", both)
    server.restart()
    still("after evolution, a flush, SIGKILL and restart", both)

    api.call("PUT", f"/v1/topics/{TOPIC}/tags/then", {}).ok(201)
    _compact(api, TOPIC)
    still("after a merge of all fragments", both)
    server.restart()
    still("after a merge, SIGKILL and restart", both)
    same_bytes(api.lines(TOPIC, "?tag=then"), both, "the records at the tag")
    exported = api.get(f"/v1/topics/{TOPIC}/export").ok(200).body.splitlines()
    same_bytes(exported, [value_of(record) for record in both], "the values exported")
    context.say("the same at a tag, and as values in an export")

    api.call("PATCH", f"/v1/topics/{TOPIC}", {"backend_options": {"compression": "zstd"}}).ok(200)
    api.call("POST", f"/v1/topics/{TOPIC}/fork", {"topic": "forked", "at": {"offset": len(first) + 1}}).ok(201)
    same_bytes(read_every_way(api, "forked", "the fork"), both[: len(first) + 1], "the records of a fork")
    api.append("forked", more[-1])
    api.flush("forked")
    _compact(api, "forked")
    same_bytes(api.lines("forked")[: len(first) + 1], both[: len(first) + 1], "a fork's records, compressed anew")
    api.call("DELETE", f"/v1/topics/{TOPIC}").ok(204)
    server.restart()
    same_bytes(api.lines("forked")[: len(first) + 1], both[: len(first) + 1], "a fork's records without its source")
    context.say("the same in a fork, also compressed anew, and without its source")


def _compact(api: Api, topic: str) -> None:
    """Merges all fragments."""
    api.call("POST", f"/v1/topics/{topic}/compact").ok(202)
    until(lambda: api.get(f"/v1/topics/{topic}/stats").json()["fragments"] == 1, 30, "one fragment")


def _singly(api: Api, topic: str, sent: list[str]) -> int:
    """One request a record; how many were sent."""
    for record in sent[: len(nasty.CASES)]:
        api.append(topic, record)
    return len(nasty.CASES)


def _load(api: Api, topic: str, sent: list[str]) -> int:
    """As curl sends a file: no type is named, and white space stands between the records at will; how many were sent."""
    body = " \r\n\t".join(sent)
    api.append(topic, body, "?atomic=false", headers={"Content-Type": "application/x-www-form-urlencoded"})
    return len(sent)
