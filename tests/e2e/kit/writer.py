"""A producer that appends record after record, and tries each again until it is acknowledged."""

import http.client
import threading

from kit.api import Api
from kit.check import Failed


class Writer:
    """Appends `{"n": 0}`, `{"n": 1}`, … with producer headers in a thread of its own, until it is told to stop."""

    def __init__(self, api: Api, topic: str, pause_secs: float, most: int | None = None):
        self.api, self.topic, self.pause_secs, self.most = api, topic, pause_secs, most
        self.acknowledged = 0
        self.retries = 0
        self.failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set() and self.acknowledged != self.most:
            headers = {"Producer-Id": "writer", "Producer-Epoch": "0", "Producer-Seq": str(self.acknowledged)}
            body = {"n": self.acknowledged}
            try:
                answer = self.api.call("POST", f"/v1/topics/{self.topic}/records", body, headers, timeout=20)
            except (OSError, http.client.HTTPException):
                self.retries += 1
                self._stop.wait(0.02)
                continue
            if answer.status == 200:
                self.acknowledged += 1
                self._stop.wait(self.pause_secs)
            elif answer.status == 503:
                self.retries += 1
                self._stop.wait(0.02)
            else:
                self.failure = f"{answer.call} answered {answer.status}: {answer.body!r}"
                return

    def stop(self) -> int:
        """Stops it; how many records were acknowledged."""
        self._stop.set()
        self._thread.join(timeout=30)
        if self.failure or self._thread.is_alive():
            raise Failed(self.failure or "the writer does not stop")
        return self.acknowledged
