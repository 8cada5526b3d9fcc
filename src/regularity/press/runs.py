"""Runs of chapters at other parameters: executed by papermill, and each stored whole or not at all.

A run is stored in ``runs/<chapter>/<digest>/``: the notebook, `claims.json` and `provenance.json`. The digest is of
the chapter's and the parameters, so a run that is done is never repeated, and one of changed code never taken for
done.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regularity.lab.claims import claims_of
from regularity.press import digests
from regularity.press.chapters import Chapter
from regularity.press.errors import BookError, one_line
from regularity.press.execution import RunFailedError, as_text, execute_notebook
from regularity.press.files import UNFINISHED, check_writable, remove_folder, sweep, write_folder
from regularity.press.shapes import CLAIM, PROVENANCE, fits

PACKAGES = ("regularity", "torch", "numpy", "scipy", "scikit-learn", "scikit-image", "papermill")


@dataclass(frozen=True)
class Run:
    """A chapter at some parameters, and where its results are kept.

    Attributes
    ----------
    chapter
        The chapter.
    parameters
        Those that differ from its defaults.
    runs
        The folder of all runs.
    """

    chapter: Chapter
    parameters: Mapping[str, Any]
    runs: Path

    @cached_property
    def version(self) -> str:
        """The digest of the chapter when the run was first asked about."""
        return self.chapter.digest()

    @cached_property
    def digest(self) -> str:
        """Tells runs apart, by the chapter's version and the parameters."""
        return digests.short_hash([self.version, json.dumps(self.parameters, sort_keys=True)])

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.runs / self.chapter.name / self.digest

    @property
    def done(self) -> bool:
        """Whether it is kept, whole: one that cannot be read is absent, and is done again."""
        try:
            self.read()
            notebook = self._json(f"{self.chapter.name}.ipynb")
        except (OSError, ValueError):
            return False
        return isinstance(notebook, dict)

    @property
    def command(self) -> str:
        """What to type in a shell to make it again."""
        words = ["regularity", "run", self.chapter.name]
        for name, value in self.parameters.items():
            words += ["-p", name, self.chapter.parameters[name].write(value)]
        return shlex.join(words)

    def prepare(self) -> None:
        """Find out before the run whether its result can be kept, and sweep away what killed processes left.

        Raises
        ------
        BookError
            If nothing can be written there.
        """
        check_writable(self.folder.parent)
        sweep(self.folder.parent, f".*{UNFINISHED}")
        sweep(self.folder.parent / "failed", f".*{UNFINISHED}")

    def execute(self, folder: Path | None = None) -> dict[str, Any]:
        """Execute it in this process; the rest as for `execute_run`."""
        return execute_run(*self.task, folder)

    @property
    def task(self) -> tuple[str, dict[str, Any], Path, str]:
        """What `execute_run` takes, but for the folder: the notebook, parameters, package and device."""
        declared = self.chapter.parameters.get("device")
        device = self.parameters.get("device", "auto" if declared is None else declared.default)
        return as_text(self.chapter.cells), dict(self.parameters), self.chapter.package, str(device)

    def store(self, result: Mapping[str, Any]) -> None:
        """Keep what `execute_run` returned: all of it, or nothing.

        Parameters
        ----------
        result
            What it returned.

        Raises
        ------
        BookError
            If it cannot be written (a full disk, a read-only folder), or is of other code than this run is.
        """
        if result["digest"] != self.version:
            raise BookError(
                f"{self.chapter.name} was executed with other code ({result['digest']}) than is here "
                f"({self.version}): nothing is kept; was it edited meanwhile, or is a worker's package another one?"
            )
        provenance = {
            "chapter": self.chapter.name,
            "digest": self.version,
            "parameters": dict(self.parameters),
            "command": self.command,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": current_commit(self.chapter.root),
            **{key: result[key] for key in ("device", "seconds", "peak_memory_mib", "versions")},
        }
        files = {
            f"{self.chapter.name}.ipynb": result["notebook"],
            "claims.json": as_json(result["claims"]),
            "provenance.json": as_json(provenance),
        }
        if self.folder.is_dir() and not self.done:  # cut off by a loss of power, before files were synced
            remove_folder(self.folder)
        write_folder(self.folder, files)

    def fail(self, failure: RunFailedError) -> Path:
        """Keep a failed run apart from those that are done, with its traceback.

        Parameters
        ----------
        failure
            What it raised.

        Returns
        -------
        The folder with the traceback and the notebook up to the error; an earlier failure there is replaced.

        Raises
        ------
        BookError
            If it cannot be written.
        """
        kept = self.folder.parent / "failed" / self.folder.name
        remove_folder(kept)
        files = {f"{self.chapter.name}.ipynb": failure.notebook, "traceback.txt": failure.traceback + "\n"}
        write_folder(kept, files)
        return kept

    def read(self) -> dict[str, Any]:
        """Read a run that is kept.

        Returns
        -------
        `claims` and `provenance`.

        Raises
        ------
        OSError, ValueError
            If it is not there, or not whole.
        """
        kept = {name: self._json(f"{name}.json") for name in ("claims", "provenance")}
        if not fits(kept, {"claims": [CLAIM], "provenance": PROVENANCE}):
            raise ValueError(f"{self.folder} holds no run as this version writes it")
        return kept

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def execute_run(
    notebook: str,
    parameters: Mapping[str, Any],
    package: Path | None = None,
    device: str = "auto",
    folder: Path | None = None,
) -> dict[str, Any]:
    """Execute a notebook, given and returned as text: it may happen on another machine, which shares no disk.

    Parameters
    ----------
    notebook
        The chapter without outputs, as JSON.
    parameters
        Injected after the cell tagged `parameters`.
    package
        The folder out of which it imports this package, where this machine has it; else the installed one is used.
    device
        What it says of the device, given or by default.
    folder
        Where it runs, where this machine has it: parameters may be paths. Else in an empty folder that vanishes.

    Returns
    -------
    `notebook` (executed, as JSON), `digest` (of the code that ran), `claims`, `seconds`, `peak_memory_mib` (of the
    kernel), `device`, `versions`.

    Raises
    ------
    RunFailedError
        If a cell raises, or the code changes while it runs.
    """
    package = package if package is not None and package.is_dir() else Path(__file__).resolve().parents[2]
    folder = folder if folder is not None and folder.is_dir() else None
    before = _digest_of(notebook, package)
    started = time.perf_counter()
    with _peak_memory() as peak:
        executed = execute_notebook(notebook, parameters, package=package, folder=folder)
    seconds = time.perf_counter() - started
    if _digest_of(notebook, package) != before:
        reason = "the code was changed while it ran"
        raise RunFailedError(reason, reason, executed)
    return {
        "notebook": executed,
        "digest": before,
        "claims": claims_of(json.loads(executed)),
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(peak[0] / 2**20),
        "device": device_name(device),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
    }


