"""The chapters of a checkout: where their files are, what their parameters are, and when they are stale."""

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

SIZES = ("gpu", "paper")


class BookError(click.ClickException):
    """Something that the reader can mend; the command line says it in one line and exits with 2."""

    exit_code = 2


def find_root(start: Path | None = None) -> Path:
    """Find the book: the folder with `_toc.yml` and `notebooks`, here, above, or where this package lies.

    Parameters
    ----------
    start
        Where to look first; None: the working directory.

    Returns
    -------
    The top of the checkout.

    Raises
    ------
    BookError
        If there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[3]):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise BookError(f"no book at {here} or above: a folder with _toc.yml and notebooks/ is needed")


@dataclass(frozen=True)
class Chapter:
    """One chapter: `part` and `name` give all its files.

    Attributes
    ----------
    root
        The top of the checkout.
    part
        Its folder, for instance "stein".
    name
        Its name, for instance "noise2score".
    """

    root: Path
    part: str
    name: str

    @property
    def source(self) -> Path:
        """The notebook as Jupytext's py:percent, which people edit."""
        return self.root / "notebooks" / self.part / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.source.with_suffix(".ipynb")

    @property
    def records(self) -> Path:
        """What was recorded of runs over seeds, on a GPU and at the paper's scale."""
        return self.source.with_suffix(".records.json")

    @property
    def method(self) -> Path:
        """The module of the method."""
        return self.root / "src" / "regularity" / self.part / f"{self.name}.py"

    def parameter_file(self, size: str) -> Path:
        """Say where the parameters of a size lie.

        Parameters
        ----------
        size
            One of `SIZES`.

        Returns
        -------
        The path of the YAML file.
        """
        return self.source.with_suffix(f".{size}.yaml")

    @cached_property
    def cells(self) -> NotebookNode:
        """The notebook as its source says it, without outputs.

        Raises
        ------
        BookError
            If the header names no kernel: papermill and JupyterLab could not run it.
        """
        notebook = jupytext.read(self.source)
        if "kernelspec" not in notebook.metadata:
            raise BookError(f"{self.source}: its header must hold a `kernelspec:` under `jupyter:`")
        return notebook

    @property
    def title(self) -> str:
        """The first heading."""
        for cell in self.cells.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("# "):
                return cell.source.splitlines()[0].removeprefix("# ").strip()
        return self.name

    @cached_property
    def parameters(self) -> Mapping[str, Mapping[str, str]]:
        """The parameters by name, as papermill reads them: type, default and help."""
        from papermill import inspect_notebook

        with tempfile.TemporaryDirectory() as folder:  # papermill reads notebooks from files alone
            plain = Path(folder, "plain.ipynb")
            nbformat.write(self.cells, plain)
            return inspect_notebook(plain)

    def executed(self) -> dict[str, Any] | None:
        """Read the executed notebook.

        Returns
        -------
        Its JSON, or None where there is no notebook yet.
        """
        return json.loads(self.notebook.read_text(encoding="utf-8")) if self.notebook.is_file() else None

    def digest(self) -> str:
        """Tell the version of the chapter: its code and its method's. Prose, comments and docstrings do not count.

        Returns
        -------
        Twelve hexadecimal digits.
        """
        code = [cell.source for cell in self.cells.cells if cell.cell_type == "code"]
        method = [_without_docstrings(self.method)] if self.method.is_file() else []
        return _short_hash([*code, *method])

    def run_digest(self, parameters: Mapping[str, Any]) -> str:
        """Tell runs apart: by the chapter, everything of this package that it imports, and its parameters.

        Parameters
        ----------
        parameters
            Those that differ from the defaults.

        Returns
        -------
        Twelve hexadecimal digits.
        """
        imported = [_without_docstrings(path) for path in sorted(self._imported_files())]
        return _short_hash([self.digest(), *imported, json.dumps(parameters, sort_keys=True, default=str)])

    def _imported_files(self) -> set[Path]:
        """Files of the package that the chapter imports, directly or not; the lab, which only shows, is left out."""
        code = "\n".join(cell.source for cell in self.cells.cells if cell.cell_type == "code")
        found: set[Path] = set()
        waiting = [code]
        while waiting:
            for path in _imports(waiting.pop(), self.root / "src"):
                if path not in found:
                    found.add(path)
                    waiting.append(path.read_text(encoding="utf-8"))
        return found


def _imports(code: str, sources: Path) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    candidates = set()
    for name in names:
        if name.startswith("regularity.") and not name.startswith("regularity.lab"):
            stem = sources.joinpath(*name.split("."))
            candidates |= {stem.with_suffix(".py"), *stem.glob("*.py")}
    return {path for path in candidates if path.is_file()}


def _without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _short_hash(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def all_chapters(root: Path | None = None) -> list[Chapter]:
    """List the chapters of a book, in the order of its table of contents.

    Parameters
    ----------
    root
        The top of the checkout; None: found from the working directory.

    Returns
    -------
    The chapters; those that the table of contents lacks come last.
    """
    root = find_root() if root is None else root
    listed = _listed_files(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))
    order = {entry: position for position, entry in enumerate(listed)}
    sources = (root / "notebooks").glob("*/*.py")
    chapters = [Chapter(root, path.parent.name, path.stem) for path in sources]

    def place(chapter: Chapter) -> tuple[int, str, str]:
        entry = f"notebooks/{chapter.part}/{chapter.name}"
        return order.get(entry, len(order)), chapter.part, chapter.name

    return sorted(chapters, key=place)


def _listed_files(node: Any) -> list[str]:
    """Every `file` of the table of contents, in reading order."""
    if isinstance(node, list):
        return [entry for item in node for entry in _listed_files(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node["file"]).removesuffix(".ipynb").removesuffix(".md")] if "file" in node else []
    return own + [entry for value in node.values() for entry in _listed_files(value)]


def find_chapter(name: str, root: Path | None = None) -> Chapter:
    """Find a chapter by its name, with or without its part.

    Parameters
    ----------
    name
        "noise2score" or "stein/noise2score".
    root
        The top of the checkout; None: found from the working directory.

    Returns
    -------
    The chapter.

    Raises
    ------
    BookError
        If there is none; the message names the nearest.
    """
    chapters = all_chapters(root)
    by_name = {chapter.name: chapter for chapter in chapters}
    by_name |= {f"{chapter.part}/{chapter.name}": chapter for chapter in chapters}
    if name not in by_name:
        raise BookError(f"no chapter {name!r}; {nearest(name, by_name)}")
    return by_name[name]


def replace_file(path: Path, text: str) -> None:
    """Write a file so that its readers see the old text or the new, never half of one.

    Parameters
    ----------
    path
        The file.
    text
        Its new content.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def nearest(name: str, names: Any) -> str:
    """Point from a wrong name to a right one.

    Parameters
    ----------
    name
        What was given.
    names
        What there is.

    Returns
    -------
    A question with the nearest name, or the list of names.
    """
    close = get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
