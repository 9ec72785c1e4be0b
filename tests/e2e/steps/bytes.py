"""A record, once acknowledged, is the same bytes in every reading operation for ever."""

from kit import nasty
from kit.api import Api
from kit.check import check
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
