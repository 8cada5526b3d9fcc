"""Runs of chapters at other parameters: executed by papermill, and each stored whole or not at all.

A run is stored in ``runs/<chapter>/<digest>/``: the notebook, `claims.json` and `provenance.json`. The digest is of
the code and the parameters, so a run that is done is never repeated, and one of changed code never taken for done.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from regularity.lab.chapters import BookError, Chapter
from regularity.lab.claims import claims_of
from regularity.lab.execution import RunFailedError, execute_notebook

PACKAGES = ("regularity", "torch", "numpy", "scipy", "scikit-learn", "scikit-image", "papermill")


def execute_run(notebook: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Execute a notebook, given and returned as text: it may happen on another machine, which shares no disk.

    Parameters
    ----------
    notebook
        The chapter without outputs, as JSON.
    parameters
        Injected after the cell tagged `parameters`.

    Returns
    -------
    `notebook` (executed, as JSON), `claims`, `seconds`, `peak_memory_mib` (of the kernel), `device`, `versions`.

    Raises
    ------
    RunFailedError
        If a cell raises.
    """
    started = time.perf_counter()
    with _peak_memory() as peak:
        executed = execute_notebook(notebook, parameters)
    seconds = time.perf_counter() - started
    return {
        "notebook": executed,
        "claims": claims_of(json.loads(executed)),
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(peak[0] / 2**20),
        "device": _device_name(str(parameters.get("device", "auto"))),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
    }


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Watch the largest child process, several times a second: the kernel."""
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


def _device_name(device: str) -> str:
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return f"CPU, {platform.machine()}, {os.cpu_count()} cores"
    return torch.cuda.get_device_name(None if device in ("auto", "cuda") else device)


def run_folder(chapter: Chapter, parameters: Mapping[str, Any], runs: Path) -> Path:
    """Say where a run is kept.

    Parameters
    ----------
    chapter
        The chapter.
    parameters
        Those that differ from the defaults.
    runs
        The folder of all runs.

    Returns
    -------
    The path; it exists if, and only if, the run is complete.
    """
    return runs / chapter.name / chapter.run_digest(parameters)


def store_run(
    folder: Path, chapter: Chapter, parameters: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    """Keep a finished run: all of it, or nothing.

    Parameters
    ----------
    folder
        Where (`run_folder`).
    chapter, parameters
        What was run.
    result
        What `execute_run` returned.

    Raises
    ------
    BookError
        If it cannot be written (a full disk, a read-only folder).
    """
    provenance = {
        "chapter": chapter.name,
        "digest": chapter.digest(),
        "parameters": dict(parameters),
        "command": run_command(chapter, parameters),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": current_commit(chapter.root),
        **{key: result[key] for key in ("device", "seconds", "peak_memory_mib", "versions")},
    }
    files = {
        f"{chapter.name}.ipynb": result["notebook"],
        "claims.json": as_json(result["claims"]),
        "provenance.json": as_json(provenance),
    }
    _write_folder(folder, files)


def store_failure(folder: Path, chapter: Chapter, failure: RunFailedError) -> Path:
    """Keep a failed run apart from those that are done, with its traceback.

    Parameters
    ----------
    folder
        Where the run would have been kept.
    chapter
        What was run.
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
    kept = folder.parent / "failed" / folder.name
    shutil.rmtree(kept, ignore_errors=True)
    _write_folder(
        kept, {f"{chapter.name}.ipynb": failure.notebook, "traceback.txt": failure.traceback + "\n"}
    )
    return kept


def read_run(folder: Path) -> dict[str, Any]:
    """Read a finished run.

    Parameters
    ----------
    folder
        Where it is kept.

    Returns
    -------
    `claims` and `provenance`.
    """
    names = ("claims", "provenance")
    return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names}


def run_command(chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Write the command that makes a run again.

    Parameters
    ----------
    chapter
        The chapter.
    parameters
        Those that differ from the defaults.

    Returns
    -------
    What to type in a shell.
    """
    words = ["regularity", "run", chapter.name]
    for name, value in parameters.items():
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(words)


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
    The short hash, with "+" where tracked files have changed; None outside git.
    """
    call = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write beside the folder, then rename: a reader sees all files or none."""
    unfinished = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        unfinished.chmod(0o755)
        os.replace(unfinished, folder)
    except OSError as error:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.is_dir():  # else another process finished the same run first
            raise BookError(f"cannot write {folder}: {error.strerror}") from None
