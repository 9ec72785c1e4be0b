"""What the steps need besides the server: Python packages, playwright-core, Chromium. All is put in the cache folder."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from kit import process
from kit.check import Failed

HERE = Path(__file__).resolve().parent.parent
# These make Chromium leave the network alone; root needs --no-sandbox.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Tools:
    """Gets each tool when it is first asked for, and keeps it for the next run."""

    def __init__(self, say):
        target = os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "persisting-target"
        self.folder = Path(target).resolve() / "e2e"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.say = say

    def venv_bin(self) -> Path:
        """The `bin` of a virtual environment with the packages of requirements.txt."""
        venv, wanted = self.folder / "venv", HERE / "requirements.txt"
        if self._is_fresh(venv, [wanted]):
            return venv / "bin"
        self.say("installing Python packages")
        shutil.rmtree(venv, ignore_errors=True)
        process.run([sys.executable, "-m", "venv", venv], 120)
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        process.run([*pip, "--requirement", wanted], 600)
        self._mark(venv, [wanted])
        return venv / "bin"

    def node_folder(self) -> Path:
        """A folder whose `node_modules` holds what package-lock.json says."""
        folder, wanted = self.folder / "node", [HERE / "package.json", HERE / "package-lock.json"]
        if self._is_fresh(folder, wanted):
            return folder
        self.say("installing playwright-core")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in wanted:
            shutil.copy(file, folder)
        process.run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], 300, cwd=folder)
        self._mark(folder, wanted)
        return folder

    def chromium(self) -> str:
        """Debian's Chromium."""
        found = process.which("chromium")
        if found:
            return found
        self.say("installing chromium")
        apt = process.clean_environment(DEBIAN_FRONTEND="noninteractive")
        process.run(["apt-get", "-qq", "update"], 300, env=apt)
        process.run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "chromium"], 600, env=apt)
        found = process.which("chromium")
        if not found:
            raise Failed("chromium is not on PATH after its installation")
        return found

    def _is_fresh(self, folder: Path, files: list[Path]) -> bool:
        mark = folder / ".installed-from"
        return mark.is_file() and mark.read_text() == _digest(files)

    def _mark(self, folder: Path, files: list[Path]) -> None:
        (folder / ".installed-from").write_text(_digest(files))


def _digest(files: list[Path]) -> str:
    content = b"\0".join(file.read_bytes() for file in files) + sys.version.encode()
    return hashlib.sha256(content).hexdigest()
