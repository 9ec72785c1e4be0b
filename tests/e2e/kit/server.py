"""The server under test: started on loopback with a folder of its own, stopped, killed, measured."""

import http.client
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from kit import process
from kit.api import Api
from kit.check import Failed, check, until


def free_port() -> int:
    """A port that is free now, below those that the system gives to clients: while the server is down, one of them must
    not get its port, nor be connected to itself."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    """One data folder and the process that serves it, if any; every start listens on the same port."""

    def __init__(self, binary: Path, folder: Path, *options: str, port: int | None = None, data_dir: str | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.binary, self.folder, self.options = binary, folder, options
        self.data = folder / (data_dir or "data")
        self.port = port or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.base)
        self.process: subprocess.Popen | None = None
        self.starts = 0

    def start(self, ready_secs: float = 60) -> "Server":
        """Starts it and waits for its line on stdout and for `/readyz`."""
        self.spawn()
        self.wait_ready(ready_secs)
        return self

    def spawn(self) -> None:
        """Starts it and waits until it listens."""
        self.starts += 1
        out, err = self.folder / f"server-{self.starts}.out", self.folder / f"server-{self.starts}.err"
        arguments = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.data, *self.options]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            self.process = process.start(
                arguments, stdout=stdout, stderr=stderr, cwd=self.folder, env=process.clean_environment()
            )
        self.log = err

        def listens() -> bool:
            if self.process.poll() is not None:
                raise Failed(f"the server exited with {self.process.returncode} at its start:\n{self.log_end()}")
            return out.read_text() == f"listening on {self.base}\n"

        until(listens, 30, lambda: f"a line 'listening on {self.base}', got {out.read_text()!r}\n{self.log_end()}", 0.005)

    def wait_ready(self, secs: float = 60) -> float:
        """Waits for the first 200 of `/readyz`; the seconds that took."""
        begin = time.monotonic()
        until(self.is_ready, secs, lambda: f"200 from /readyz\n{self.log_end()}", 0.01)
        return time.monotonic() - begin

    def is_ready(self) -> bool:
        """Whether `/readyz` is 200."""
        if self.process.poll() is not None:
            raise Failed(f"the server exited with {self.process.returncode}:\n{self.log_end()}")
        try:
            return self.api.get("/readyz", timeout=5).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM, and does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, secs: float = 15) -> int:
        """Waits for the end of a server that was told to stop."""
        try:
            return self.process.wait(timeout=secs)
        except subprocess.TimeoutExpired:
            raise Failed(f"SIGTERM did not end the server within {secs:g} s:\n{self.log_end()}") from None

    def restart(self) -> None:
        """SIGKILL and a new start."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """SIGTERM, and waits for an orderly end."""
        self.terminate()
        code = self.exit_code()
        check(code == 0, f"an orderly stop exited with {code}:\n{self.log_end()}")

    def peak_mib(self) -> float:
        """The most memory that the process has held (VmHWM), in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise Failed("no VmHWM")

    def open_files(self) -> int:
        """How many file descriptors it holds."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log_end(self) -> str:
        """The end of what it said on stderr."""
        return self.log.read_text(errors="replace")[-2000:]
