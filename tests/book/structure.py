"""What the structure tests look for.

Each check takes a book and returns complaints, so that it can be tried on a broken one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from regularity.lab.claims import claims_of
from regularity.press.chapters import SIZES, Chapter, Pair, all_chapters, all_pairs
from regularity.press.execution import is_stale, sources_agree

SECTIONS = [
    "Parameters",
    "The method",
    "The experiment",
    "The claims",
    "Where it breaks",
    "Bigger",
    "Exercises",
    "References",
]
MAY_IMPORT = {  # besides third-party libraries, and a method its own part
    "foundations": {"foundations"},
    "data": {"data"},
    "lab": {"lab", "foundations"},
    "press": {"press", "lab"},
    "method": {"foundations"},
    "experiment": {"foundations", "data"},  # and problems: what a notebook would otherwise hold
    "chapter": {"foundations", "data", "lab"},
    "page": {"foundations", "data", "lab"},
}
MODULES = {"__init__", "method", "problems", "rivals", "experiment", "checks"}  # of a chapter's package
ROLES = {"doc", "func", "eq", "numref", "cite:p", "cite:t", "glue:text"}
DIRECTIVES = {"admonition", "bibliography", "glue:figure", "verdicts"}  # and gallery, on a part's opening
CODE_LINES, CODE_WIDTH, IMPORT_LINES, MODULE_LINES, TEXT_WIDTH = 40, 88, 18, 500, 120
NOTEBOOK_BYTES = 1_500_000
_FIGURE = re.compile(r"^```\{glue:figure\} (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


# --- What imports what -------------------------------------------------------------------------------------------


def imported_modules(code: str) -> set[str]:
    """Name the modules of this package that a piece of code imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith((".", "regularity.", "notebooks"))}


def check_import_directions(root: Path) -> list[str]:
    """Foundations and data import third parties, methods foundations and their own part, the press the lab."""
    complaints = []
    package = root / "src" / "regularity"
    for path in sorted(package.glob("*/**/*.py")):
        folder = path.relative_to(package).parts[0]
        kind = "experiment" if path.stem in {"experiment", "problems"} else "method"
        allowed = MAY_IMPORT.get(folder) or MAY_IMPORT[kind] | {folder}
        for name in sorted(imported_modules(path.read_text(encoding="utf-8"))):
            target = name.split(".")[1] if name.startswith("regularity.") else name
            if target not in allowed and (not name.startswith("regularity.") or (package / target).is_dir()):
                complaints.append(f"{path.relative_to(root)} imports {name}")
    for pair in all_pairs(root):
        allowed = MAY_IMPORT["page"]
        if isinstance(pair, Chapter):
            allowed = MAY_IMPORT["chapter"] | {pair.part}
        for name in sorted(imported_modules("\n".join(cell.source for cell in code_cells(pair)))):
            if name.split(".")[1] not in allowed:
                complaints.append(f"{pair.source.relative_to(root)} imports {name}")
    return complaints


# --- What lies where ---------------------------------------------------------------------------------------------


def check_four_places(root: Path) -> list[str]:
    """A chapter's notebook, its pair, its method, its test and its place in the table of contents have one name."""
    complaints = []
    listed = (root / "_toc.yml").read_text(encoding="utf-8") + "\n"
    chapters = all_chapters(root)
    for pair in all_pairs(root):
        needed = [pair.notebook]
        if isinstance(pair, Chapter):
            needed += [root / "tests" / pair.part / f"test_{pair.name}.py", pair.method]
            needed += [pair.parameter_file(size) for size in SIZES]
        complaints += [f"{path.relative_to(root)} is missing" for path in needed if not path.exists()]
        if not re.search(rf"file: {pair.entry}(\.ipynb)?\s", listed):
            complaints.append(f"_toc.yml lacks {pair.entry}")
    for part in sorted({chapter.part for chapter in chapters}):
        if not (root / "notebooks" / part / "opening.py").is_file():
            complaints.append(f"notebooks/{part}/opening.py is missing")
        named = {chapter.name for chapter in chapters if chapter.part == part}
        for path in sorted((root / "src" / "regularity" / part).iterdir()):
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                complaints += _about_method(root, path, named)
    return complaints


def _about_method(root: Path, path: Path, named: set[str]) -> Iterator[str]:
    where = path.relative_to(root)
    if path.stem not in {"__init__", *named}:
        yield f"{where} has no chapter"
    if path.is_dir():
        unknown = sorted({module.stem for module in path.glob("*.py")} - MODULES)
        yield from (f"{where}/{module}.py is none of {', '.join(sorted(MODULES))}" for module in unknown)
    elif len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES:
        yield f"{where} has more than {MODULE_LINES} lines, and must be a package"


