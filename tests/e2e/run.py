#!/usr/bin/env python3
"""The end-to-end suite: `python3 tests/e2e/run.py --binary PATH [--only NAME]…`.

Each step runs the real binary in a folder of its own, prints what it saw, and fails loudly. A step that fails does not
keep the others from running; the exit code is 1 if any has failed.
"""

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kit import process
from kit.check import Failed
from kit.context import Context

# The steps in order, each with the seconds that it may take on a slow machine, its tools' installation included.
STEPS = {
    "readme": 600,
    "recipe": 600,
    "client": 600,
    "bytes": 180,
    "filters": 300,
    "fresh": 300,
    "load": 600,
    "arrow": 600,
    "browser": 900,
    "shutdown": 120,
    "many": 900,
    "upkeep": 1800,
    "hostile": 300,
}


def main() -> int:
    """Runs the steps; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the built `persisting`")
    parser.add_argument("--only", action="append", choices=list(STEPS), help="run this step alone; can be repeated")
    parser.add_argument("--topics", type=int, default=2000, help="topics of the step `many` (default 2000)")
    parser.add_argument("--commits", type=int, default=150, help="commits of the step `upkeep` (default 150)")
    parser.add_argument("--upkeep-topics", type=int, default=10, help="topics of the step `upkeep` (default 10)")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the step `arrow` (default 100,000)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of failed steps")
    given = parser.parse_args()
    binary = given.binary.resolve()
    if not binary.is_file():
        parser.error(f"there is no {binary}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="persisting-e2e-binary-") as folder:
        # A copy: a build at the same time must not change the server between two of its starts.
        copied = Path(shutil.copy2(binary, folder))
        sizes = given.topics, given.commits, given.upkeep_topics, given.rows
        outcomes = [(name, *run_step(Context(name, copied, *sizes), given.keep)) for name in given.only or STEPS]
    print("\n" + "\n".join(f"{'ok' if passed else 'FAILED':>9} {secs:6.1f}s  {name}" for name, passed, secs in outcomes))
    return 0 if all(passed for _, passed, _ in outcomes) else 1


def run_step(context: Context, keep: bool) -> tuple[bool, float]:
    """Runs one step within its time; whether it passed, and the seconds it took."""
    secs = STEPS[context.step]

    def too_late(*_):
        raise Failed(f"the step took longer than {secs} s")

    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(secs)
    passed = False
    try:
        importlib.import_module(f"steps.{context.step}").run(context)
        passed = True
        context.say("passed")
    except Failed as failure:
        context.say(f"FAILED: {failure}\n{_where(failure)}")
    except Exception:
        context.say(f"FAILED: {traceback.format_exc()}")
    finally:
        signal.alarm(0)
        process.end_all()
        if passed or not keep:
            shutil.rmtree(context.folder, ignore_errors=True)
        else:
            context.say(f"kept {context.folder}")
    return passed, time.monotonic() - context.begun


def _where(failure: Failed) -> str:
    """The lines of the suite that led to a failure, innermost last."""
    frames = traceback.extract_tb(failure.__traceback__)
    here = str(Path(__file__).resolve().parent)
    own = [frame for frame in frames if frame.filename.startswith(here) and not frame.filename.endswith("check.py")]
    return "\n".join(f"             at {Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in own[1:])


if __name__ == "__main__":
    sys.exit(main())
