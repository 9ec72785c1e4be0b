"""A client generated from openapi.yaml works against the server."""

from pathlib import Path

from kit import process
from kit.context import Context

HERE = Path(__file__).resolve().parent.parent


def run(context: Context) -> None:
    """Generates the client, and lets client.py use it."""
    venv_bin = context.tools.venv_bin()
    generated = context.folder / "generated"
    process.run(["bash", HERE / "generate_client.sh", generated, venv_bin], 180, cwd=context.folder)
    context.say("the client is generated")
    server = context.server().start()
    printed = process.run([venv_bin / "python", HERE / "client.py", server.base, generated], 180, cwd=context.folder)
    for line in printed.splitlines():
        context.say(line)
