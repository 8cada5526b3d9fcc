"""Plain copies of chapters: ordinary notebooks, for JupyterLab, Colab, Binder and GitHub, which know nothing of MyST.

A copy keeps code and outputs. In its text, numbers are filled in from the outputs, figures have their captions,
citations and cross-references are ordinary links, and directives are ordinary Markdown. What cannot be resolved is
an error; nothing of MyST is left.
"""

import hashlib
import importlib
import json
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from regularity.lab.claims import claims_of
from regularity.lab.sources import REPOSITORY
from regularity.lab.verdicts import summarise_verdicts
from regularity.press.chapters import Pair, all_chapters, page_numbers
from regularity.press.errors import BookError, nearest
from regularity.press.files import make_folder, replace_file
from regularity.press.references import References, escape_markdown

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

SITE = "https://regularity-book.github.io/regularity/"
PACKAGE = "regularity"
EXTRAS = ("peers",)
RECORD = "application/papermill.record/"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
SITE_TAGS = frozenset({"hide-input", "remove-output", "thumbnail"})
ADMONITIONS = ("admonition", "hint", "important", "note", "seealso", "tip", "warning")

INSTALL = f"""\
# Install the book's library where it is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("{PACKAGE}") is None:
    %pip install --quiet "{PACKAGE}[{",".join(EXTRAS)}] @ git+{REPOSITORY}"
"""


def plain_notebook(pair: Pair, site: str = SITE) -> dict[str, Any]:
    """Make the plain copy of a chapter, or of another page that is a notebook.

    Parameters
    ----------
    pair
        The notebook, executed.
    site
        Address of the site that links lead to, with a slash at its end.

    Returns
    -------
    A notebook as JSON of nbformat 4: first a cell that installs this package where it is missing, then a line
    that links to the page, then the cells of the notebook.

    Raises
    ------
    BookError
        If the notebook has not been executed, or its text names something that is not there.
    """
    executed = pair.executed()
    if executed is None:
        raise BookError(f"{pair.notebook} must be executed first; there is no such file")
    book = _Book(pair.root, site)
    copy = _Copy(book, pair.entry, executed)
    page = _link(copy.page.title, book.address(copy.docname))
    cells = [
        _new_cell("code", "install", INSTALL.rstrip("\n")),
        _new_cell("markdown", "page", f"A page of the book [Regularity]({site}): {page}."),
        *(_plain_cell(copy, number, cell) for number, cell in enumerate(executed["cells"])),
    ]
    return {"cells": cells, "metadata": _metadata(), "nbformat": 4, "nbformat_minor": 5}


def _metadata() -> dict[str, Any]:
    """What JupyterLab itself would write: anything else and the notebook counts as changed when it is opened."""
    return {
        "jupytext": {"formats": "ipynb"},  # no pair, whatever the settings of the folder say
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {
            "codemirror_mode": {"name": "ipython", "version": 3},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
            "version": platform.python_version(),
        },
    }


