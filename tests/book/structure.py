"""What the structure tests look for.

Each check takes a book and returns complaints, so that it can be tried on a broken one.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat
import yaml

from regularity.lab.chapters import SIZES, Chapter, all_chapters
from regularity.lab.claims import claims_of
from regularity.lab.execution import is_stale, sources_agree

SECTIONS = [
    "The method",
    "The experiment",
    "The claims",
    "Where it breaks",
    "Bigger",
    "Exercises",
    "References",
]
MAY_IMPORT = {  # besides third-party libraries
    "foundations": {"foundations"},
    "data": {"data"},
    "lab": {"lab"},
    "method": {"foundations"},
    "notebook": {"foundations", "data", "lab"},
}


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
    """Foundations and data import third parties, methods foundations and their own part, lab no method."""
    complaints = []
    package = root / "src" / "regularity"
    for path in sorted(package.rglob("*.py")):
        folder = path.relative_to(package).parts[0]
        kind = folder if folder in MAY_IMPORT else "method"
        if folder.endswith(".py"):
            continue
        for name in imported_modules(path.read_text(encoding="utf-8")):
            target = name.split(".")[1] if name.startswith("regularity.") else name
            allowed = MAY_IMPORT[kind] | ({folder} if kind == "method" else set())
            if name.startswith(".") or (target not in allowed and (package / target).is_dir()):
                complaints.append(f"{path.relative_to(root)} imports {name}")
    for path in sorted((root / "src").rglob("*.py")):
        if "notebooks" in {name.split(".")[0] for name in imported_modules(path.read_text(encoding="utf-8"))}:
            complaints.append(f"{path.relative_to(root)} imports a notebook")
    for chapter in all_chapters(root):
        for name in imported_modules(_code(chapter)):
            target = name.split(".")[1]
            if target not in MAY_IMPORT["notebook"] | {chapter.part}:
                complaints.append(f"{chapter.source.relative_to(root)} imports {name}")
    return complaints


def check_four_places(root: Path) -> list[str]:
    """A chapter's notebook, its pair, its method, its test and its place in the table of contents have one name."""
    complaints = []
    listed = (root / "_toc.yml").read_text(encoding="utf-8")
    chapters = all_chapters(root)
    for chapter in chapters:
        test = root / "tests" / chapter.part / f"test_{chapter.name}.py"
        needed = [chapter.notebook, chapter.method, test, *(chapter.parameter_file(size) for size in SIZES)]
        complaints += [f"{path.relative_to(root)} is missing" for path in needed if not path.is_file()]
        if not re.search(rf"file: notebooks/{chapter.part}/{chapter.name}(\.ipynb)?\s", listed + "\n"):
            complaints.append(f"_toc.yml lacks notebooks/{chapter.part}/{chapter.name}")
    named = {(chapter.part, chapter.name) for chapter in chapters}
    for part in {chapter.part for chapter in chapters}:
        for path in (root / "src" / "regularity" / part).glob("*.py"):
            if path.stem != "__init__" and (part, path.stem) not in named:
                complaints.append(f"{path.relative_to(root)} has no chapter")
    return complaints


def check_pairs(root: Path) -> list[str]:
    """Both halves of each pair have the same cells, and the outputs are those of the present code."""
    complaints = []
    for chapter in all_chapters(root):
        if not chapter.notebook.is_file():
            continue
        if not sources_agree(chapter):
            complaints.append(f"{chapter.name}: .py and .ipynb differ; run `make execute`")
        if is_stale(chapter):
            complaints.append(f"{chapter.name}: the code has changed since the execution; run `make execute`")
    return complaints


