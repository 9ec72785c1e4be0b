"""Rows of pyarrow and Polars go in and come out, as streams and files, and the dataset has them too."""

from pathlib import Path

from kit import process
from kit.context import Context

CLIENT = Path(__file__).resolve().parent.parent / "kit" / "arrow_client.py"


def run(context: Context) -> None:
    """Starts a server and lets the client, which needs pyarrow, do the rest."""
    server = context.server().start()
    server.api.create("rows")
    server.api.create("copy")
    python = context.tools.venv_bin() / "python"
    for line in process.run([python, CLIENT, server.base, str(context.rows)], 540).splitlines():
        context.say(line)
    context.say(f"peak memory of the server: {server.peak_mib():.0f} MiB")