def write_plain(pairs: Sequence[Pair], folder: Path, site: str = SITE) -> dict[Path, bool]:
    """Write the plain copies of chapters, as `<part>/<chapter>.ipynb`.

    Parameters
    ----------
    pairs
        The notebooks.
    folder
        Where the copies go.
    site
        As for `plain_notebook`.

    Returns
    -------
    Each copy's path, and whether it was written: one that its reader has changed is left alone.

    Raises
    ------
    BookError
        As `plain_notebook`; copies that precede the one at fault are written.
    """
    written = {}
    for pair in pairs:
        notebook = plain_notebook(pair, site)
        notebook["metadata"][PACKAGE] = {"copy": _digest(notebook)}
        path = Path(folder, f"{pair.label}.ipynb")
        written[path] = not path.is_file() or _untouched(path)
        if written[path]:
            make_folder(path.parent)
            replace_file(path, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
    return written


def _untouched(path: Path) -> bool:
    """Whether a copy's cells are as they were written."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook["metadata"][PACKAGE]["copy"] == _digest(notebook)
    except (ValueError, KeyError, TypeError):
        return False


def _digest(notebook: Mapping[str, Any]) -> str:
    """Tell the cells' sources and outputs, however the file is laid out."""
    cells = [
        [_joined(cell["source"]), *(_plain_lines(output) for output in cell.get("outputs", []))]
        for cell in notebook["cells"]
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:12]


def _plain_lines(value: Any) -> Any:
    """Join lists of lines, which editors write in place of texts, wherever they stand in an output."""
    if isinstance(value, Mapping):
        return {key: _plain_lines(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return (
            "".join(value) if all(isinstance(line, str) for line in value) else list(map(_plain_lines, value))
        )
    return value


def _joined(text: str | list[str]) -> str:
    """A text of a notebook, which may stand there as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


# --- Cells -------------------------------------------------------------------------------------------------------


def _new_cell(kind: str, name: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _plain_cell(copy: "_Copy", number: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    plain = {**cell, "source": _joined(cell["source"]), "metadata": _plain_metadata(cell["metadata"])}
    if cell["cell_type"] == "markdown":
        place = _Place(copy, number)
        plain["source"] = _render(plain["source"], place)
        if place.attachments:
            plain["attachments"] = place.attachments
    elif cell["cell_type"] == "code":
        plain["outputs"] = [output for output in cell["outputs"] if not _is_record(output)]
    return plain


def _plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Fold what the site folds; leave tags that machines read."""
    plain = {key: value for key, value in metadata.items() if key not in {"mystnb", "tags"}}
    tags = metadata.get("tags", [])
    if "hide-input" in tags:
        plain["jupyter"] = {**plain.get("jupyter", {}), "source_hidden": True}
    if kept := [tag for tag in tags if tag not in SITE_TAGS]:
        plain["tags"] = kept
    return plain


def _is_record(output: Mapping[str, Any]) -> bool:
    """Whether an output only holds a text for the prose."""
    data = output.get("data", {})
    return bool(data) and all(key.startswith(RECORD) for key in data)


# --- The book: its pages, their labels, and addresses on the site -----------------------------------------------


class _Label(NamedTuple):
    """Something that has a name on a page.

    Attributes
    ----------
    kind
        "figure", "equation" or "section".
    text
        The number of a figure or equation on its page; the heading of a section.
    anchor
        Its id on the site.
    """

    kind: str
    text: str
    anchor: str


@dataclass(frozen=True)
class _Page:
    """What other places may say of a page."""

    title: str
    labels: Mapping[str, _Label]
    cited: Sequence[str]


class _Book:
    """The pages of a checkout, each read when it is first asked for."""

    def __init__(self, root: Path, site: str) -> None:
        self.root = root
        self.site = site
        self.references = References(root / "book" / "references.bib")

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each page; where a notebook and a text have one name, the notebook."""
        patterns = ("book/*.md", "book/*/*.md", "book/*.ipynb", "notebooks/*/*.ipynb")
        paths = (path for pattern in patterns for path in sorted(self.root.glob(pattern)))
        return {path.relative_to(self.root).with_suffix("").as_posix(): path for path in paths}

    def page(self, docname: str) -> _Page:
        return _read_page(self.files[docname], self.files[docname].stat().st_mtime_ns)

    def address(self, docname: str, anchor: str = "") -> str:
        return f"{self.site}{docname}.html" + (f"#{anchor}" if anchor else "")

    @cached_property
    def numbers(self) -> Mapping[str, int | str]:
        return page_numbers(self.root)

    def number(self, docname: str, label: _Label) -> str:
        """The number of a figure or equation as the site gives it: "3.2"."""
        page = self.numbers.get(docname)
        return label.text if page is None else f"{page}.{label.text}"

    def find(self, label: str, kinds: Sequence[str]) -> tuple[str, _Label] | None:
        """Find the page that has a label, and the label."""
        for docname in self.files:
            found = self.page(docname).labels.get(label)
            if found and found.kind in kinds:
                return docname, found
        return None


@lru_cache(maxsize=1024)
def _read_page(path: Path, changed: int) -> _Page:
    """Read a file, anew when it was changed at another time."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        texts = [
            _joined(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        ]
    else:
        texts = [re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)]
    headings = (found[1] for text in texts if (found := re.search(r"^# +(.+)$", text, re.MULTILINE)))
    labels: dict[str, _Label] = {}
    cited: list[str] = []
    counts = {"figure": 0, "equation": 0}
    for text in texts:
        for piece in _all_pieces(text):
            if piece.kind == "prose":
                roles = (found for found in _INLINE.finditer(piece.text) if found["role"] in _CITATIONS)
                cited += [key for found in roles for key in _keys(found["body"])]
            elif piece.kind == "directive" and piece.name == "glue:figure":
                counts["figure"] += 1
                name = piece.options.get("name", f"figure {counts['figure']}")
                labels[name] = _Label("figure", str(counts["figure"]), _make_id(name))
            elif piece.kind == "equation":
                counts["equation"] += 1
                anchor = _make_id(f"equation-{piece.name}")
                labels[piece.name] = _Label("equation", str(counts["equation"]), anchor)
            elif piece.kind == "target":
                labels[piece.name] = _Label("section", piece.text, _make_id(piece.name))
    return _Page(next(headings, ""), labels, cited)


def _make_id(name: str) -> str:
    """An id in HTML, as docutils makes it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# --- Blocks of Markdown ------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Lines of a text that are prose, or that are MyST's.

    Attributes
    ----------
    kind
        "prose", "directive", "formula", "equation" (which has a label), "target" or "comment".
    first, last
        Its lines: from `first` to before `last`.
    text
        The lines of prose or of a formula, the body of a directive, the heading after a target.
    name
        Of a directive, equation or target.
    argument, options
        Of a directive.
    """

    kind: str
    first: int
    last: int
    text: str
    name: str = ""
    argument: str = ""
    options: Mapping[str, str] = {}


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt
    from mdit_py_plugins.colon_fence import colon_fence_plugin
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.myst_blocks import myst_block_plugin

    parser = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, double_inline=True)
    parser.use(deflist_plugin).use(colon_fence_plugin).use(myst_block_plugin)
    parser.core.ruler.enableOnly(["normalize", "block"])  # what is inside of a paragraph is read here
    return parser


def _all_pieces(text: str) -> Iterator[_Piece]:
    """The pieces of a text and of the bodies of its directives."""
    for piece in _pieces(_definitions_as_lists(text)):
        yield piece
        if piece.kind == "directive":
            yield from _all_pieces(piece.text)


def _pieces(text: str) -> Iterator[_Piece]:
    """The pieces of a text, in order; code and HTML, which are left as they are, are not among them."""
    lines = text.split("\n")
    tokens = _parser().parse(text)
    done = 0  # cells of a table share their line
    for number, token in enumerate(tokens):
        if token.map is None:
            continue
        first, last = token.map
        own = "\n".join(lines[first:last])
        if token.type == "inline" and first >= done:
            done = last
            yield _Piece("prose", first, last, own)
        elif token.type == "math_block":
            yield _Piece("formula", first, last, own)
        elif token.type == "math_block_label":
            yield _Piece("equation", first, last, own, token.info)
        elif token.type == "myst_target":
            heading = next((later.content for later in tokens[number:] if later.type == "inline"), "")
            yield _Piece("target", first, last, heading, token.content)
        elif token.type in {"myst_line_comment", "myst_block_break"}:
            yield _Piece("comment", first, last, own)
        elif token.type in {"fence", "colon_fence"} and (found := _DIRECTIVE.match(token.info.strip())):
            body, options = _options(token.content)
            yield _Piece("directive", first, last, body, found[1], found[2].strip(), options)


_DIRECTIVE = re.compile(r"\{([^}]+)\}(.*)")
_DEFINITION = re.compile(r"^(?![ :])(.+)\n+:[ \t]+", re.MULTILINE)


def _options(content: str) -> tuple[str, dict[str, str]]:
    """Split the content of a directive into its body and its options, read as MyST reads them."""
    from myst_parser.parsers.options import options_to_items

    lines = content.split("\n")
    n_options = next((number for number, line in enumerate(lines) if not line.startswith(":")), len(lines))
    items, _ = options_to_items("\n".join(line[1:] for line in lines[:n_options]))
    return "\n".join(lines[n_options:]).rstrip("\n"), dict(items)


def _definitions_as_lists(text: str) -> str:
    """Turn lists of definitions into lists with bold terms."""
    lines = text.split("\n")
    for token in reversed(_parser().parse(text)):
        if token.type == "dl_open":
            first, last = token.map
            own = "\n".join(lines[first:last])
            lines[first:last] = _DEFINITION.sub(r"- **\1**: ", own).split("\n")
    return "\n".join(lines)


# --- Text --------------------------------------------------------------------------------------------------------


@dataclass
class _Copy:
    """The notebook that is being copied."""

    book: _Book
    docname: str
    notebook: Mapping[str, Any]

    @cached_property
    def page(self) -> _Page:
        return self.book.page(self.docname)

    @cached_property
    def glued(self) -> dict[str, tuple[int, Mapping[str, Any]]]:
        """What the cells glued: the number of the cell, and the data of the output."""
        return {
            output["metadata"]["scrapbook"]["name"]: (number, output["data"])
            for number, cell in enumerate(self.notebook["cells"])
            for output in cell.get("outputs", [])
            if "scrapbook" in output.get("metadata", {})
        }

    def find_glued(self, name: str) -> tuple[int, Mapping[str, Any]]:
        if name not in self.glued:
            raise self.error(f"nothing is glued as {name!r}; {nearest(name, self.glued)}")
        return self.glued[name]

    def find_label(self, label: str, *kinds: str) -> tuple[str, str]:
        """Give the number or heading of a label, and its address: "" where it is on this page."""
        if (found := self.page.labels.get(label)) and found.kind in kinds:
            docname, address = self.docname, ""
        elif elsewhere := self.book.find(label, kinds):
            docname, found = elsewhere
            address = self.book.address(docname, found.anchor)
        else:
            raise self.error(f"no {' or '.join(kinds)} {label!r}; {nearest(label, self.page.labels)}")
        return found.text if found.kind == "section" else self.book.number(docname, found), address

    def error(self, words: str) -> BookError:
        return BookError(f"{self.docname}: {words}")


@dataclass
class _Place:
    """The cell that is being written."""

    copy: _Copy
    number: int
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)