def check_executed(root: Path) -> list[str]:
    """Every code cell of a committed notebook was executed, in order, without an error or a word on stderr."""
    complaints = []
    for path in sorted((root / "notebooks").glob("*/*.ipynb")):
        expected = 0
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type != "code":
                continue
            expected += 1
            if cell.execution_count != expected:
                complaints.append(
                    f"{path.name}: cell {number} has count {cell.execution_count}, not {expected}"
                )
            for output in cell.outputs:
                if output.output_type == "error" or output.get("name") == "stderr":
                    complaints.append(f"{path.name}: cell {number} has an error or wrote to stderr")
        if path.stat().st_size > 1_500_000:
            complaints.append(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB; at most 1.5")
    return complaints


def check_parameters(root: Path) -> list[str]:
    """Each chapter has one parameters cell of typed, commented literals; parameter files name nothing else."""
    complaints = []
    for chapter in all_chapters(root):
        tagged = [cell for cell in chapter.cells.cells if "parameters" in cell.metadata.get("tags", [])]
        if len(tagged) != 1:
            complaints.append(f"{chapter.name}: {len(tagged)} cells are tagged parameters, not one")
            continue
        assigned = []
        for node in ast.parse(tagged[0].source).body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                complaints.append(f"{chapter.name}: `{ast.unparse(node)}` must be a typed assignment")
                continue
            assigned.append(node.target.id)
            try:
                ast.literal_eval(node.value)
            except (ValueError, TypeError):
                complaints.append(f"{chapter.name}: {node.target.id} must be a plain literal")
        for name in assigned:
            understood = chapter.parameters.get(name)
            if understood is None or understood["inferred_type_name"] == "None":
                complaints.append(f"{chapter.name}: papermill does not understand {name}")
            elif not understood["help"]:
                complaints.append(f"{chapter.name}: {name} has no comment")
        for name, type_name in (("seed", "int"), ("device", "str")):
            if chapter.parameters.get(name, {}).get("inferred_type_name") != type_name:
                complaints.append(f"{chapter.name}: there must be a parameter `{name}: {type_name}`")
        for size in SIZES:
            path = chapter.parameter_file(size)
            given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
            unknown = sorted(set(given or {}) - set(chapter.parameters))
            complaints += [f"{path.name}: {name} is no parameter of the chapter" for name in unknown]
    return complaints


def check_anatomy(root: Path) -> list[str]:
    """A chapter has the sections in their order, one thumbnail, one cell of claims, captions and alt texts.

    The page folds away the code that draws a figure or states the claims.
    """
    complaints = []
    for chapter in all_chapters(root):
        say = f"{chapter.name}: ".__add__
        text = "\n".join(cell.source for cell in chapter.cells.cells if cell.cell_type == "markdown")
        headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        present = [heading for heading in headings if heading in SECTIONS]
        if present != SECTIONS:
            complaints.append(say(f"sections are {present}, not {SECTIONS}"))
        for tag in ("thumbnail", "claims"):
            n_tagged = sum(tag in cell.metadata.get("tags", []) for cell in chapter.cells.cells)
            if n_tagged != 1:
                complaints.append(say(f"{n_tagged} cells are tagged {tag}, not one"))
        for cell in chapter.cells.cells:
            tags = cell.metadata.get("tags", [])
            if ("mystnb" in cell.metadata or "claims" in tags) and "hide-input" not in tags:
                complaints.append(
                    say(f"code that draws or claims lacks the tag hide-input: {cell.source[:40]!r}")
                )
        executed = chapter.executed()
        if executed is None:
            continue
        if not claims_of(executed):
            complaints.append(say("no claims among the outputs"))
        for number, cell in enumerate(executed["cells"]):
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                told = cell["metadata"].get("mystnb", {})
                if not told.get("figure", {}).get("caption") or not told.get("image", {}).get("alt"):
                    complaints.append(say(f"the figure of cell {number} lacks a caption or an alt text"))
                if len(cell["outputs"]) > 1:
                    complaints.append(
                        say(f"the figure of cell {number} does not stand alone among its outputs")
                    )
    return complaints


def check_glue(root: Path) -> list[str]:
    """Prose cites what its own chapter glues, all of it, and no name is used twice in the book."""
    complaints: list[str] = []
    seen: Counter[str] = Counter()
    for chapter in all_chapters(root):
        executed = chapter.executed() or {"cells": []}
        glued = {
            output["metadata"]["scrapbook"]["name"]
            for cell in executed["cells"]
            for output in cell.get("outputs", [])
            if "scrapbook" in output.get("metadata", {})
        }
        seen.update(glued)
        told = "\n".join(
            "".join(cell["source"]) for cell in executed["cells"] if cell["cell_type"] == "markdown"
        )
        told += "\n".join(str(cell["metadata"].get("mystnb", "")) for cell in executed["cells"])
        cited = set(re.findall(r"\{glue:text\}`([^`:]+)", told))
        complaints += [
            f"{chapter.name}: the prose cites {name}, which is not glued" for name in sorted(cited - glued)
        ]
        complaints += [f"{chapter.name}: {name} is glued and not cited" for name in sorted(glued - cited)]
    return complaints + [f"{name} is glued in two chapters" for name, count in seen.items() if count > 1]


def check_docstrings(root: Path) -> list[str]:
    """Every public function tells its parameters, what it returns, and what it raises."""
    complaints = []
    for path in sorted((root / "src" / "regularity").rglob("*.py")):
        if path.name == "cli.py":  # click shows these docstrings to the user as they are
            continue
        for name, node in _public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) or ""
            where = f"{path.relative_to(root)}: {name}"
            if not text:
                complaints.append(f"{where} has no docstring")
                continue
            if re.search(
                r"\b[Aa]s for `|\b[Tt]he rest as for `|Parameters, returns and errors as for `", text
            ):
                continue
            arguments = [
                argument.arg
                for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if argument.arg not in {"self", "cls"}
            ]
            missing = [argument for argument in arguments if not re.search(rf"\b{argument}\b", text)]
            if missing and "As in" not in text:
                complaints.append(f"{where} does not tell of {', '.join(missing)}")
            returns = node.returns is not None and ast.unparse(node.returns) != "None"
            if (
                returns
                and not re.search(r"^(Returns|Yields)$", text, re.MULTILINE)
                and not _is_property(node)
            ):
                complaints.append(f"{where} does not tell what it returns")
            raises = any(isinstance(inner, ast.Raise) and inner.exc is not None for inner in ast.walk(node))
            if raises and not re.search(r"^Raises$", text, re.MULTILINE):
                complaints.append(f"{where} does not tell what it raises")
    return complaints


def _is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def _public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def _code(chapter: Chapter) -> str:
    return "\n".join(cell.source for cell in chapter.cells.cells if cell.cell_type == "code")
