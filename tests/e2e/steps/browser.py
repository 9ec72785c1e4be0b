"""A plain EventSource in Chromium, on a page of another origin, gets every record once, in order, or is told."""

import time

from kit.browser import Browser, Page, Pages
from kit.check import check, equal, until
from kit.context import Context
from kit.proxy import Proxy
from kit.records import offset_of, same_bytes
from kit.server import Server
from kit.writer import Writer

CUTS = 10
WAIT_SECS = 60


def run(context: Context) -> None:
    """Every scenario with a topic of its own; one Chromium and one server for all."""
    pages = Pages()
    browser = Browser(context.tools, context.folder / "browser.log", pages)
    server = context.server("--cors-origin", pages.origin).start()
    try:
        for scenario in (cut_ten_times, lost_before_the_first, trimmed_away, reset, through_a_problem, the_end):
            scenario(Setting(context, browser, server))
        errors = browser.log.read_text()
        check("Error" not in errors, f"the browser's driver said\n{errors}")
    finally:
        browser.close()
        pages.close()


class Setting:
    """A server, and a browser that reaches it through a proxy of its own."""

    def __init__(self, context: Context, browser: Browser, server: Server):
        self.context, self.browser, self.server = context, browser, server
        self.api = server.api
        self.proxy = Proxy(server.port)

    def open(self, topic: str, query: str = "", **options: str) -> Page:
        """A page that reads a topic's stream through the proxy; waits until it knows its position."""
        page = self.browser.open(f"http://127.0.0.1:{self.proxy.port}/v1/topics/{topic}/stream{query}", **options)
        until(lambda: page.control("position"), WAIT_SECS, page.told)
        return page

    def ends_with_the_topic(self, page: Page, topic: str, first: int = 0) -> None:
        """Waits until the page holds what the topic holds from an offset on: every record once, in order, same bytes."""
        lines = [line for line in self.api.lines(topic) if offset_of(line) >= first]
        wanted = [offset_of(line) for line in lines]
        until(lambda: page.count() >= len(lines), WAIT_SECS, lambda: f"{len(lines)} records; {page.told()}")
        equal([offset_of(text) for text in page.records()], wanted, f"the offsets on the page of {topic}")
        same_bytes(page.records(), lines, f"the page of {topic} against NDJSON")

    def done(self, page: Page) -> None:
        """Closes page and proxy."""
        page.close()
        self.proxy.close()


def cut_ten_times(setting: Setting) -> None:
    """The connection is lost ten times while records arrive: reset, cut within an event, the server killed."""
    setting.api.create("cut")
    page = setting.open("cut", "?offset=0")
    writer = Writer(setting.api, "cut", pause_secs=0.01)
    for number in range(CUTS):
        _lose(setting, page, number)
    total = writer.stop()
    setting.ends_with_the_topic(page, "cut")
    equal(page.count(), total, "records on the page against those acknowledged")
    equal(page.control("gap", "problem", "end"), [], "gaps, problems and ends")
    setting.context.say(f"(a) {CUTS} connections lost: {total} records, each once, in order; {writer.retries} appends retried")
    setting.done(page)


def _lose(setting: Setting, page: Page, number: int) -> None:
    """Waits until records arrive, loses the connection, and waits until the page has another."""
    before, opened = page.count(), page.evaluate("seen.opened")
    until(lambda: page.count() > before + 20, WAIT_SECS, page.told)
    if number % 4 == 1:
        setting.server.restart()
    elif number % 4 == 3:
        setting.proxy.cut_after(150)
    else:
        setting.proxy.cut()
    until(lambda: page.evaluate("seen.opened") > opened, WAIT_SECS, page.told)


def lost_before_the_first(setting: Setting) -> None:
    """The connection is lost once before the first record; five are appended meanwhile."""
    setting.api.create("first")
    page = setting.open("first")
    setting.proxy.refuse(True)
    setting.proxy.cut()
    until(lambda: page.state() == 0, WAIT_SECS, page.told)
    setting.api.append("first", [{"n": n} for n in range(5)])
    setting.proxy.refuse(False)
    setting.ends_with_the_topic(page, "first")
    equal(page.control("gap"), [], "gaps")
    setting.context.say("(b) lost before the first record: the five appended meanwhile all came")
    setting.done(page)