# --- What was executed -------------------------------------------------------------------------------------------


def check_pairs(root: Path) -> list[str]:
    """Both halves of each pair have the same cells, and the outputs are those of the present code."""
    complaints = []
    for pair in all_pairs(root):
        if not pair.notebook.is_file():
            continue
        if not sources_agree(pair):
            complaints.append(f"{pair.label}: .py and .ipynb differ; run `make execute`")
        if is_stale(pair):
            complaints.append(f"{pair.label}: the code has changed since the execution; run `make execute`")
    return complaints


def check_executed(root: Path) -> list[str]:
    """Every code cell of a committed notebook was executed, in order, without an error or a word on stderr."""
    complaints = []
    for path in sorted([*(root / "notebooks").glob("*/*.ipynb"), *(root / "book").glob("*.ipynb")]):
        say = f"{path.relative_to(root)}: ".__add__
        expected = 0
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type != "code":
                continue
            expected += 1
            if cell.execution_count != expected:
                complaints.append(say(f"cell {number} has count {cell.execution_count}, not {expected}"))
            for output in cell.outputs:
                if output.output_type == "error" or output.get("name") == "stderr":
                    complaints.append(say(f"cell {number} has an error or wrote to stderr"))
        if path.stat().st_size > NOTEBOOK_BYTES:
            complaints.append(say(f"{path.stat().st_size / 1e6:.1f} MB; at most {NOTEBOOK_BYTES / 1e6}"))
    return complaints


# --- What a chapter holds ----------------------------------------------------------------------------------------


def check_parameters(root: Path) -> list[str]:
    """Each chapter has one parameters cell of typed, commented literals; parameter files name nothing else."""
    complaints = []
    for chapter in all_chapters(root):
        say = f"{chapter.name}: ".__add__
        tagged = [cell for cell in code_cells(chapter) if "parameters" in tags_of(cell)]
        if len(tagged) != 1:
            complaints.append(say(f"{len(tagged)} cells are tagged parameters, not one"))
            continue
        for node in ast.parse(tagged[0].source).body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                complaints.append(say(f"`{ast.unparse(node)}` must be a typed assignment"))
                continue
            try:
                ast.literal_eval(node.value)
            except (ValueError, TypeError):
                complaints.append(say(f"{node.target.id} must be a plain literal"))
        if complaints:
            continue
        complaints += [
            say(f"{name} has no comment") for name, told in chapter.parameters.items() if not told.help
        ]
        for name, kind in (("seed", "int"), ("device", "str")):
            if name not in chapter.parameters or chapter.parameters[name].type != kind:
                complaints.append(say(f"there must be a parameter `{name}: {kind}`"))
        for size in SIZES:
            path = chapter.parameter_file(size)
            given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
            unknown = sorted(set(given or {}) - set(chapter.parameters))
            complaints += [f"{path.name}: {name} is no parameter of the chapter" for name in unknown]
    return complaints


def check_front(root: Path) -> list[str]:
    """A chapter opens with its question, its card, its verdicts and a figure, all in the first cell."""
    complaints = []
    for chapter in all_chapters(root):
        say = f"{chapter.name}: the first cell lacks ".__add__
        first = chapter.cells.cells[0]
        wanted = {
            "a title": r"^# \S",
            "the question in bold": r"^\*\*(?:[^*]|\*(?!\*))+\*\*$",
            "the row `paper` in its card": r"^\| paper \| .*\S.* \|$",
            "the row `read for this chapter` in its card": r"^\| read for this chapter \| .*\S.* \|$",
            "{verdicts}": r"^```\{verdicts\}\n```$",
            "a figure, {glue:figure}": r"^```\{glue:figure\} \S+$",
        }
        text = first.source if first.cell_type == "markdown" else ""
        complaints += [
            say(what) for what, pattern in wanted.items() if not re.search(pattern, text, re.MULTILINE)
        ]
    return complaints


def check_anatomy(root: Path) -> list[str]:
    """A chapter has its sections in order, one first figure, one cell of claims; and claims among its outputs."""
    complaints = []
    for chapter in all_chapters(root):
        say = f"{chapter.name}: ".__add__
        headings = re.findall(r"^## (.+)$", text_of(chapter), flags=re.MULTILINE)
        present = [heading for heading in headings if heading in SECTIONS]
        if present != SECTIONS:
            complaints.append(say(f"sections are {present}, not {SECTIONS}"))
        for tag in ("thumbnail", "claims"):
            tagged = [cell for cell in code_cells(chapter) if tag in tags_of(cell)]
            if len(tagged) != 1:
                complaints.append(say(f"{len(tagged)} cells are tagged {tag}, not one"))
            complaints += [
                say(f"the cell tagged {tag} lacks the tag hide-input")
                for cell in tagged
                if "hide-input" not in tags_of(cell)
            ]
        executed = chapter.executed()
        if executed is not None and not claims_of(executed):
            complaints.append(say("no claims among the outputs"))
    return complaints


