"""Execute chapters in place: papermill runs them, jupytext keeps both halves of the pair in step."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from regularity.lab.chapters import BookError, Chapter, replace_file

METADATA_KEY = "regularity"


def sources_agree(chapter: Chapter) -> bool:
    """Say whether both halves of a pair have the same cells.

    Parameters
    ----------
    chapter
        The chapter; its notebook must exist.

    Returns
    -------
    True if the cells are of the same kinds, sources, and metadata.
    """

    def cells(notebook: NotebookNode) -> list[tuple[str, str, dict[str, Any]]]:
        return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]

    return cells(chapter.cells) == cells(nbformat.read(chapter.notebook, as_version=4))


def is_stale(chapter: Chapter) -> bool:
    """Say whether a chapter must be executed again: it never was, or its code or its method's has changed.

    Parameters
    ----------
    chapter
        The chapter.

    Returns
    -------
    True where the outputs are not those of the present code.
    """
    executed = chapter.executed()
    if executed is None:
        return True
    return executed["metadata"].get(METADATA_KEY, {}).get("digest") != chapter.digest()


def execute_in_place(chapter: Chapter, *, force: bool = False) -> bool:
    """Bring a committed notebook up to date with its source; execute it only where that is needed.

    Parameters
    ----------
    chapter
        The chapter.
    force
        Whether to execute in any case.

    Returns
    -------
    Whether it was executed.

    Raises
    ------
    BookError
        If a cell raises or writes to stderr; the committed notebook is then left as it was.
    """
    if not force and not is_stale(chapter):
        if not sources_agree(chapter):
            _save(chapter, nbformat.read(chapter.notebook, as_version=4))
        return False
    try:
        executed = nbformat.reads(execute_notebook(nbformat.writes(chapter.cells)), as_version=4)
    except RunFailedError as failure:
        raise BookError(f"{chapter.name}: {failure}") from failure
    _check_quiet(executed, chapter.name)
    _save(chapter, executed)
    return True


class RunFailedError(Exception):
    """A notebook raised. It carries what a reader needs to see why.

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


def execute_notebook(notebook: str, parameters: Mapping[str, Any] | None = None) -> str:
    """Execute a notebook with papermill, in an empty folder.

    Parameters
    ----------
    notebook
        What to execute, as JSON.
    parameters
        Injected after the cell tagged `parameters`.

    Returns
    -------
    The executed notebook, as JSON.

    Raises
    ------
    RunFailedError
        If a cell raises.
    """
    import papermill

    with tempfile.TemporaryDirectory(prefix="regularity-") as folder:
        given, made = Path(folder, "given.ipynb"), Path(folder, "made.ipynb")
        given.write_text(notebook, encoding="utf-8")
        options: dict[str, Any] = {"kernel_name": "python3", "progress_bar": False}
        options["resources"] = {"metadata": {"path": folder}}  # papermill's cwd would move this process
        options["extra_arguments"] = ["--log-level=ERROR"]  # ipykernel warns of each connection over TCP
        try:
            papermill.execute_notebook(given, made, dict(parameters or {}), **options)
        except papermill.PapermillExecutionError as error:
            reason = f"cell {error.exec_count} raised {error.ename}: {error.evalue}"
            raise RunFailedError(
                reason, "\n".join(error.traceback), made.read_text(encoding="utf-8")
            ) from None
        return made.read_text(encoding="utf-8")


def _check_quiet(notebook: NotebookNode, name: str) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise BookError(f"{name}: cell {cell.execution_count} wrote to stderr: {output.text.strip()}")


def _save(chapter: Chapter, executed: NotebookNode) -> None:
    """Write what reviewers need and no more: no times, no machine paths, cell numbers instead of random names."""
    notebook = jupytext.read(chapter.source)  # a copy of its own: the chapter's cells stay without outputs
    done = iter([cell for cell in executed.cells if cell.cell_type == "code"])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type == "code":
            ran = next(done)
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    notebook.metadata["language_info"] = {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
    }
    notebook.metadata[METADATA_KEY] = {"digest": chapter.digest()}
    replace_file(chapter.notebook, nbformat.writes(notebook) + "\n")
