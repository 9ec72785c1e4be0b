"""Plain HTTP/1.1 calls, a connection each, bounded in time."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from kit.check import Failed, short


@dataclass
class Answer:
    """Status, headers with small names, body."""

    call: str
    status: int
    headers: dict[str, str]
    body: bytes

    def ok(self, *statuses: int) -> "Answer":
        """Itself; fails unless the status is one of these (200, 201 or 204 where none is named)."""
        if self.status not in (statuses or (200, 201, 204)):
            raise Failed(f"{self.call} answered {self.status}: {short(self.body.decode(errors='replace'))}")
        return self

    def json(self):
        """The body as JSON."""
        return json.loads(self.body)


class Api:
    """Calls to one server."""

    def __init__(self, base: str):
        self.base = base
        self.address = urlsplit(base).netloc

    def call(self, method: str, path: str, body=None, headers=None, timeout: float = 60) -> Answer:
        """One request; a body that is neither bytes nor text is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(f"{method} {path}", response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **options) -> Answer:
        """GET."""
        return self.call("GET", path, **options)

    def create(self, name: str, **members) -> dict:
        """Creates a topic; its description."""
        return self.call("PUT", f"/v1/topics/{name}", members).ok(201).json()

    def append(self, name: str, records, query: str = "", **options) -> dict:
        """Appends a record, a batch, or JSON text; the answer."""
        return self.call("POST", f"/v1/topics/{name}/records{query}", records, **options).ok(200, 202).json()

    def flush(self, name: str) -> dict:
        """Commits what was acknowledged."""
        return self.call("POST", f"/v1/topics/{name}/flush", timeout=120).ok(200).json()

    def describe(self, name: str) -> dict:
        """The topic's description."""
        return self.get(f"/v1/topics/{quote(name)}").ok(200).json()

    def lines(self, name: str, query: str = "") -> list[bytes]:
        """All records as NDJSON lines."""
        path = f"/v1/topics/{name}/records{query}"
        body = self.get(path, headers={"Accept": "application/x-ndjson"}, timeout=120).ok(200).body
        return body.splitlines() if body else []
