#!/usr/bin/env python3
"""Measures what is bounded, from outside: memory, the time of a start, what overload does, what growth costs.

    benches/bounds.py SUBCOMMAND --binary PATH [--scale 0.01] [--dir FOLDER] [--out FILE.json] [options of its own]

    idle      memory of a server with 1,000 topics in which nothing is going on
    recovery  the time of a start after a SIGKILL, with 1 GiB of log
    overload  three times what the server can take, for minutes: what is refused, what it holds, whether anything is lost
    beside    the latency of appends beside a reader and compaction
    growth    what an append costs as a topic grows, and as topics become many; --plot FILE.svg draws it

Each server gets a fresh folder below --dir (default: the system's for temporary files), which is removed with it. Printed is a
table in Markdown, and --out has everything that was measured. --scale makes sizes and times smaller, to try things; figures
then mean little. What is aimed at is told beside the figure: the exit code is 1 only where something was lost or failed.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

from bounds import beside, growth, idle, overload, recovery
from bounds.server import Failed

SUBCOMMANDS = {"idle": idle, "recovery": recovery, "overload": overload, "beside": beside, "growth": growth}


def main() -> int:
    about, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter)
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    for name, module in SUBCOMMANDS.items():
        own = subcommands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        own.add_argument("--binary", type=Path, required=True, help="the server, a release build")
        own.add_argument("--scale", type=float, default=1.0, help="makes sizes and times smaller")
        own.add_argument("--dir", type=Path, help="folder below which servers have theirs")
        own.add_argument("--out", type=Path, help="file for everything that was measured, as JSON")
        module.options(own)
    args = parser.parse_args()
    # So that servers are ended then as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "began": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
    try:
        result, table = SUBCOMMANDS[args.subcommand].run(args)
    except Failed as error:
        print(f"{args.subcommand}: {error}", file=sys.stderr)
        return 1
    print(table)
    if args.out:
        told = {"subcommand": args.subcommand, "scale": args.scale, "machine": machine, **result}
        args.out.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if result.get("lost") else 0


if __name__ == "__main__":
    sys.exit(main())
