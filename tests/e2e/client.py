"""The quick start with the generated client, unchanged: client.py BASE_URL GENERATED_FOLDER

GENERATED_FOLDER is what generate_client.sh has filled. A line is printed for each step; a failed assertion ends the
run.
"""

import datetime
import json
import sys
import uuid

if len(sys.argv) != 3:
    sys.exit("usage: client.py BASE_URL GENERATED_FOLDER")
sys.path.insert(0, sys.argv[2])

import httpx  # noqa: E402
from persisting_client import Client  # noqa: E402
from persisting_client.api.backends import get_backend, list_backends  # noqa: E402
from persisting_client.api.cursors import delete_cursor, get_cursor, list_cursors, put_cursor  # noqa: E402
from persisting_client.api.maintenance import close_topic, flush_topic, get_count, get_stats  # noqa: E402
from persisting_client.api.records import append_records, get_record, read_records  # noqa: E402
from persisting_client.api.schemas import get_schema, list_schemas  # noqa: E402
from persisting_client.api.search import create_index, list_indexes  # noqa: E402
from persisting_client.api.server import get_metrics, get_readiness, get_version  # noqa: E402
from persisting_client.api.stream import stream_records  # noqa: E402
from persisting_client.api.topics import (  # noqa: E402
    create_topic,
    delete_topic,
    get_topic,
    list_topics,
    update_topic,
)
from persisting_client.api.versions import list_tags  # noqa: E402
from persisting_client.models import (  # noqa: E402
    AppendReceipt,
    Backend,
    Backends,
    Closed,
    Count,
    CreateTopic,
    Cursor,
    CursorList,
    CursorRequest,
    ErrorCode,
    Field,
    Flushed,
    Index,
    IndexList,
    IndexParams,
    IndexRequest,
    IndexType,
    Page,
    Problem,
    Readiness,
    Record,
    RecordValue,
    Retention,
    SchemaList,
    SchemaVersion,
    SseRecordEvent,
    Stats,
    TopicDescription,
    TopicList,
    TopicPatch,
    TopicState,
    Version,
)
from persisting_client.types import Response  # noqa: E402

# The first two, one batch, bring every key: where columns do not evolve, they are those of the first batch.
VALUES = [
    {"id": "1", "n": 1, "tags": ["a", "b"], "name": "x"},
    {"id": "2", "n": 2, "at": {"x": 0.5, "y": -1.25}},
    {"id": "3", "n": 3, "name": 'Grüße, 世界 "quoted"'},
]
WAIT_SECS = 10


def typed(answer: Response, status: int, kind: type):
    """The parsed answer, which must have this status and type."""
    seen = int(answer.status_code)
    assert seen == status, f"status {seen} where {status} was wanted: {answer.content[:500]!r}"
    assert isinstance(answer.parsed, kind), f"{type(answer.parsed).__name__} where {kind.__name__} was wanted"
    return answer.parsed


def refused(answer: Response, status: int, code: ErrorCode) -> Problem:
    """The problem that the answer is, which must have this status and code."""
    problem = typed(answer, status, Problem)
    assert problem.code is code, f"code {problem.code} where {code} was wanted"
    assert problem.status == status, f"the problem says {problem.status} where the answer has {status}"
    assert problem.type_.endswith(code.value), f"the type {problem.type_} does not end in {code.value}"
    assert problem.detail, "the problem has no detail"
    assert problem.instance == answer.headers["x-request-id"], "the problem's instance is not the request's id"
    return problem


def read_all(client: Client, topic: str, count: int) -> list[Record]:
    """Reads from the start, page by page, until there are so many records."""
    records: list[Record] = []
    offset = 0
    while len(records) < count:
        answer = read_records.sync_detailed(topic, client=client, offset=str(offset), limit=2, wait=WAIT_SECS)
        page = typed(answer, 200, Page)
        assert page.records, f"no record at offset {offset} within {WAIT_SECS} s"
        assert page.next_offset == page.records[-1].offset + 1, f"the page goes on at {page.next_offset}"
        records.extend(page.records)
        offset = page.next_offset
    return records