def check_cells(root: Path) -> list[str]:
    """A cell of code fits on the page; what a chapter imports stands in its folded setup cell, with `lab.begin`.

    Parameters may be many: they are one cell, which papermill fills in.
    """
    complaints = []
    for pair in all_pairs(root):
        say = f"{pair.label}: ".__add__
        importing = []
        for cell in code_cells(pair):
            lines = cell.source.split("\n")
            is_parameters = "parameters" in tags_of(cell)  # a list of them, with a line each
            if len(lines) > CODE_LINES and not is_parameters:
                complaints.append(say(f"a cell has {len(lines)} lines, at most {CODE_LINES}: {lines[0]!r}"))
            complaints += [
                say(f"a line has {len(line)} columns, at most {CODE_WIDTH}: {line.strip()[:40]!r}")
                for line in lines
                if len(line) > CODE_WIDTH
            ]
            imports = [
                node for node in ast.parse(cell.source).body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            if imports:
                importing.append((cell, sum(node.end_lineno - node.lineno + 1 for node in imports)))
        if len(importing) != 1:
            complaints.append(say(f"{len(importing)} cells import, not one"))
            continue
        cell, n_lines = importing[0]
        if n_lines > IMPORT_LINES:
            complaints.append(say(f"imports take {n_lines} lines, at most {IMPORT_LINES}"))
        if "hide-input" not in tags_of(cell) or "lab.begin(" not in cell.source:
            complaints.append(say("the cell that imports must be tagged hide-input, and call `lab.begin`"))
    return complaints


def check_figures(root: Path) -> list[str]:
    """A figure is glued in a folded cell, and stands where the prose has its name, alternative text and caption."""
    complaints = []
    for pair in all_pairs(root):
        say = f"{pair.label}: ".__add__
        for number, cell in enumerate((pair.executed() or {"cells": []})["cells"]):
            if not any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                continue
            if not {"hide-input", "remove-output"} <= set(cell["metadata"].get("tags", [])):
                complaints.append(
                    say(f"the figure of cell {number} lacks the tags hide-input, remove-output")
                )
            if any("scrapbook" not in output.get("metadata", {}) for output in cell["outputs"]):
                complaints.append(say(f"cell {number} shows more than the figures that it glues"))
        prefix = f"fig-{own_name(pair)}-"
        for name, body in _FIGURE.findall(text_of(pair)):
            options, _, caption = body.partition("\n\n")
            for option in ("name", "alt"):
                if not re.search(rf"^:{option}: \S", options, flags=re.MULTILINE):
                    complaints.append(say(f"the figure {name} lacks :{option}:"))
            label = re.search(r"^:name: (\S+)", options, flags=re.MULTILINE)
            if label and not label[1].startswith(prefix):
                complaints.append(say(f"{label[1]} must begin with {prefix}"))
            if any(not line.startswith(":") for line in options.splitlines()):
                complaints.append(say(f"an option of the figure {name} goes on in a second line"))
            if not caption.strip():
                complaints.append(say(f"the figure {name} lacks a caption"))
            if any(len(line) > TEXT_WIDTH for line in caption.splitlines()):
                complaints.append(say(f"the caption of {name} is not wrapped at {TEXT_WIDTH} columns"))
    return complaints


def check_markup(root: Path) -> list[str]:
    """Nothing but the roles and directives that a plain copy can do without."""
    complaints = []
    for pair in all_pairs(root):
        allowed = DIRECTIVES if isinstance(pair, Chapter) else DIRECTIVES | {"gallery"}
        text = text_of(pair)
        roles = set(re.findall(r"\{([\w:-]+)\}`", text)) - ROLES
        directives = set(re.findall(r"^\s*(?:`{3,}|:{3,})\{([\w:-]+)\}", text, flags=re.MULTILINE)) - allowed
        complaints += [f"{pair.label}: there must be no role {role}" for role in sorted(roles)]
        complaints += [f"{pair.label}: there must be no directive {name}" for name in sorted(directives)]
    return complaints


def check_glue(root: Path) -> list[str]:
    """The prose cites what its own page glues, all of it, by names that do not repeat the page's."""
    complaints: list[str] = []
    for pair in all_pairs(root):
        say = f"{pair.label}: ".__add__
        executed = pair.executed()
        if executed is None:
            continue
        glued = {
            output["metadata"]["scrapbook"]["name"]
            for cell in executed["cells"]
            for output in cell.get("outputs", [])
            if "scrapbook" in output.get("metadata", {})
        }
        cells = (cell for cell in executed["cells"] if cell["cell_type"] == "markdown")
        told = "\n".join("".join(cell["source"]) for cell in cells)
        cited = set(re.findall(r"\{glue:text\}`([^`:]+)", told))
        cited |= set(re.findall(r"\{glue:figure\} (\S+)", told))
        complaints += [say(f"the prose cites {name}, which is not glued") for name in sorted(cited - glued)]
        complaints += [say(f"{name} is glued and not cited") for name in sorted(glued - cited)]
        repeated = (name for name in sorted(glued) if name.startswith(own_name(pair)))
        complaints += [say(f"{name} repeats the page's name") for name in repeated]
    return complaints


# --- What docstrings tell ----------------------------------------------------------------------------------------


def check_docstrings(root: Path) -> list[str]:
    """Every public function says what it does; those that others use, and that chapters show, say all of it.

    Foundations and data are for everybody: their functions tell parameters, returns and errors, and so do those that
    a chapter shows. No entry says its own name again.
    """
    complaints = []
    shown = {name for chapter in all_chapters(root) for name in shown_in(chapter)}
    package = root / "src" / "regularity"
    for path in sorted(package.rglob("*.py")):
        if path.name == "cli.py":  # click shows these docstrings to the user as they are
            continue
        place = path.relative_to(package).parts
        for name, node in _public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(root)}: {name}"
            text = ast.get_docstring(node) or ""
            if not text:
                complaints.append(f"{where} has no docstring")
                continue
            complaints += [f"{where} says of {entry!r} its name again" for entry in _echoes(text)]
            home = place[1].removesuffix(".py") if len(place) > 1 else ""
            if f"{home}.{name}" in shown or (
                place[0] in {"foundations", "data"} and not _is_plain(node, text)
            ):
                complaints += [f"{where} does not tell {what}" for what in _untold(node, text)]
    return complaints