def trimmed_away(setting: Setting) -> None:
    """While the page is away, the topic is trimmed past what it has seen."""
    setting.api.create("trimmed")
    setting.api.append("trimmed", [{"n": n} for n in range(5)])
    page = setting.open("trimmed", "?offset=0")
    until(lambda: page.count() == 5, WAIT_SECS, page.told)
    setting.proxy.refuse(True)
    setting.proxy.cut()
    setting.api.append("trimmed", [{"n": n} for n in range(5, 15)])
    setting.api.call("POST", "/v1/topics/trimmed/trim", {"before": 10}).ok(200)
    setting.proxy.refuse(False)
    until(lambda: page.count() >= 10, WAIT_SECS, page.told)
    gaps = [(gap["data"], gap["records"]) for gap in page.control("gap")]
    equal(gaps, [({"from": 5, "to": 10, "reason": "retention"}, 5)], "the gaps, each with the records before it")
    equal([offset_of(text) for text in page.records()], [0, 1, 2, 3, 4, 10, 11, 12, 13, 14], "the offsets on the page")
    setting.context.say("(c) trimmed below the Last-Event-ID: a gap from 5 to 10, then the rest")
    setting.done(page)


def reset(setting: Setting) -> None:
    """A `lance` topic loses accepted records to SIGKILL; the page is told, and ends with what the topic holds now."""
    setting.api.create("volatile", backend="lance", backend_options={"flush_interval_ms": 600_000})
    setting.api.append("volatile", [{"n": n} for n in range(5)], "?ack=committed")
    setting.api.append("volatile", [{"n": n} for n in range(5, 10)])
    page = setting.open("volatile", "?offset=0")
    until(lambda: page.count() == 10, WAIT_SECS, page.told)
    setting.server.restart()
    setting.api.append("volatile", [{"n": -n} for n in range(5, 8)])
    until(lambda: page.control("gap"), WAIT_SECS, page.told)
    equal([gap["data"] for gap in page.control("gap")], [{"from": 10, "to": 5, "reason": "reset"}], "the gaps")
    setting.ends_with_the_topic(page, "volatile")
    equal(page.count(), 8, "records on the page")
    setting.context.say("(d) a lance topic after SIGKILL: a gap with reason reset, then the records that took their places")
    setting.done(page)


def through_a_problem(setting: Setting) -> None:
    """The dataset's folder is away for a while; a page that gives up at the first error lives through it."""
    setting.api.create("broken")
    batch = [{"n": n, "filler": "x" * 1000} for n in range(2000)]
    for _ in range(5):
        setting.api.append("broken", batch)
    setting.api.flush("broken")
    # After an orderly stop no log is replayed: what was flushed is in the dataset alone.
    setting.server.stop()
    setting.server.start()
    dataset = setting.server.data / "datasets" / f"{setting.api.describe('broken')['id']}.lance"
    away = dataset.with_suffix(".away")
    dataset.rename(away)
    page = setting.open("broken", "?offset=0", onerror="close")
    until(lambda: page.control("problem"), WAIT_SECS, page.told)
    equal(page.state(), 1, "the page's readyState after a problem")
    check(not dataset.exists(), "the server made a new dataset where its own was away")
    away.rename(dataset)
    setting.ends_with_the_topic(page, "broken")
    equal((page.state(), page.evaluate("seen.errors")), (1, 0), "readyState and errors at the end")
    equal(page.control("gap", "end"), [], "gaps and ends")
    problem = page.control("problem")[0]["data"]
    setting.context.say(f"(e) a dataset away for a while: a problem ({problem['code']}), then all {page.count()} records")
    setting.done(page)


def the_end(setting: Setting) -> None:
    """A closed topic ends the stream for good: the browser comes back once, is answered 204, and asks no more."""
    setting.api.create("closing")
    setting.api.append("closing", [{"n": n} for n in range(3)])
    page = setting.open("closing", "?offset=0")
    until(lambda: page.count() == 3, WAIT_SECS, page.told)
    setting.api.call("POST", "/v1/topics/closing/close").ok(200)
    until(lambda: page.state() == 2, WAIT_SECS, page.told)
    equal([end["data"] for end in page.control("end")], [{"reason": "closed", "next_offset": 3}], "the ends")
    ids = [line.split(": ")[1] for head in setting.proxy.requests for line in head.split("\r\n")
           if line.lower().startswith("last-event-id")]
    equal((len(setting.proxy.requests), ids), (2, ["end"]), "requests, and the Last-Event-IDs in them")
    # Nothing is waited for: this is how long it is watched, twice the time after which a browser would come back.
    time.sleep(4.5)
    equal(len(setting.proxy.requests), 2, "requests after a while")
    setting.context.say("(f) a closed topic: an end, one more request, and none after it")
    setting.done(page)