def _digest_of(notebook: str, package: Path) -> str:
    cells = json.loads(notebook)["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    try:
        return digests.digest(code, package)
    except (SyntaxError, OSError, ValueError) as error:
        reason = f"the code cannot be read: {one_line(error)}"
        raise RunFailedError(reason, reason, notebook) from None


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Watch the largest child process, several times a second: the kernel."""
    import psutil

    peak, finished = [0], threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while not finished.wait(0.2):
            for child in process.children(recursive=True):
                try:
                    peak[0] = max(peak[0], child.memory_info().rss)
                except psutil.Error:
                    continue  # it has just ended

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        finished.set()
        watcher.join()


def n_cores() -> int:
    """Count the cores that this process may use.

    Returns
    -------
    Their number, by its affinity where the system tells.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(device: str) -> str:
    """Name the device that a chapter's parameter `device` means on this machine.

    Parameters
    ----------
    device
        "auto", "cpu", "cuda", "cuda:1", ...

    Returns
    -------
    A GPU's name, or "CPU, ..." with what is there of it.
    """
    cpu = f"CPU, {platform.machine()}, {n_cores()} cores"
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA's, Windows' and AMD's GPUs
    if device.partition(":")[0] == "cpu" or (
        device == "auto" and sys.platform == "linux" and not any(map(os.path.exists, drivers))
    ):
        return cpu  # without torch, which takes two seconds to import
    import torch

    if device == "auto" and not torch.cuda.is_available():
        return cpu
    chosen = torch.device("cuda" if device == "auto" else device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else str(chosen)


def as_json(content: Any) -> str:
    """Write JSON as this project keeps it in files.

    Parameters
    ----------
    content
        What JSON can hold.

    Returns
    -------
    Indented text that ends in a line break.
    """
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def current_commit(root: Path) -> str | None:
    """Say which commit a checkout is at.

    Parameters
    ----------
    root
        The top of the checkout.

    Returns
    -------
    The short hash, with "+" where tracked files have changed; None outside of git, and where the folder lies in the
    repository of something else.
    """
    git = ["git", "-C", str(root)]
    try:
        top, described = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (
                ["rev-parse", "--show-toplevel"],
                ["describe", "--always", "--dirty=+", "--exclude=*"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described if Path(top).resolve() == root.resolve() else None