def shown_in(chapter: Chapter) -> Iterator[str]:
    """What a chapter shows the source of: "noise2score.fit"."""
    for cell in code_cells(chapter):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "lab.show":
                yield from (ast.unparse(argument) for argument in node.args)


def _echoes(text: str) -> Iterator[str]:
    """Entries of a docstring of at most three words, all of them articles or the entry's own name."""
    for names, words in re.findall(r"^(\w+(?:, \w+)*)\n {4}(\S.*)$", text, flags=re.MULTILINE):
        told = re.findall(r"\w+", words.lower())
        own = set(re.split(r"[_,\s]+", names.lower())) | {"the", "a", "an", "its", "of"}
        own |= {f"{word}s" for word in own}
        if len(told) <= 3 and set(told) <= own:
            yield names


def _is_plain(node: ast.FunctionDef, text: str) -> bool:
    """Whether one line tells all: of a function with one or two arguments that returns nothing."""
    arguments = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)} - {"self", "cls"}
    return (
        "\n\n" not in text
        and len(arguments) <= 2
        and ast.unparse(node.returns or ast.Constant(None)) == "None"
    )


def _untold(node: ast.FunctionDef, text: str) -> Iterator[str]:
    if re.search(r"\b[Aa]s for `|\bas for `|\bAs in\b", text):  # told elsewhere
        return
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    names = [argument.arg for argument in arguments if argument.arg not in {"self", "cls"}]
    missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
    if missing:
        yield f"of {', '.join(missing)}"
    is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    returns = node.returns is not None and ast.unparse(node.returns) != "None"
    if returns and not is_property and not re.search(r"^(Returns|Yields)$", text, re.MULTILINE):
        yield "what it returns"
    raises = any(isinstance(inner, ast.Raise) and inner.exc is not None for inner in ast.walk(node))
    if raises and not re.search(r"^Raises$", text, re.MULTILINE):
        yield "what it raises"


def _public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


# --- Cells -------------------------------------------------------------------------------------------------------


def code_cells(pair: Pair) -> list[NotebookNode]:
    return [cell for cell in pair.cells.cells if cell.cell_type == "code"]


def text_of(pair: Pair) -> str:
    """The prose of a notebook."""
    return "\n\n".join(cell.source for cell in pair.cells.cells if cell.cell_type == "markdown")


def own_name(pair: Pair) -> str:
    """What names on a page begin with: "noise2score"; an opening has its part's."""
    return pair.label.removesuffix("/opening").split("/")[-1].replace("_", "-")


def tags_of(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])
