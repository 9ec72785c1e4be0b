"""Console transcripts in Markdown: the commands, and what is shown below them."""

import re
import shlex
from dataclasses import dataclass

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What differs from run to run: as it stands in the text, and what it then may be.
_VOLATILE = [
    (_TIME, _TIME),
    (_UUID, _UUID),
    (r'"epoch":\s*\d+', r'"epoch":\s*\d+'),
    (r"(?m:^id: \d+:)", r"id: \d+:"),
    (r"(?im:^x-request-id: .*$)", r"(?i:x-request-id: [\x21-\x7e]+)"),
    (r"(?im:^etag: .*$)", r"(?i:etag: \S+)"),
    (r"(?im:^date: .*$)", r"(?i:date: [^\n]+)"),
    (r"(?im:^persisting-epoch: .*$)", r"(?i:persisting-epoch: \d+)"),
    (r'"instance":\s*"[^"]*"', r'"instance":\s*"[^"]*"'),
    (r"/[^\s\"']*/(?:topics|datasets)/", r"/[^\s\"']*/(?:topics|datasets)/"),
    (r"…|\.\.\.", r"[\s\S]*?"),
]
_ANY_VOLATILE = re.compile("|".join(f"({seen})" for seen, _ in _VOLATILE))


@dataclass
class Command:
    """A command of a transcript, the line it stands on, and the output shown below it."""

    line: int
    text: str
    shown: str

    @property
    def streams(self) -> bool:
        """Whether it goes on until it is ended: a stream that blocks, read with `curl -N`."""
        unbuffered = re.search(r"\bcurl\b[^|]*\s(-[A-Za-z]*N[A-Za-z]*|--no-buffer)\b", self.text)
        return unbuffered is not None and "block=false" not in self.text

    def matches(self, output: str) -> bool:
        """Whether it printed what is shown; of a stream, the beginning is enough."""
        pattern = _pattern(_tidy(self.shown))
        seen = _tidy(output)
        return (re.match(pattern, seen) if self.streams else re.fullmatch(pattern, seen)) is not None


def commands(markdown: str) -> list[Command]:
    """The commands of all blocks marked `console`, in order."""
    found, block, pending = [], False, None
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.startswith("```"):
            block = not block and line.strip() == "```console"
            pending = None
        elif not block:
            continue
        elif pending is not None and _is_unfinished(pending.text):
            pending.text += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            pending = Command(number, line[2:], "")
            found.append(pending)
        elif pending is not None:
            pending.shown += line + "\n"
    return found


def _is_unfinished(command: str) -> bool:
    """Whether a shell would read on: a backslash at the end, an open quote, a here-document."""
    if command.endswith("\\"):
        return True
    here = re.search(r"<<-?\s*['\"]?(\w+)['\"]?", command)
    if here:
        return here.group(1) not in command.splitlines()[1:]
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _pattern(shown: str) -> str:
    """A regular expression for what is shown, with its volatile parts set free."""
    parts, at = [], 0
    for found in _ANY_VOLATILE.finditer(shown):
        parts += [re.escape(shown[at : found.start()]), _VOLATILE[found.lastindex - 1][1]]
        at = found.end()
    return "".join([*parts, re.escape(shown[at:])])
