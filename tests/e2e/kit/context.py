"""What a step is given."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from kit.server import Server
from kit.tools import Tools


@dataclass
class Context:
    """The binary, the tools, the options of the run, and a folder that goes when the step has ended."""

    step: str
    binary: Path
    topics: int
    commits: int
    upkeep_topics: int
    rows: int
    tools: Tools = field(init=False)
    folder: Path = field(init=False)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self.tools = Tools(self.say)
        self.folder = Path(tempfile.mkdtemp(prefix=f"persisting-e2e-{self.step}-")).resolve()

    def say(self, text: str) -> None:
        """Prints what was seen, with the seconds since the step began."""
        print(f"{self.step:>9} {time.monotonic() - self.begun:6.1f}s  {text}", flush=True)

    def server(self, *options: str, name: str = "server", **more) -> Server:
        """A server with a fresh folder, not started yet."""
        return Server(self.binary, self.folder / name, *options, **more)