def check_server(client: Client) -> list[Backend]:
    """The server is ready, and names its backends."""
    version = typed(get_version.sync_detailed(client=client), 200, Version)
    assert version.api == 1, f"the contract has version {version.api}"
    ready = typed(get_readiness.sync_detailed(client=client, verbose=True), 200, Readiness)
    assert ready.degraded == [], f"degraded topics: {ready.degraded}"
    metrics = typed(get_metrics.sync_detailed(client=client), 200, str)
    assert "persisting_" in metrics, "the metrics have no series of the service"
    print(f"server: {version.name} {version.version} is ready")

    backends = typed(list_backends.sync_detailed(client=client), 200, Backends).backends
    names = [backend.name for backend in backends]
    assert {"memory", "lance", "persisting"} <= set(names), f"backends are {names}"
    for backend in backends:
        one = typed(get_backend.sync_detailed(backend.name, client=client), 200, Backend)
        assert one == backend, f"{backend.name} alone is not what it is in the list"
    refused(get_backend.sync_detailed("none", client=client), 404, ErrorCode.BACKEND_NOT_FOUND)
    print(f"backends: {', '.join(names)}")
    return backends


def check_creation(client: Client, backend: str, topic: str) -> None:
    """A topic is made once, found again, and refused with another configuration."""
    ask = CreateTopic(backend=backend, retention=Retention(max_records=1_000_000))
    answer = create_topic.sync_detailed(topic, client=client, body=ask)
    made = typed(answer, 201, TopicDescription)
    assert answer.headers["location"] == f"/v1/topics/{topic}", f"location is {answer.headers.get('location')}"
    assert (made.topic, made.backend, made.state) == (topic, backend, TopicState.OPEN), f"made was {made}"
    assert (made.earliest_offset, made.tail_offset) == (0, 0), f"a new topic is at {made.tail_offset}"
    again = typed(create_topic.sync_detailed(topic, client=client, body=ask), 200, TopicDescription)
    assert again.id == made.id, "the same request made another topic"
    other = CreateTopic(retention=Retention(max_records=7))
    refused(create_topic.sync_detailed(topic, client=client, body=other), 409, ErrorCode.TOPIC_CONFLICT)
    seen = get_topic.sync_detailed(topic, client=client)
    assert typed(seen, 200, TopicDescription).to_dict() == again.to_dict(), "the description is not that of creation"
    patch = TopicPatch(retention=None)
    patched = update_topic.sync_detailed(topic, client=client, body=patch, if_match=seen.headers["etag"])
    assert typed(patched, 200, TopicDescription).retention.max_records is None, "the retention is still there"
    print(f"{backend}: created {topic}")


def check_append(client: Client, backend: Backend, topic: str) -> None:
    """Records get consecutive offsets; a retry with a key is stored once, where the backend has that."""
    batch = [RecordValue.from_dict(value) for value in VALUES[:2]]
    answer = append_records.sync_detailed(topic, client=client, body=batch)
    assert answer.status_code in (200, 202), f"status {int(answer.status_code)}: {answer.content[:500]!r}"
    receipt = typed(answer, int(answer.status_code), AppendReceipt)
    place = (receipt.first_offset, receipt.last_offset, receipt.next_offset, receipt.count)
    assert place == (0, 1, 2, 2), f"the batch is at {place}"

    once = RecordValue.from_dict(VALUES[2])
    key = str(uuid.uuid4()) if backend.capabilities.exactly_once else None
    headers = {"idempotency_key": key} if key else {}
    answer = append_records.sync_detailed(topic, client=client, body=once, expected_offset=2, **headers)
    single = typed(answer, int(answer.status_code), AppendReceipt)
    assert (single.first_offset, single.count) == (2, 1), f"the single record is at {single.first_offset}"
    if key:
        answer = append_records.sync_detailed(topic, client=client, body=once, expected_offset=2, **headers)
        repeated = typed(answer, int(answer.status_code), AppendReceipt)
        assert (repeated.duplicate, repeated.first_offset) == (True, 2), f"the retry was answered {repeated}"
    else:
        answer = append_records.sync_detailed(topic, client=client, body=once, idempotency_key="k")
        refused(answer, 400, ErrorCode.UNSUPPORTED_BY_BACKEND)
    mismatch = append_records.sync_detailed(topic, client=client, body=once, expected_offset=9)
    problem = refused(mismatch, 412, ErrorCode.OFFSET_MISMATCH)
    assert problem.tail_offset == 3, f"the mismatch tells {problem.tail_offset}"
    print(f"{backend.name}: appended {receipt.count + single.count} records, {receipt.durability.value}")


