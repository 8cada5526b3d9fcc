"""The structure of the book as it is, and each check tried on a book that is broken in one place."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.book import structure

ROOT = Path(__file__).resolve().parents[2]
CHECKS = [check for name, check in vars(structure).items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS)
def test_the_book_is_in_order(check):
    assert check(ROOT) == []


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def change_notebook(book: Path, change) -> None:
    path = book / "notebooks" / "stein" / "tiny.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change([cell for cell in notebook.cells if cell.cell_type == "code"])
    nbformat.write(notebook, path)


@pytest.mark.parametrize("check", CHECKS)
def test_a_whole_book_gives_no_complaint(check, executed_book):
    assert check(executed_book) == []


SOURCE = Path("notebooks/stein/tiny.py")
OPENING = Path("notebooks/stein/opening.py")
PACKAGE = Path("src/regularity")


def as_package(book: Path, module: str) -> Path:
    """Turn the method into a package, with one more module in it."""
    folder = book / PACKAGE / "stein/tiny"
    folder.mkdir()
    (book / PACKAGE / "stein/tiny.py").rename(folder / "method.py")
    (folder / "__init__.py").write_text('"""The method."""\n')
    (folder / f"{module}.py").write_text('"""More."""\n')
    return folder / f"{module}.py"


def show_the_method(book: Path) -> None:
    replace(book / SOURCE, "draws = tiny.draw", "lab.show(tiny.draw)\ndraws = tiny.draw")


ORDER = structure.check_import_directions
PLACES = structure.check_four_places
EXECUTED = structure.check_executed
PARAMETERS = structure.check_parameters
FRONT = structure.check_front
CELLS = structure.check_cells
FIGURES = structure.check_figures
DOCSTRINGS = structure.check_docstrings
BROKEN = {
    "a foundation imports a method": (
        ORDER,
        lambda book: append(book / PACKAGE / "foundations/checks.py", "from regularity.stein import tiny\n"),
        "checks.py imports regularity.stein.tiny",
    ),
    "the lab imports a method": (
        ORDER,
        lambda book: append(book / PACKAGE / "lab/claims.py", "def f():\n    import regularity.stein.tiny\n"),
        "claims.py imports regularity.stein.tiny",
    ),
    "the lab imports the press": (
        ORDER,
        lambda book: (
            (book / PACKAGE / "press").mkdir(),
            append(book / PACKAGE / "lab/claims.py", "from regularity.press import runs\n"),
        ),
        "claims.py imports regularity.press.runs",
    ),
    "the press imports a foundation": (
        ORDER,
        lambda book: (
            (book / PACKAGE / "press").mkdir(),
            (book / PACKAGE / "press/runs.py").write_text("from regularity.foundations import checks\n"),
        ),
        "runs.py imports regularity.foundations.checks",
    ),
    "a method imports the lab": (
        ORDER,
        lambda book: append(book / PACKAGE / "stein/tiny.py", "from regularity.lab import claims\n"),
        "tiny.py imports regularity.lab",
    ),
    "a method imports data": (
        ORDER,
        lambda book: (
            (book / PACKAGE / "data").mkdir(),
            append(book / PACKAGE / "stein/tiny.py", "from regularity import data\n"),
        ),
        "tiny.py imports regularity.data",
    ),
    "a method imports by a relative path": (
        ORDER,
        lambda book: append(book / PACKAGE / "stein/tiny.py", "from .other import x\n"),
        "tiny.py imports .other.x",
    ),
    "a module imports a notebook": (
        ORDER,
        lambda book: append(book / PACKAGE / "lab/claims.py", "import notebooks.stein.tiny\n"),
        "claims.py imports notebooks.stein.tiny",
    ),
    "a chapter imports another part": (
        ORDER,
        lambda book: append(book / SOURCE, "# %%\nfrom regularity.theory import kernels\n"),
        "tiny.py imports regularity.theory",
    ),
    "a chapter imports the press": (
        ORDER,
        lambda book: append(book / SOURCE, "# %%\nfrom regularity.press import runs\n"),
        "tiny.py imports regularity.press",
    ),
    "an opening imports a method": (
        ORDER,
        lambda book: append(book / OPENING, "# %%\nfrom regularity.stein import tiny\n"),
        "opening.py imports regularity.stein.tiny",
    ),
    "no test": (PLACES, lambda book: (book / "tests/stein/test_tiny.py").unlink(), "test_tiny.py is mi"),
    "no method": (PLACES, lambda book: (book / PACKAGE / "stein/tiny.py").unlink(), "tiny.py is missing"),
    "no pair": (PLACES, lambda book: (book / SOURCE.with_suffix(".ipynb")).unlink(), "ipynb is missing"),
    "no parameter file": (
        PLACES,
        lambda book: (book / "notebooks/stein/tiny.gpu.yaml").unlink(),
        "yaml is missing",
    ),
    "not in the table of contents": (
        PLACES,
        lambda book: replace(book / "_toc.yml", "stein/tiny", "a/b"),
        "_toc.yml lacks notebooks/stein/tiny",
    ),
    "an opening not in the table of contents": (
        PLACES,
        lambda book: replace(book / "_toc.yml", "stein/opening", "a/b"),
        "_toc.yml lacks notebooks/stein/opening",
    ),
    "no opening": (PLACES, lambda book: (book / OPENING).unlink(), "stein/opening.py is missing"),
    "a module without a chapter": (
        PLACES,
        lambda book: (book / PACKAGE / "stein/orphan.py").write_text(""),
        "orphan.py has no chapter",
    ),
    "a module that is too long": (
        PLACES,
        lambda book: append(book / PACKAGE / "stein/tiny.py", "# more\n" * 500),
        "must be a package",
    ),
    "a package with a module of another name": (
        PLACES,
        lambda book: as_package(book, "helpers"),
        "stein/tiny/helpers.py is none of",
    ),
    "halves that differ": (
        structure.check_pairs,
        lambda book: replace(book / SOURCE, "one after the other", "in their order"),
        "differ",
    ),
    "halves of an opening that differ": (
        structure.check_pairs,
        lambda book: replace(book / OPENING, "# A line.", "# One line."),
        "stein/opening: .py and .ipynb differ",
    ),
    "code that has changed": (
        structure.check_pairs,
        lambda book: replace(book / PACKAGE / "stein/tiny.py", "return scale *", "return 2 * scale *"),
        "has changed",
    ),
    "cells out of order": (
        EXECUTED,
        lambda book: change_notebook(book, lambda cells: cells[1].update(execution_count=7)),
        "has count 7",
    ),
    "a cell not executed": (
        EXECUTED,
        lambda book: change_notebook(book, lambda cells: cells[1].update(execution_count=None)),
        "has count None",
    ),
    "a word on stderr": (
        EXECUTED,
        lambda book: change_notebook(
            book,
            lambda cells: cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="!")),
        ),
        "stderr",
    ),
    "a large notebook": (
        EXECUTED,
        lambda book: change_notebook(
            book,
            lambda cells: cells[1].outputs.append(nbformat.v4.new_output("stream", text="x" * 1_600_000)),
        ),
        "at most 1.5",
    ),
    "a parameter without a type": (
        PARAMETERS,
        lambda book: replace(book / SOURCE, "n_draws: int =", "n_draws ="),
        "typed",
    ),
    "a parameter without a comment": (
        PARAMETERS,
        lambda book: replace(book / SOURCE, "  # how many draws", ""),
        "n_draws has no comment",
    ),
    "a parameter that is computed": (
        PARAMETERS,
        lambda book: replace(book / SOURCE, "= 100 ", "= 10 * 10 "),
        "plain literal",
    ),
    "no seed": (PARAMETERS, lambda book: replace(book / SOURCE, "seed: int", "start: int"), "`seed: int`"),
    "no cell of parameters": (
        PARAMETERS,
        lambda book: replace(book / SOURCE, '"parameters"', '"p"'),
        "0 cells are tagged",
    ),
    "a parameter file with a wrong name": (
        PARAMETERS,
        lambda book: append(book / "notebooks/stein/tiny.gpu.yaml", "n_drows: 3\n"),
        "n_drows is no parameter",
    ),
    "no question": (FRONT, lambda book: replace(book / SOURCE, "# **Is it?**", "# Is it?"), "the question"),
    "not told what was read": (
        FRONT,
        lambda book: replace(book / SOURCE, "# | read for this chapter | abstract |\n", ""),
        "`read for this chapter`",
    ),
    "no verdicts": (FRONT, lambda book: replace(book / SOURCE, "# ```{verdicts}\n# ```\n", ""), "{verdicts}"),
    "no figure at the top": (
        FRONT,
        lambda book: replace(book / SOURCE, "{glue:figure} answer", "{glue:text} answer"),
        "a figure",
    ),
    "a section of another name": (
        structure.check_anatomy,
        lambda book: replace(book / SOURCE, "## Where it breaks", "## Ends"),
        "sections are",
    ),
    "no first figure": (
        structure.check_anatomy,
        lambda book: replace(book / SOURCE, '"thumbnail"', '"t"'),
        "tagged thumbnail",
    ),
    "claims that are not folded": (
        structure.check_anatomy,
        lambda book: replace(book / SOURCE, '"claims", "hide-input"', '"claims"'),
        "tagged claims lacks the tag hide-input",
    ),
    "no claims": (
        structure.check_anatomy,
        lambda book: change_notebook(book, lambda cells: cells[4].outputs.clear()),
        "no claims",
    ),
    "a long cell": (
        CELLS,
        lambda book: append(book / SOURCE, "# %%\n" + "x = 1\n" * 41),
        "a cell has 41 lines",
    ),
    "a wide line": (
        CELLS,
        lambda book: append(book / OPENING, f"# %%\nx = '{'x' * 90}'\n"),
        "stein/opening: a line has 96 columns",
    ),
    "imports in two cells": (
        CELLS,
        lambda book: append(book / SOURCE, "# %%\nimport math\n"),
        "2 cells import",
    ),
    "many imports": (
        CELLS,
        lambda book: replace(book / SOURCE, "import time\n", "import time\n" * 15),
        "imports take 20 lines",
    ),
    "no session": (
        CELLS,
        lambda book: replace(book / SOURCE, "lab.begin(seed, device)", "None"),
        "call `lab.begin`",
    ),
    "a figure that is not folded": (
        FIGURES,
        lambda book: change_notebook(book, lambda cells: cells[3].metadata.tags.remove("hide-input")),
        "lacks the tags",
    ),
    "a figure that is not glued": (
        FIGURES,
        lambda book: change_notebook(book, lambda cells: cells[3].outputs[0].metadata.clear()),
        "more than the figures",
    ),
    "a figure without alternative text": (
        FIGURES,
        lambda book: replace(book / SOURCE, "# :alt: A jagged line around zero.\n", ""),
        "the figure answer lacks :alt:",
    ),
    "a figure of another page's name": (
        FIGURES,
        lambda book: replace(book / SOURCE, "fig-tiny-answer", "fig-other-answer"),
        "must begin with fig-tiny-",
    ),
    "an option on two lines, the second of which would be the caption": (
        FIGURES,
        lambda book: replace(book / SOURCE, "# :alt: A jagged line", "# :alt: A jagged\n#   line"),
        "an option of the figure answer goes on",
    ),
    "a figure without a caption": (
        FIGURES,
        lambda book: replace(book / OPENING, "#\n# A line.\n# ```", "# ```"),
        "the figure opening lacks a caption",
    ),
    "a caption on one long line": (
        FIGURES,
        lambda book: replace(book / SOURCE, "# The draws,", f"# {'The draws, ' * 20}"),
        "not wrapped",
    ),
    "a role that a plain copy cannot resolve": (
        structure.check_markup,
        lambda book: replace(book / SOURCE, "# It is:", "# It {abbr}`is`:"),
        "no role abbr",
    ),
    "a directive that a plain copy cannot resolve": (
        structure.check_markup,
        lambda book: append(book / SOURCE, "# %% [markdown]\n# ```{margin}\n# Aside.\n# ```\n"),
        "no directive margin",
    ),
    "a gallery in a chapter": (
        structure.check_markup,
        lambda book: append(book / SOURCE, "# %% [markdown]\n# ```{gallery} stein\n# ```\n"),
        "no directive gallery",
    ),
    "a number that is not glued": (
        structure.check_glue,
        lambda book: replace(book / SOURCE.with_suffix(".ipynb"), "`mean`", "`meen`"),
        "cites meen",
    ),
    "a number that is not cited": (
        structure.check_glue,
        lambda book: replace(book / SOURCE.with_suffix(".ipynb"), "{glue:text}`mean`", "zero"),
        "mean is glued and not cited",
    ),
    "a glued name that repeats the page's": (
        structure.check_glue,
        lambda book: replace(book / SOURCE.with_suffix(".ipynb"), '"name": "mean"', '"name": "tiny-mean"'),
        "tiny-mean repeats",
    ),
    "no docstring": (
        DOCSTRINGS,
        lambda book: append(book / PACKAGE / "stein/tiny.py", "def f(x):\n    return x\n"),
        "f has no docstring",
    ),
    "a foundation that does not tell its parameters": (
        DOCSTRINGS,
        lambda book: append(
            book / PACKAGE / "foundations/checks.py",
            'def f(x) -> int:\n    """Say."""\n    raise ValueError(x)\n',
        ),
        "f does not tell of x",
    ),
    "a shown function that does not tell what it returns": (
        DOCSTRINGS,
        show_the_method,
        "draw does not tell what it returns",
    ),
    "a docstring that says a name again": (
        DOCSTRINGS,
        lambda book: append(
            book / PACKAGE / "stein/tiny.py",
            'def f(chapters) -> None:\n    """Say.\n\n    Parameters\n    ----------\n    chapters\n'
            '        The chapters.\n    """\n',
        ),
        "says of 'chapters' its name again",
    ),
}


@pytest.mark.parametrize(("check", "break_it", "complaint"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_book_is_complained_of(check, break_it, complaint, executed_book):
    break_it(executed_book)
    complaints = check(executed_book)
    assert any(complaint in text for text in complaints), complaints


@pytest.mark.parametrize(
    "module", ["regularity", "regularity.lab", "regularity.press.cli", "regularity.data"]
)
def test_importing_loads_neither_torch_nor_matplotlib(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_method_may_hold(executed_book):
    """A package with the modules that it may have, whose experiment reads data, is in order."""
    experiment = as_package(executed_book, "experiment")
    (executed_book / PACKAGE / "data").mkdir()
    append(experiment, "from regularity import data\n")
    assert structure.check_four_places(executed_book) == []
    assert structure.check_import_directions(executed_book) == []


def test_the_committed_claims_can_be_read(executed_book):
    notebook = json.loads((executed_book / "notebooks/stein/tiny.ipynb").read_text())
    rows = structure.claims_of(notebook)
    assert [(row["claim"], row["source"]) for row in rows] == [
        ("The mean is zero", "paper"),
        ("The draws spread", "implied"),
        ("The first draw is positive", "ours"),
        ("It holds for all laws", "paper"),
    ]
