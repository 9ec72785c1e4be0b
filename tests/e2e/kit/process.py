"""Every process that the suite starts, so that each is ended by its id, whatever happens."""

import os
import shutil
import subprocess

from kit.check import Failed, short

_started: list[subprocess.Popen] = []


def start(arguments, **options) -> subprocess.Popen:
    """Starts a process and remembers it."""
    process = subprocess.Popen([str(argument) for argument in arguments], **options)
    _started.append(process)
    return process


def run(arguments, secs: float, **options) -> str:
    """Runs a command to its end; what it printed on stdout. Fails when it fails or takes too long."""
    words = [str(argument) for argument in arguments]
    process = start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        out, err = process.communicate(timeout=secs)
    except subprocess.TimeoutExpired:
        end(process)
        raise Failed(f"{short(' '.join(words), 200)} took longer than {secs:g} s") from None
    if process.returncode != 0:
        raise Failed(f"{short(' '.join(words), 200)} exited with {process.returncode}:\n{out[-3000:]}{err[-3000:]}")
    return out


def end(process: subprocess.Popen) -> None:
    """Ends one process at once and reaps it."""
    if process.poll() is None:
        process.kill()
    process.wait()


def end_all() -> None:
    """Ends what still runs of all that was started."""
    while _started:
        end(_started.pop())


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that would configure the server, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PERSISTING_")}
    return kept | more


def which(name: str) -> str | None:
    """Where a program is on PATH."""
    return shutil.which(name)