def check_read(client: Client, backend: str, topic: str) -> None:
    """What is read is what was appended, by page, by offset and by stream."""
    records = read_all(client, topic, len(VALUES))
    assert [record.offset for record in records] == [0, 1, 2], f"offsets are {[r.offset for r in records]}"
    for record, value in zip(records, VALUES, strict=True):
        assert record.value.to_dict() == value, f"{record.value.to_dict()} was read where {value} was appended"
        assert record.timestamp.utcoffset() == datetime.timedelta(0), f"{record.timestamp} is not in UTC"
    one = typed(get_record.sync_detailed(topic, 1, client=client), 200, Record)
    assert one == records[1], f"the record at 1 alone is {one}"
    problem = refused(get_record.sync_detailed(topic, 3, client=client), 416, ErrorCode.OFFSET_OUT_OF_RANGE)
    assert problem.tail_offset == 3, f"the tail is told as {problem.tail_offset}"
    end = typed(read_records.sync_detailed(topic, client=client, offset="latest"), 200, Page)
    assert (end.records, end.next_offset, end.up_to_date) == ([], 3, True), f"the end is {end}"
    print(f"{backend}: read {len(records)} records back")

    text = typed(stream_records.sync_detailed(topic, client=client, offset="earliest", block=False), 200, str)
    assert record_events(text) == records, f"the stream was {text!r}"
    print(f"{backend}: streamed {len(records)} records")


def record_events(text: str) -> list[Record]:
    """The records of an event stream, from its unnamed events."""
    records = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "data" in fields and "event" not in fields:
            event = SseRecordEvent.from_dict({"id": fields["id"], "data": json.loads(fields["data"])})
            assert event.id == f"{event.id.split(':')[0]}:{event.data.offset}", f"the event's id is {event.id}"
            records.append(event.data)
    return records


def check_figures(client: Client, backend: Backend, topic: str) -> None:
    """Counts and positions are right, and all is committed after a flush."""
    count = typed(get_count.sync_detailed(topic, client=client), 200, Count)
    assert count.total_count == 3, f"the count is {count.total_count}"
    stats = typed(get_stats.sync_detailed(topic, client=client), 200, Stats)
    seen = (stats.topic, stats.backend, stats.total_count, stats.earliest_offset, stats.tail_offset)
    assert seen == (topic, backend.name, 3, 0, 3), f"the figures are {seen}"
    print(f"{backend.name}: counted {count.total_count} records")

    flushed = typed(flush_topic.sync_detailed(topic, client=client), 200, Flushed)
    committed = 3 if backend.capabilities.persistence else None
    assert flushed.committed_offset == committed, f"committed is {flushed.committed_offset}"
    assert (flushed.version is None) == (committed is None), f"the version is {flushed.version}"
    print(f"{backend.name}: flushed up to {flushed.committed_offset}")


def check_schemas(client: Client, backend: Backend, topic: str) -> None:
    """The schema has the fields of the records, where the backend has columns."""
    answer = list_schemas.sync_detailed(topic, client=client)
    if backend.capabilities.schema_evolution is None:
        refused(answer, 400, ErrorCode.UNSUPPORTED_BY_BACKEND)
        print(f"{backend.name}: has no schemas")
        return
    schemas = typed(answer, 200, SchemaList).schemas
    assert schemas, "there is no schema version"
    newest = typed(get_schema.sync_detailed(topic, "latest", client=client), 200, SchemaVersion)
    assert newest == schemas[-1], "the newest version is not the last of the list"
    assert all(isinstance(field, Field) for field in newest.fields), "a field is not typed"
    names = {field.name for field in newest.fields}
    assert names == {"id", "n", "tags", "at", "name"}, f"the fields are {sorted(names)}"
    print(f"{backend.name}: has {len(schemas)} schema versions")


def check_indexes(client: Client, backend: Backend, topic: str) -> None:
    """An index is made with one parameter of its kind, and the others are the server's."""
    body = IndexRequest(column="name", type_=IndexType.INVERTED, name="words", params=IndexParams(stem=True))
    answer = create_index.sync_detailed(topic, client=client, body=body)
    if not backend.capabilities.vector_search:
        refused(answer, 400, ErrorCode.UNSUPPORTED_BY_BACKEND)
        return
    typed(answer, 202, Index)
    (index,) = typed(list_indexes.sync_detailed(topic, client=client), 200, IndexList).indexes
    seen = (index.name, index.type_, index.params.to_dict())
    assert seen == ("words", IndexType.INVERTED, {"stem": True}), f"the index is {index}"
    print(f"{backend.name}: made an index")


