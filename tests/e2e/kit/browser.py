"""Chromium, and pages that a server of another origin serves to it."""

import functools
import http.server
import json
import queue
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

from kit import process
from kit.check import Failed, check
from kit.tools import CHROMIUM_FLAGS, Tools

FOLDER = Path(__file__).resolve().parent.parent / "browser"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Pages:
    """A static server of its own origin."""

    def __init__(self):
        handler = functools.partial(_Quiet, directory=str(FOLDER))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()


class Browser:
    """One Chromium, driven through playwright-core."""

    def __init__(self, tools: Tools, log: Path, pages: Pages):
        self.pages, self.count = pages, 0
        arguments = ["node", FOLDER / "driver.mjs", tools.node_folder(), tools.chromium(), *CHROMIUM_FLAGS]
        self.log = log
        with log.open("wb") as err:
            self.driver = process.start(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True)
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.driver.stdout:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, command: str, **rest):
        """One command to the driver; what it gave."""
        self.count += 1
        self.driver.stdin.write(json.dumps({"id": self.count, "command": command, **rest}) + "\n")
        self.driver.stdin.flush()
        try:
            line = self.answers.get(timeout=60)
        except queue.Empty:
            line = ""
        check(line != "", f"the browser does not answer {command}:\n{self.log.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"the browser: {answer['error']}")
        return answer["value"]

    def open(self, stream: str, **options: str) -> "Page":
        """A page that reads a stream."""
        return Page(self, stream, options)

    def close(self) -> None:
        """Ends the driver, which ends Chromium."""
        self.driver.stdin.close()
        try:
            self.driver.wait(timeout=20)
        finally:
            process.end(self.driver)


class Page:
    """A page with a plain EventSource, and what it has seen."""

    def __init__(self, browser: Browser, stream: str, options: dict[str, str]):
        self.browser = browser
        self.name = f"page-{browser.count}"
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in {"stream": stream, **options}.items())
        browser.ask("open", page=self.name, url=f"{browser.pages.origin}/page.html?{query}")

    def evaluate(self, script: str):
        """The value of an expression in the page."""
        return self.browser.ask("evaluate", page=self.name, script=script)

    def records(self) -> list[bytes]:
        """The texts of the records that it holds."""
        return [text.encode() for text in self.evaluate("seen.records")]

    def count(self) -> int:
        """How many records it holds."""
        return self.evaluate("seen.records.length")

    def state(self) -> int:
        """The EventSource's `readyState`: 0 connecting, 1 open, 2 closed."""
        return self.evaluate("source.readyState")

    def control(self, *names: str) -> list[dict]:
        """The control events of these names, in order."""
        return [event for event in self.evaluate("seen.control") if event["name"] in names]

    def told(self) -> str:
        """What it knows, for a message."""
        known = self.evaluate("({control: seen.control, opened: seen.opened, errors: seen.errors, state: source.readyState,"
                              " records: seen.records.length, last: seen.ids.at(-1) ?? null})")
        return f"the page has {json.dumps(known)[:1500]}"

    def close(self) -> None:
        """Closes the page."""
        self.browser.ask("close", page=self.name)
