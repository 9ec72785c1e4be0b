"""Random filters over random records, cut at random between log and dataset, find what SQLite finds."""

import json
import random
import sqlite3
from urllib.parse import quote

from kit.api import Api
from kit.check import check, equal
from kit.context import Context

TOPIC = "filtered"
RECORDS, FILTERS = 1_200, 500
#: Integers of which a double cannot tell all apart, and others.
INTEGERS = [0, 1, -1, 7, 42, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 0.5, -1.25, 7.0, 1e300, -1e300, 0.1]
TEXTS = ["", "a", "A", "ab", "aB", "a%b", "a_b", "it's", "ä", "z", "\U0001f600", "日本"]
#: Columns by their name in a filter, with the name in SQLite.
COLUMNS = {"n": "n", "f": "f", "s": "s", "b": "b", "o.x": "ox", '"odd key"': "odd"}
NUMBERS = {"n": INTEGERS, "f": FLOATS, "o.x": INTEGERS, '"odd key"': INTEGERS}


def run(context: Context) -> None:
    """Appends, flushes now and then, and asks each question of the server and of SQLite."""
    chance = random.Random(20261126)
    server = context.server().start()
    api = server.api
    fields = [("n", "int64"), ("f", "float64"), ("s", "string"), ("b", "bool"), ("odd key", "int64")]
    schema = [{"name": name, "type": word} for name, word in fields]
    schema.append({"name": "o", "type": "struct", "fields": [{"name": "x", "type": "int64"}]})
    api.create(TOPIC, schema={"fields": schema})
    rows = sqlite3.connect(":memory:")
    rows.execute("PRAGMA case_sensitive_like = ON")
    rows.execute("CREATE TABLE t (offset INTEGER, n INTEGER, f REAL, s TEXT, b INTEGER, ox INTEGER, odd INTEGER)")
    appended, asked, found = 0, 0, 0
    while appended < RECORDS:
        count = chance.choice([1, 2, 30, 100])
        batch = [record(chance) for _ in range(count)]
        api.append(TOPIC, json.dumps(batch))
        for number, each in enumerate(batch):
            x = (each.get("o") or {}).get("x")
            row = (appended + number, each["n"], each["f"], each["s"], each["b"], x, each["odd key"])
            rows.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        appended += count
        if chance.random() < 0.4:
            api.flush(TOPIC)
        for _ in range(6):
            found += ask(api, rows, chance, appended)
            asked += 1
    server.restart()
    while asked < FILTERS:
        found += ask(api, rows, chance, appended)
        asked += 1
    check(found > 10 * asked, f"{asked} filters found {found} records: too few to tell")
    context.say(f"{asked} filters over up to {appended} records gave the {found:,} offsets that SQLite gives")


def record(chance: random.Random) -> dict:
    """A record, each member of which may be null."""

    def maybe(values):
        return None if chance.random() < 0.25 else chance.choice(values)

    nested = maybe([{"x": maybe(INTEGERS)}])
    members = {"n": maybe(INTEGERS), "f": maybe(FLOATS), "s": maybe(TEXTS), "b": maybe([True, False])}
    return {**members, "o": nested, "odd key": maybe(INTEGERS)}


def ask(api: Api, rows: sqlite3.Connection, chance: random.Random, tail: int) -> int:
    """One question of both; how many records it has found."""
    ours, theirs = condition(chance, 3)
    since = chance.choice([0, chance.randrange(tail)])
    wanted = [row[0] for row in rows.execute(f"SELECT offset FROM t WHERE offset >= {since} AND ({theirs}) ORDER BY 1")]
    seen = []
    page = {"next_offset": since, "up_to_date": False}
    while not page["up_to_date"]:
        query = f"?offset={page['next_offset']}&limit={chance.choice([7, 1000, 10000])}&filter={quote(ours)}"
        page = api.get(f"/v1/topics/{TOPIC}/records{query}").ok(200).json()
        seen += [each["offset"] for each in page["records"]]
    equal(seen, wanted, f"offsets from {since} of {ours}")
    lines = api.lines(TOPIC, f"?offset={since}&filter={quote(ours)}")
    equal([json.loads(line)["offset"] for line in lines], wanted, f"offsets of lines from {since} of {ours}")
    return len(wanted)


def condition(chance: random.Random, depth: int) -> tuple[str, str]:
    """A condition as a filter and as SQLite writes it."""
    if depth and chance.random() < 0.5:
        if chance.random() < 0.3:
            ours, theirs = condition(chance, depth - 1)
            return f"NOT ({ours})", f"NOT ({theirs})"
        word = chance.choice([" AND ", " OR ", " and "])
        parts = [condition(chance, depth - 1) for _ in range(chance.choice([2, 3]))]
        return tuple("(" + word.join(part[side] for part in parts) + ")" for side in (0, 1))
    kind = chance.choice(["number", "number", "text", "bool", "null", "in", "between", "like", "function"])
    if kind == "null":
        column = chance.choice(list(COLUMNS))
        return both(column, chance.choice(["{} IS NULL", "{} IS NOT NULL"]))
    if kind == "bool":
        return both("b", chance.choice(["{} = TRUE", "{} != FALSE", "{} IN (TRUE)"]))
    operator = chance.choice(["=", "!=", "<>", "<", "<=", ">", ">="])
    if kind == "text":
        return both("s", f"{{}} {operator} {literal(chance.choice(TEXTS))}")
    if kind == "like":
        pattern = "".join(chance.choice(["a", "b", "B", "%", "_", "ä"]) for _ in range(chance.randrange(4)))
        return both("s", f"{{}} {chance.choice(['LIKE', 'NOT LIKE'])} {literal(pattern)}")
    if kind == "function":
        return both(*chance.choice([("s", f"length({{}}) {operator} 2"), ("o.x", f"{{}} {operator} 7.5")]))
    column = chance.choice(list(NUMBERS))
    value = [number(chance, column) for _ in range(3)]
    if kind == "in":
        null = chance.choice(["", "", ", NULL"])
        return both(column, f"{{}} {chance.choice(['IN', 'NOT IN'])} ({value[0]}, {value[1]}{null})")
    if kind == "between":
        return both(column, f"{{}} {chance.choice(['BETWEEN', 'NOT BETWEEN'])} {value[0]} AND {value[1]}")
    if chance.random() < 0.2:
        return both(column, f"{value[2]} {operator} {{}}")
    return both(column, f"{{}} {operator} {value[2]}")


def both(column: str, form: str) -> tuple[str, str]:
    """One test of a column in both forms."""
    return form.format(column), form.format(COLUMNS[column])


def literal(text: str) -> str:
    """A string as both write it."""
    return "'" + text.replace("'", "''") + "'"


def number(chance: random.Random, column: str) -> str:
    """A number that both read as the same: SQLite has no integers past 64 bits, and rounds what has a fraction."""
    if column == "f" or chance.random() < 0.2:
        return chance.choice([repr(value) for value in FLOATS if abs(value) < 1e18])
    return str(chance.choice([value for value in INTEGERS if abs(value) < 2**62]))
