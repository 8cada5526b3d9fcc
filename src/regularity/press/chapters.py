"""The pages that are executed: where their files are, what their parameters are, which version they are of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from regularity.lab.claims import claims_of
from regularity.press import digests
from regularity.press.errors import BookError, nearest, one_line
from regularity.press.files import read_yaml
from regularity.press.parameters import Parameter, parameters_in
from regularity.press.percent import SourceCell, read_cells
from regularity.press.shapes import CLAIM, CODE_CELL, NOTEBOOK, fits

if TYPE_CHECKING:
    from nbformat import NotebookNode

SIZES = ("gpu", "paper")
OPENING = "opening"  # the name of a part's opening page
HOW_FAST = "book/how_fast"


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
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError:
        raise BookError("the working directory is gone: change to one that is there") from None
    for folder in (here, *here.parents, Path(__file__).resolve().parents[3]):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise BookError(f"no book at {here} or above: a folder with _toc.yml and notebooks/ is needed")


@dataclass(frozen=True)
class Pair:
    """A page that is executed: a part's opening, "How fast", or a chapter.

    Attributes
    ----------
    root
        The top of the checkout.
    entry
        What the table of contents calls it: "notebooks/stein/opening".
    """

    root: Path
    entry: str

    @property
    def label(self) -> str:
        """What the command line calls it: "stein/opening", "how_fast"."""
        return self.entry.partition("/")[2]

    @property
    def source(self) -> Path:
        """The notebook as Jupytext's py:percent, which people edit."""
        return self.root / f"{self.entry}.py"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.root / f"{self.entry}.ipynb"

    @property
    def package(self) -> Path:
        """The folder with the package whose code counts, and runs: the checkout's own, else the installed one."""
        own = self.root / "src"
        return own if (own / digests.PACKAGE).is_dir() else Path(__file__).resolve().parents[2]

    @cached_property
    def source_cells(self) -> list[SourceCell]:
        """The cells as the source says them.

        Raises
        ------
        BookError
            If the source cannot be read.
        """
        return read_cells_of(self.source)

    @property
    def code(self) -> list[str]:
        """The sources of the code cells."""
        return [cell.source for cell in self.source_cells if cell.kind == "code"]

    @cached_property
    def cells(self) -> "NotebookNode":
        """The notebook as Jupytext makes it of the source, without outputs.

        Raises
        ------
        BookError
            If the source cannot be read, or its header names no kernel: papermill and JupyterLab could not run it.
        """
        import jupytext

        expected = [source.strip() for source in self.code]
        try:
            notebook = jupytext.read(self.source)
        except Exception as error:  # whatever Jupytext makes of a header or a marker that is half edited
            raise BookError(f"{self.source} is no py:percent file: {one_line(error)}") from None
        if "kernelspec" not in notebook.metadata:
            raise BookError(f"{self.source}: its header must hold a `kernelspec:` under `jupyter:`")
        if [cell.source.strip() for cell in notebook.cells if cell.cell_type == "code"] != expected:
            raise BookError(f"{self.source} must hold plain cells, each after a line `# %%`, and no magic")
        return notebook

    @property
    def title(self) -> str:
        """The first heading."""
        for cell in self.source_cells:
            if cell.kind == "markdown" and cell.source.startswith("# "):
                return cell.source.split("\n")[0].removeprefix("# ").strip()
        return self.label

    def executed(self) -> dict[str, Any] | None:
        """Read the executed notebook.

        Returns
        -------
        Its JSON, or None where there is no notebook yet.

        Raises
        ------
        BookError
            If the file is no notebook.
        """
        try:
            notebook = json.loads(self.notebook.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BookError(f"cannot read {self.notebook}: {error.strerror}") from None
        except ValueError:
            notebook = None
        if not fits(notebook, NOTEBOOK) or not all(
            fits(cell, CODE_CELL) for cell in notebook["cells"] if cell["cell_type"] == "code"
        ):
            raise BookError(
                f"{self.notebook} is no notebook; remove it, and `regularity execute` makes it anew"
            )
        return notebook

    def claims(self) -> list[dict[str, Any]]:
        """Read the claims of the executed notebook.

        Returns
        -------
        As `claims_of` gives them; none where there is no notebook yet.

        Raises
        ------
        BookError
            If the file is no notebook, or its claims are none that this version writes.
        """
        executed = self.executed()
        try:
            claims = [] if executed is None else claims_of(executed)
        except TypeError:
            claims = [None]
        if not fits(claims, [CLAIM]):
            raise BookError(
                f"{self.notebook} holds claims as this version does not write them: `regularity execute --force` "
                "makes it anew"
            )
        return claims

    def digest(self) -> str:
        """Tell the version of the page: its code, and all of this package that it reaches.

        Prose, comments and docstrings do not count.

        Returns
        -------
        Twelve hexadecimal digits.

        Raises
        ------
        BookError
            If its code, or what it reaches, is not Python.
        """
        try:
            found = digests.digest(self.code, self.package)
            data = [path.read_text(encoding="utf-8") for path in self._data if path.is_file()]
        except SyntaxError as error:
            raise BookError(f"{self.source}: {_where(error)}") from None
        except (OSError, ValueError) as error:
            raise BookError(f"{self.source}: what it reaches cannot be read: {one_line(error)}") from None
        return digests.short_hash([found, *data]) if data else found

    @property
    def _data(self) -> list[Path]:
        """Files that the page shows: new results are a new version."""
        return [self.root / "benchmarks" / "results.json"] if self.entry == HOW_FAST else []

    def reread(self) -> "Pair":
        """The same page, to be read from its files anew."""
        return type(self)(self.root, self.entry)


class Chapter(Pair):
    """One chapter: its part and name give all its files."""

    @property
    def part(self) -> str:
        """Its folder: "stein"."""
        return self.entry.split("/")[1]

    @property
    def name(self) -> str:
        """Its name: "noise2score"."""
        return self.entry.split("/")[2]

    @property
    def records(self) -> Path:
        """What was recorded of runs over seeds, on a GPU and at the paper's scale."""
        return self.source.with_suffix(".records.json")

    @property
    def method(self) -> Path:
        """The module of the method, or its package: a file or a folder."""
        folder = self.root / "src" / digests.PACKAGE / self.part / self.name
        return folder if folder.is_dir() else folder.with_suffix(".py")

    def parameter_file(self, size: str) -> Path:
        """Say where the parameters of a size lie.

        Parameters
        ----------
        size
            One of `SIZES`; what is none of them is the path of another file.

        Returns
        -------
        The path of the YAML file.
        """
        return self.source.with_suffix(f".{size}.yaml") if size in SIZES else Path(size)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name, as their cell declares them.

        Raises
        ------
        BookError
            If the cell cannot be read, or there is none.
        """
        cells = [cell for cell in self.source_cells if cell.is_parameters]
        if len(cells) != 1:
            raise BookError(f"{self.source} must have one cell tagged parameters; got {len(cells)}")
        try:
            return parameters_in(cells[0].source)
        except SyntaxError as error:
            raise BookError(f"{self.source}: {_where(error)}") from None
        except ValueError as error:
            raise BookError(f"{self.source}: {error}") from None


def read_cells_of(path: Path) -> list[SourceCell]:
    """Read the cells of a py:percent file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Its cells.

    Raises
    ------
    BookError
        If it cannot be read.
    """
    try:
        return read_cells(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BookError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BookError(f"{path}: {one_line(error)}") from None


def _where(error: SyntaxError) -> str:
    place = f"{error.filename}, line {error.lineno}" if error.filename else f"line {error.lineno}"
    return f"{place} is not Python: {error.msg}"


def all_pairs(root: Path | None = None) -> list[Pair]:
    """List what is executed, in the order of the table of contents: openings, chapters, and "How fast".

    Parameters
    ----------
    root
        The top of the checkout; None: found from the working directory.

    Returns
    -------
    The pages; those that the table of contents lacks come last.

    Raises
    ------
    BookError
        If the table of contents cannot be read.
    """
    root = find_root() if root is None else root
    order = {entry: position for position, entry in enumerate(_listed_entries(root))}
    sources = (root / "notebooks").glob("*/[!.]*.py")  # an editor's locks and copies begin with a dot
    entries = [f"notebooks/{path.parent.name}/{path.stem}" for path in sources]
    entries += [HOW_FAST] if (root / f"{HOW_FAST}.py").is_file() else []
    entries.sort(key=lambda entry: (order.get(entry, len(order)), entry))
    return [Pair(root, entry) if _is_plain_page(entry) else Chapter(root, entry) for entry in entries]


def all_chapters(root: Path | None = None) -> list[Chapter]:
    """List the chapters of a book, in the order of its table of contents; the rest as for `all_pairs`."""
    return [pair for pair in all_pairs(root) if isinstance(pair, Chapter)]


def page_numbers(root: Path | None = None) -> dict[str, str]:
    """Number the pages: chapters 1, 2, ... through the whole book, parts' openings I, II, ...

    Figures and equations follow: Figure 3.2 is the second one of chapter 3.

    Parameters
    ----------
    root
        As for `all_pairs`.

    Returns
    -------
    The numbers by entry; "How fast" has none.
    """
    pairs = [pair for pair in all_pairs(root) if pair.entry != HOW_FAST]
    chapters = [pair.entry for pair in pairs if isinstance(pair, Chapter)]
    openings = [pair.entry for pair in pairs if not isinstance(pair, Chapter)]
    numbers = {entry: str(number) for number, entry in enumerate(chapters, 1)}
    return numbers | {entry: _roman(number) for number, entry in enumerate(openings, 1)}


def _roman(number: int) -> str:
    tens, ones = divmod(number, 10)
    return "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]


def _is_plain_page(entry: str) -> bool:
    return entry == HOW_FAST or entry.endswith(f"/{OPENING}")


def _listed_entries(root: Path) -> list[str]:
    contents = root / "_toc.yml"
    try:
        return _files_in(read_yaml(contents.read_text(encoding="utf-8")))
    except OSError as error:
        raise BookError(f"cannot read {contents}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise BookError(f"{contents} is not YAML: {one_line(error)}") from None


def _files_in(node: Any) -> list[str]:
    """Every `file` of the table of contents, in reading order."""
    if isinstance(node, list):
        return [entry for item in node for entry in _files_in(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node["file"]).removesuffix(".ipynb").removesuffix(".md")] if "file" in node else []
    return own + [entry for value in node.values() for entry in _files_in(value)]


def find_pair(name: str, root: Path | None = None) -> Pair:
    """Find a page by its name: a chapter's, with or without its part, "stein/opening" or "how_fast".

    Parameters
    ----------
    name
        As `Pair.label` or `Chapter.name` say it.
    root
        The top of the checkout; None: found from the working directory.

    Returns
    -------
    The page.

    Raises
    ------
    BookError
        If there is none; the message names the nearest.
    """
    return _find(name, all_pairs(root), "page")


def find_chapter(name: str, root: Path | None = None) -> Chapter:
    """Find a chapter by its name, with or without its part; the rest as for `find_pair`."""
    return _find(name, all_chapters(root), "chapter")


def _find(name: str, pairs: list[Any], what: str) -> Any:
    by_name = {pair.name: pair for pair in pairs if isinstance(pair, Chapter)}
    by_name |= {pair.label: pair for pair in pairs}
    if name not in by_name:
        raise BookError(f"no {what} {name!r}; {nearest(name, by_name)}")
    return by_name[name]