# Whoever reads from left to right meets one of these first; a role inside of code or mathematics is none.
_INLINE = re.compile(
    r"""\{(?P<role>[a-zA-Z][\w:.+-]*)\}(?P<quote>`+)(?P<body>.+?)(?<!`)(?P=quote)(?!`)
    | \[(?P<span>[^][]*)\]\{[.#][^{}\n]*\}
    | (?P<attributes>^\{[.#][^{}\n]*\}[ ]*\n? | (?<=[`)])\{[.#][^{}\n]*\})
    | \\. | (?P<ticks>`+).+?(?<!`)(?P=ticks)(?!`) | `+ | \$\$.+?\$\$ | \$(?:\\.|[^$\\])+\$
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_SPACE = re.compile(r"\s*\n[\s>]*")
_TITLED = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)


def _render(text: str, place: _Place) -> str:
    """Write a text of MyST as ordinary Markdown."""
    text = _definitions_as_lists(text)
    lines = text.split("\n")
    for piece in reversed(list(_pieces(text))):
        lines[piece.first : piece.last] = _render_piece(piece, lines[piece.first], place).split("\n")
    return "\n".join(lines).strip("\n")


def _render_piece(piece: _Piece, first_line: str, place: _Place) -> str:
    indent = re.match("[ >]*", first_line)[0]
    if piece.kind == "prose":
        return _render_prose(piece.text, place)
    if piece.kind == "formula":
        return piece.text
    if piece.kind == "equation":
        number, _ = place.copy.find_label(piece.name, "equation")
        formula = piece.text[: piece.text.rindex("$$")].rstrip(" \n>")
        return f"{formula} \\tag{{{number}}}\n{indent}$$"
    if piece.kind == "directive":
        if piece.name not in _DIRECTIVES:
            known = nearest(piece.name, _DIRECTIVES)
            raise place.copy.error(f"directive {piece.name!r} has no plain form; {known}")
        new = _DIRECTIVES[piece.name](piece, place)
        return "\n".join((indent + line).rstrip() for line in new.split("\n"))
    return ""  # a target or a comment


def _render_prose(text: str, place: _Place) -> str:
    def render(found: re.Match[str]) -> str:
        if found["role"]:
            if found["role"] not in _ROLES:
                known = nearest(found["role"], _ROLES)
                raise place.copy.error(f"role {found['role']!r} has no plain form; {known}")
            return _ROLES[found["role"]](" ".join(found["body"].split()), place.copy)
        if found["span"] is not None:
            return _render_prose(found["span"], place)
        return "" if found["attributes"] else found[0]

    return _INLINE.sub(render, text)


# --- Roles -------------------------------------------------------------------------------------------------------


def _split_title(body: str) -> tuple[str, str]:
    """Split "words <target>" into both; no words: ""."""
    titled = _TITLED.fullmatch(body)
    return (titled[1], titled[2]) if titled else ("", body)


def _keys(body: str) -> list[str]:
    return [key.strip() for key in body.split(",")]


def _link(words: str, address: str) -> str:
    escaped = re.sub(r"([][|])", r"\\\1", words)
    return f"[{escaped}]({address})" if address else words


def _glued_text(body: str, copy: _Copy) -> str:
    _, data = copy.find_glued(body)
    text = data.get(f"{RECORD}text/plain", data.get("text/plain"))
    if text is None or any(kind in data for kind in PICTURES):
        raise copy.error(f"what is glued as {body!r} is no text")
    return escape_markdown(_joined(text))


def _cite_in_brackets(body: str, copy: _Copy) -> str:
    return f"({'; '.join(_cite(key, copy) for key in _keys(body))})"


def _cite_in_text(body: str, copy: _Copy) -> str:
    return ", ".join(_cite(key, copy, in_text=True) for key in _keys(body))


def _cite(key: str, copy: _Copy, **how: bool) -> str:
    try:
        return copy.book.references.cite(key, **how)
    except BookError as error:
        raise copy.error(error.message) from None


def _numbered(body: str, copy: _Copy) -> str:
    words, label = _split_title(body)
    number, address = copy.find_label(label, "figure")
    return _link((words or "Figure %s").replace("%s", number).replace("{number}", number), address)


def _equation(body: str, copy: _Copy) -> str:
    number, address = copy.find_label(body, "equation")
    return _link(f"({number})", address)


def _reference(body: str, copy: _Copy) -> str:
    words, label = _split_title(body)
    heading, address = copy.find_label(label, "section")
    return _link(words or heading, address)


def _document(body: str, copy: _Copy) -> str:
    words, target = _split_title(body)
    folder = Path() if target.startswith("/") else Path(copy.docname).parent
    parts: list[str] = []
    for part in (folder / target.lstrip("/")).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    docname = "/".join(parts)
    if docname not in copy.book.files:
        raise copy.error(f"no page {target!r}; {nearest(docname, copy.book.files)}")
    return _link(words or copy.book.page(docname).title, copy.book.address(docname))


def _python(body: str, copy: _Copy, *, call: bool = False) -> str:
    """Link to what the package documents, on the page of the module that defines it."""
    words, name = _split_title(body)
    shown = name.rpartition(".")[2] if name.startswith("~") else name
    name = name.removeprefix("~")
    home, module = _home_of(name, copy)
    page = copy.book.address(f"book/api/{module.removeprefix(f'{PACKAGE}.').replace('.', '-')}")
    anchor = f"module-{home}" if home == module else home
    code = f"`{shown}()`" if call else f"`{shown}`"
    return f"[{words or code}]({page}#{anchor})"


def _call(body: str, copy: _Copy) -> str:
    return _python(body, copy, call=True)


def _home_of(name: str, copy: _Copy) -> tuple[str, str]:
    """Give the name under which an object was defined, and the module; a package may only hand it on."""
    module, attributes = name, []
    while module.split(".")[0] == PACKAGE:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(f"{error.name}"):
                raise  # something that the module imports is missing
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
            continue
        for attribute in attributes:
            found = getattr(found, attribute, None)
        if found is None:
            break
        if not attributes:
            return module, module
        module = getattr(found, "__module__", module)
        return f"{module}.{getattr(found, '__qualname__', '.'.join(attributes))}", module
    raise copy.error(f"{name!r} is nothing that {PACKAGE} has")


_CITATIONS = {"cite:p": _cite_in_brackets, "cite:t": _cite_in_text}
_NAMES = ("attr", "class", "data", "exc", "mod", "obj")
_CALLS = ("func", "meth")
_ROLES: Mapping[str, Callable[[str, _Copy], str]] = {
    "glue:text": _glued_text,
    "numref": _numbered,
    "eq": _equation,
    "ref": _reference,
    "doc": _document,
    **_CITATIONS,
    **{prefix + name: _python for prefix in ("", "py:") for name in _NAMES},
    **{prefix + name: _call for prefix in ("", "py:") for name in _CALLS},
}


# --- Directives --------------------------------------------------------------------------------------------------


def _figure(piece: _Piece, place: _Place) -> str:
    """The caption, with the figure itself where the reader would find it only further down."""
    copy = place.copy
    cell, data = copy.find_glued(piece.argument)
    kind = next((kind for kind in PICTURES if kind in data), None)
    if kind is None:
        raise copy.error(f"what is glued as {piece.argument!r} is no figure")
    if "name" not in piece.options or "alt" not in piece.options:
        raise copy.error(f"the figure {piece.argument!r} must have :name: and :alt:")
    if not piece.text.startswith("\n"):
        wrong = piece.text.split("\n")[0].strip()
        raise copy.error(
            f"a line within options begins with a colon, and a blank one ends them; got {wrong!r}"
        )
    number, _ = copy.find_label(piece.options["name"], "figure")
    caption = f"**Figure {number}.** {_render(piece.text, place)}".rstrip()
    if cell <= place.number + 1:
        return caption
    name = f"{piece.argument}.{kind.partition('/')[2].partition('+')[0]}"
    place.attachments[name] = {kind: _joined(data[kind]).strip()}
    return f"![{escape_markdown(piece.options['alt'])}](attachment:{name})\n\n{caption}"


def _admonition(piece: _Piece, place: _Place) -> str:
    """A block quote with a bold title."""
    title = piece.argument if piece.name == "admonition" else piece.name.capitalize()
    body = piece.text if piece.name == "admonition" else f"{piece.argument}\n{piece.text}".strip("\n")
    text = _unbroken_formulas(f"**{_render(title, place)}**\n\n{_render(body, place)}")
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _unbroken_formulas(text: str) -> str:
    """Write each formula on one line: JupyterLab takes the signs of a quotation in it for mathematics."""
    lines = text.split("\n")
    for piece in reversed(list(_pieces(text))):
        if piece.kind in {"prose", "formula"}:
            one = _INLINE.sub(
                lambda found: found[0] if found["ticks"] else _SPACE.sub(" ", found[0]), piece.text
            )
            lines[piece.first : piece.last] = one.split("\n")
    return "\n".join(lines)


def _verdicts(piece: _Piece, place: _Place) -> str:
    claims = claims_of(place.copy.notebook)
    if not claims:
        raise place.copy.error("there are no claims, and so no verdicts to show")
    return f"**Verdicts:** {summarise_verdicts(claims)}."


def _gallery(piece: _Piece, place: _Place) -> str:
    """The chapters of a part, with their verdicts."""
    book = place.copy.book
    items = []
    for chapter in all_chapters(book.root):
        if chapter.part == piece.argument:
            verdicts = summarise_verdicts(chapter.claims())
            items.append(f"- {_link(chapter.title, book.address(chapter.entry))}: {verdicts}")
    if not items:
        raise place.copy.error(f"no chapters in part {piece.argument!r}")
    return "\n".join(items)


def _bibliography(piece: _Piece, place: _Place) -> str:
    copy = place.copy
    return copy.book.references.list_works(dict.fromkeys(copy.page.cited))


_DIRECTIVES: Mapping[str, Callable[[_Piece, _Place], str]] = {
    "glue:figure": _figure,
    "verdicts": _verdicts,
    "gallery": _gallery,
    "bibliography": _bibliography,
    **dict.fromkeys(ADMONITIONS, _admonition),
}