def check_cursors(client: Client, backend: str, topic: str) -> None:
    """A named position is set, read from, moved from where it is expected, and forgotten."""

    def put(**position) -> Response:
        return put_cursor.sync_detailed(topic, "reader", client=client, body=CursorRequest(**position))

    made = typed(put(offset=1), 200, Cursor)
    assert (made.name, made.offset, made.lag) == ("reader", 1, len(VALUES) - 1), f"the cursor is {made}"
    page = typed(read_records.sync_detailed(topic, client=client, cursor="reader"), 200, Page)
    assert [record.offset for record in page.records] == [1, 2], f"a read from the cursor gives {page.records}"
    moved = typed(put(offset=3, expected=1), 200, Cursor)
    refused(put(offset=2, expected=1), 412, ErrorCode.PRECONDITION_FAILED)
    assert typed(get_cursor.sync_detailed(topic, "reader", client=client), 200, Cursor) == moved
    dated = typed(put(since=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)), 200, Cursor)
    assert dated.offset == 0, f"since a time before all records the cursor is {dated}"
    assert typed(list_cursors.sync_detailed(topic, client=client), 200, CursorList).cursors == [dated]
    answer = delete_cursor.sync_detailed(topic, "reader", client=client)
    assert answer.status_code == 204, f"deleting answered {int(answer.status_code)}: {answer.content[:500]!r}"
    refused(get_cursor.sync_detailed(topic, "reader", client=client), 404, ErrorCode.NOT_FOUND)
    print(f"{backend}: moved a cursor")


def check_close(client: Client, backend: str, topic: str) -> None:
    """A closed topic stays readable and takes nothing more."""
    closed = typed(close_topic.sync_detailed(topic, client=client), 200, Closed)
    assert (closed.state, closed.next_offset) == (TopicState.CLOSED, 3), f"closing answered {closed}"
    more = append_records.sync_detailed(topic, client=client, body=[RecordValue.from_dict(VALUES[0])])
    refused(more, 409, ErrorCode.TOPIC_CLOSED)
    page = typed(read_records.sync_detailed(topic, client=client), 200, Page)
    assert (len(page.records), page.closed) == (3, True), f"the closed topic reads as {page}"
    print(f"{backend}: closed")


def check_refusals(client: Client) -> None:
    """What is not there, or not served, is a typed problem."""
    missing = f"missing-{uuid.uuid4().hex}"
    refused(get_topic.sync_detailed(missing, client=client), 404, ErrorCode.TOPIC_NOT_FOUND)
    refused(read_records.sync_detailed(missing, client=client), 404, ErrorCode.TOPIC_NOT_FOUND)
    refused(list_tags.sync_detailed(missing, client=client), 404, ErrorCode.TOPIC_NOT_FOUND)
    refused(get_topic.sync_detailed("-", client=client), 400, ErrorCode.INVALID_TOPIC_NAME)
    print("refusals: typed problems")


def check_list_and_delete(client: Client, prefix: str, topics: list[str]) -> None:
    """The list has all topics page by page, and nothing once they are deleted."""
    listed: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = typed(list_topics.sync_detailed(client=client, prefix=prefix, limit=2, **more), 200, TopicList)
        listed.extend(description.topic for description in page.topics)
        if page.next_after is None:
            break
        more = {"after": page.next_after}
    assert listed == sorted(topics), f"listed are {listed}"
    print(f"list: {len(listed)} topics")

    for topic in topics:
        answer = delete_topic.sync_detailed(topic, client=client)
        assert answer.status_code == 204, f"deleting answered {int(answer.status_code)}: {answer.content[:500]!r}"
        refused(get_topic.sync_detailed(topic, client=client), 404, ErrorCode.TOPIC_NOT_FOUND)
    rest = typed(list_topics.sync_detailed(client=client, prefix=prefix), 200, TopicList)
    assert rest.topics == [], f"left are {rest.topics}"
    print(f"delete: {len(topics)} topics")


def main() -> None:
    """All steps, one after another."""
    prefix = f"client-{uuid.uuid4().hex[:8]}-"
    client = Client(base_url=sys.argv[1], timeout=httpx.Timeout(60), raise_on_unexpected_status=True)
    with client:
        backends = check_server(client)
        check_refusals(client)
        topics = []
        for backend in backends:
            topic = prefix + backend.name
            topics.append(topic)
            check_creation(client, backend.name, topic)
            check_append(client, backend, topic)
            check_read(client, backend.name, topic)
            check_figures(client, backend, topic)
            check_schemas(client, backend, topic)
            check_indexes(client, backend, topic)
            check_cursors(client, backend.name, topic)
            check_close(client, backend.name, topic)
        check_list_and_delete(client, prefix, topics)


main()
