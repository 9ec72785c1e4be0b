"""Every command of README.md does what the README shows."""

import os
import subprocess
from pathlib import Path

from kit import process
from kit.check import Failed, check, until
from kit.context import Context
from kit.transcript import Command, commands

README = Path(__file__).resolve().parents[3] / "README.md"
SHOWN_ADDRESS = "127.0.0.1:8080"
COMMAND_SECS = 60


def run(context: Context) -> None:
    """Runs the commands in order, in a fresh folder, beside a fresh server whose data are in `./data`."""
    found = [command for command in commands(README.read_text()) if not command.text.startswith("make")]
    check(bool(found), f"{README} shows no command")
    server = context.server(name="home").start()
    reader = Reader(context, server)
    for command in found:
        reader.take(command)
    reader.finish()
    context.say(f"{len(found)} commands, {reader.compared} of them with the output shown")


class Reader:
    """Somebody who types the commands one after another; a stream stays open in another window."""

    def __init__(self, context: Context, server):
        self.context, self.server = context, server
        self.home = server.folder
        path = f"{context.tools.venv_bin()}:{context.binary.parent}:{os.environ['PATH']}"
        self.environment = process.clean_environment(PATH=path, HOME=str(self.home))
        self.address = server.base.removeprefix("http://")
        self.open: list[tuple[Command, subprocess.Popen, Path]] = []
        self.compared = 0

    def take(self, command: Command) -> None:
        """Runs a command to its end, or until a stream has begun."""
        output = self.home / f".command-{command.line}.out"
        text = command.text.replace(SHOWN_ADDRESS, self.address)
        with output.open("wb") as out:
            started = process.start(
                ["bash", "-o", "pipefail", "-c", text if not command.streams else f"exec {text}"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, cwd=self.home, env=self.environment,
            )
        if command.streams:
            until(lambda: self._printed(output), COMMAND_SECS, f"the stream of line {command.line} says nothing")
            self.open.append((command, started, output))
            return
        try:
            _, err = started.communicate(timeout=COMMAND_SECS)
        except subprocess.TimeoutExpired:
            raise Failed(f"line {command.line} took longer than {COMMAND_SECS} s: {command.text}") from None
        if started.returncode != 0:
            raise Failed(f"line {command.line} exited with {started.returncode}: {command.text}\n{err.decode()}")
        self._compare(command, self._printed(output))

    def finish(self) -> None:
        """Waits until each stream has shown what it should, and ends it."""
        for command, started, output in self.open:
            self._wait_for(command, output)
            process.end(started)

    def _wait_for(self, command: Command, output: Path) -> None:
        def seen() -> str:
            return f"line {command.line}: {command.text}\nprinted\n{self._printed(output)}\nnot\n{command.shown}"

        if command.shown.strip():
            until(lambda: command.matches(self._printed(output)), COMMAND_SECS, seen)
            self.compared += 1

    def _printed(self, output: Path) -> str:
        return output.read_text().replace("\r\n", "\n").replace(self.address, SHOWN_ADDRESS)

    def _compare(self, command: Command, printed: str) -> None:
        if not command.shown.strip():
            return
        shown = f"line {command.line}: {command.text}\nprinted\n{printed}\nwhere the README shows\n{command.shown}"
        check(command.matches(printed), shown)
        self.compared += 1
