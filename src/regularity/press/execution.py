"""Execute notebooks: papermill runs them, Jupytext keeps both halves of a pair in step."""

import contextlib
import json
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regularity.press.chapters import BookError, Pair
from regularity.press.digests import short_hash
from regularity.press.errors import one_line
from regularity.press.files import check_writable, replace_file, scratch_folder

if TYPE_CHECKING:
    from nbformat import NotebookNode

METADATA_KEY = "regularity"


def sources_agree(pair: Pair) -> bool:
    """Say whether both halves of a pair have the same cells.

    Parameters
    ----------
    pair
        The page; its notebook must exist.

    Returns
    -------
    True if the cells are of the same kinds, sources, and metadata.
    """

    def cells(notebook: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
        return [(cell["cell_type"], "".join(cell["source"]), cell["metadata"]) for cell in notebook["cells"]]

    return cells(pair.cells) == cells(pair.executed())


def is_stale(pair: Pair) -> bool:
    """Say whether a page must be executed again.

    Parameters
    ----------
    pair
        The page.

    Returns
    -------
    True where the outputs are not those of the present code: it was never executed, its code or what that reaches
    has changed since, or somebody saved it half executed, out of order or with an error.
    """
    executed = pair.executed()
    if executed is None or _mark(executed).get("digest") != pair.digest():
        return True
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != list(range(1, len(pair.code) + 1)):
        return True
    return any(output["output_type"] == "error" for cell in code for output in cell["outputs"])


def execute_in_place(pair: Pair, *, force: bool = False) -> bool:
    """Bring a committed notebook up to date with its source; execute it only where that is needed.

    Parameters
    ----------
    pair
        The page.
    force
        Whether to execute in any case.

    Returns
    -------
    Whether it was executed.

    Raises
    ------
    BookError
        If a cell raises or writes to stderr, the notebook has edits that its source lacks, the code changes while it
        is executed, or the notebook cannot be written. It is then left as it was.
    """
    _refuse_to_erase(pair)
    check_writable(pair.notebook.parent)
    digest = pair.digest()
    if not force and not is_stale(pair):
        executed = pair.executed()
        text = as_text(_made_of(pair, executed, digest))
        if text != pair.notebook.read_text(encoding="utf-8"):
            replace_file(pair.notebook, text)
        return False
    try:
        executed = json.loads(execute_notebook(as_text(pair.cells), package=pair.package))
    except RunFailedError as failure:
        raise BookError(f"{pair.label}: {failure}") from failure
    made = _made_of(pair, executed, digest)
    for cell in made["cells"]:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                text = one_line(Exception("".join(output["text"])))
                raise BookError(f"{pair.label}: cell {cell['execution_count']} wrote to stderr: {text}")
    if pair.reread().digest() != digest:
        raise BookError(f"{pair.label} was changed while it was executed; nothing is kept: execute it again")
    replace_file(pair.notebook, as_text(made))
    return True


def _refuse_to_erase(pair: Pair) -> None:
    """Refuse to write over cells that somebody edited in the notebook and not in its source."""
    executed = pair.executed()
    if executed is None:
        return
    at_last_writing, theirs, ours = (
        _mark(executed).get("source"),
        _source_hash(executed),
        _source_hash(pair.cells),
    )
    if at_last_writing is None or theirs in (at_last_writing, ours):
        return
    path, source = os.path.relpath(pair.notebook), pair.source.name  # for who types it where they stand
    command = f"jupytext --to py:percent {shlex.quote(path)}"
    if ours == at_last_writing:
        raise BookError(
            f"{path} was edited and {source} was not: take the edits over with `{command}`, or remove "
            "the notebook"
        )
    raise BookError(
        f"{path} and {source} were both edited: make one of them what you want, or remove the notebook"
    )


def _mark(notebook: Mapping[str, Any]) -> Mapping[str, Any]:
    """What this module noted in a notebook when it wrote it."""
    return notebook["metadata"].get(METADATA_KEY, {})


def _source_hash(notebook: Mapping[str, Any]) -> str:
    return short_hash(f"{cell['cell_type']}\n{''.join(cell['source']).strip()}" for cell in notebook["cells"])


def _made_of(pair: Pair, executed: Mapping[str, Any], digest: str) -> "NotebookNode":
    """The source's cells with outputs, and what reviewers need: no times, no paths, numbers as names of cells."""
    notebook = pair.reread().cells
    done = iter([cell for cell in executed["cells"] if cell["cell_type"] == "code"])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type == "code":
            ran = next(done)
            cell.outputs, cell.execution_count = _tidied(ran["outputs"]), ran["execution_count"]
    # As the kernel tells it: JupyterLab writes it so, and marks a notebook that says anything else as changed.
    if "language_info" in executed["metadata"]:
        notebook.metadata["language_info"] = executed["metadata"]["language_info"]
    notebook.metadata[METADATA_KEY] = {"digest": digest, "source": _source_hash(notebook)}
    return notebook


_BAR = re.compile(r"(.*\d+%\|.*\|.*|.*\d+(it|\w*) \[\d+:\d+.*\])?\s*")
_TERMINAL_CODE = re.compile(r"\x1b\[[\d;]*[A-Za-z]")


def _tidied(outputs: Iterable[Mapping[str, Any]]) -> list["NotebookNode"]:
    """Join the pieces of each stream, which come as chance will have it, and drop progress bars."""
    from nbformat import from_dict

    tidied: list[Any] = []
    streams: dict[str, Any] = {}  # those since the last output of another kind
    for output in map(from_dict, outputs):
        if output.output_type != "stream":
            streams = {}
            tidied.append(output)
            continue
        output.text = "".join(output.text)
        if output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
            tidied.append(output)
    return [output for output in tidied if not (output.get("name") == "stderr" and _is_progress(output.text))]


def _is_progress(text: str) -> bool:
    return all(_BAR.fullmatch(line) for line in re.split(r"[\r\n]", _TERMINAL_CODE.sub("", text)))


def as_text(notebook: "NotebookNode") -> str:
    """Write a notebook as the file that Jupyter would write."""
    import nbformat

    return nbformat.writes(notebook) + "\n"


class RunFailedError(Exception):
    """A notebook raised, or its kernel died. It carries what a reader needs to see why.

    Parameters
    ----------
    reason
        The error in one line.
    traceback
        The whole traceback.
    notebook
        The notebook up to the error, as JSON.
    """

    def __init__(self, reason: str, traceback: str, notebook: str) -> None:
        super().__init__(reason, traceback, notebook)  # all arguments: so that it survives pickling
        self.reason = reason
        self.traceback = traceback
        self.notebook = notebook

    def __str__(self) -> str:
        return self.reason


def execute_notebook(
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    package: Path | None = None,
    folder: Path | None = None,
) -> str:
    """Execute a notebook with papermill.

    Parameters
    ----------
    notebook
        What to execute, as JSON.
    parameters
        Injected after the cell tagged `parameters`.
    package
        The folder out of which it imports this package (`Pair.package`); None: the installed one.
    folder
        Where it runs; None: in an empty folder that vanishes.

    Returns
    -------
    The executed notebook, as JSON.

    Raises
    ------
    RunFailedError
        If a cell raises, or the kernel dies.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    with scratch_folder() as scratch:
        given, made = scratch / "given.ipynb", scratch / "made.ipynb"
        try:
            given.write_text(notebook, encoding="utf-8")
        except OSError as error:
            raise BookError(f"cannot write {given}: {error.strerror}") from None
        options: dict[str, Any] = {"kernel_name": "python3", "progress_bar": sys.stderr.isatty()}
        options["config"] = Config(ConnectionFileMixin={"connection_file": str(scratch / "kernel.json")})
        # papermill's own `cwd` would move this process.
        options["resources"] = {"metadata": {"path": str(folder or scratch)}}
        # ipykernel warns of each connection over TCP, and tells at length how it was ended. What lies about where a
        # reader stands is none of our modules.
        options["extra_arguments"] = ["--log-level=CRITICAL", "--IPKernelApp.ignore_cwd=True"]
        if package is not None:
            first = f"__import__('sys').path.insert(0, {str(package)!r})"
            options["extra_arguments"].append(f"--IPKernelApp.exec_lines={first}")
        # It says that it cannot read each annotation with a sign in it; this book reads parameters itself.
        # What goes wrong is told by what is raised below; an interrupt leaves tasks that asyncio would mourn.
        for name in ("papermill", "traitlets", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            papermill.execute_notebook(given, made, dict(parameters or {}), **options)
        except papermill.PapermillExecutionError as error:
            reason = f"cell {error.exec_count} raised {error.ename}: {one_line(Exception(error.evalue))}"
            raise RunFailedError(reason, "\n".join(error.traceback), _text_of(made)) from None
        except DeadKernelError:
            reason = "its kernel died, as one does that runs out of memory"
            raise RunFailedError(reason, reason, _text_of(made)) from None
        except OSError as error:  # the disk with the temporary folder is full, for one
            raise BookError(f"cannot execute in {scratch}: {one_line(error)}") from None
        except Exception as error:
            # Jupyter's own ways not to find a kernel, to start one, or to hear from it.
            reason = f"its kernel did not start: {one_line(error)}"
            raise RunFailedError(reason, traceback.format_exc(), _text_of(made)) from None
        finally:
            _end_kernel(scratch)
        return _text_of(made)


def _end_kernel(scratch: Path) -> None:
    """End a kernel that an interrupt left between its start and the moment when nbclient looks after it."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if str(scratch) in " ".join(child.cmdline()):
                child.kill()
                child.wait()


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "{}"
