"""The structure of the book as it is, and each check tried on a book that is broken in one place."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.book import structure

ROOT = Path(__file__).resolve().parents[2]
CHECKS = [
    structure.check_import_directions,
    structure.check_four_places,
    structure.check_pairs,
    structure.check_executed,
    structure.check_parameters,
    structure.check_anatomy,
    structure.check_glue,
    structure.check_docstrings,
]


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
PACKAGE = Path("src/regularity")


@pytest.mark.parametrize(
    ("check", "break_it", "complaint"),
    [
        (
            structure.check_import_directions,
            lambda book: append(
                book / PACKAGE / "foundations/checks.py", "from regularity.stein import tiny\n"
            ),
            "checks.py imports regularity.stein",
        ),
        (
            structure.check_import_directions,
            lambda book: append(
                book / PACKAGE / "lab/claims.py", "def f():\n    import regularity.stein.tiny\n"
            ),
            "claims.py imports regularity.stein.tiny",
        ),
        (
            structure.check_import_directions,
            lambda book: append(book / PACKAGE / "stein/tiny.py", "from regularity.lab import claims\n"),
            "tiny.py imports regularity.lab",
        ),
        (
            structure.check_import_directions,
            lambda book: append(book / PACKAGE / "stein/tiny.py", "from .other import x\n"),
            "tiny.py imports .other.x",
        ),
        (
            structure.check_import_directions,
            lambda book: append(book / SOURCE, "# %%\nfrom regularity.theory import kernels\n"),
            "tiny.py imports regularity.theory",
        ),
        (
            structure.check_four_places,
            lambda book: (book / "tests/stein/test_tiny.py").unlink(),
            "test_tiny.py is mi",
        ),
        (
            structure.check_four_places,
            lambda book: (book / PACKAGE / "stein/tiny.py").unlink(),
            "tiny.py is missing",
        ),
        (
            structure.check_four_places,
            lambda book: (book / "notebooks/stein/tiny.ipynb").unlink(),
            "ipynb is missing",
        ),
        (
            structure.check_four_places,
            lambda book: (book / "notebooks/stein/tiny.gpu.yaml").unlink(),
            "yaml is missing",
        ),
        (
            structure.check_four_places,
            lambda book: replace(book / "_toc.yml", "stein/tiny", "a/b"),
            "_toc.yml lacks",
        ),
        (
            structure.check_four_places,
            lambda book: (book / PACKAGE / "stein/orphan.py").write_text(""),
            "orphan.py has no chapter",
        ),
        (structure.check_pairs, lambda book: replace(book / SOURCE, "is the mean", "is a mean"), "differ"),
        (
            structure.check_pairs,
            lambda book: append(book / PACKAGE / "stein/tiny.py", "other = 2\n"),
            "has changed",
        ),
        (
            structure.check_executed,
            lambda book: change_notebook(book, lambda cells: cells[1].update(execution_count=7)),
            "has count 7",
        ),
        (
            structure.check_executed,
            lambda book: change_notebook(book, lambda cells: cells[1].update(execution_count=None)),
            "has count None",
        ),
        (
            structure.check_executed,
            lambda book: change_notebook(
                book,
                lambda cells: cells[1].outputs.append(
                    nbformat.v4.new_output("stream", name="stderr", text="!")
                ),
            ),
            "stderr",
        ),
        (
            structure.check_executed,
            lambda book: change_notebook(
                book,
                lambda cells: cells[1].outputs.append(nbformat.v4.new_output("stream", text="x" * 1_600_000)),
            ),
            "at most 1.5",
        ),
        (
            structure.check_parameters,
            lambda book: replace(book / SOURCE, "n_draws: int =", "n_draws ="),
            "typed",
        ),
        (
            structure.check_parameters,
            lambda book: replace(book / SOURCE, "  # how many draws", ""),
            "no comment",
        ),
        (
            structure.check_parameters,
            lambda book: replace(book / SOURCE, "= 100 ", "= 10 * 10 "),
            "plain literal",
        ),
        (
            structure.check_parameters,
            lambda book: replace(book / SOURCE, "seed: int", "start: int"),
            "`seed: int`",
        ),
        (
            structure.check_parameters,
            lambda book: replace(book / SOURCE, '"parameters"', '"p"'),
            "0 cells are tagged",
        ),
        (
            structure.check_parameters,
            lambda book: append(book / "notebooks/stein/tiny.gpu.yaml", "n_drows: 3\n"),
            "n_drows is no parameter",
        ),
        (
            structure.check_anatomy,
            lambda book: replace(book / SOURCE, "## Where it breaks", "## Ends"),
            "sections are",
        ),
        (
            structure.check_anatomy,
            lambda book: replace(book / SOURCE, '"thumbnail"', '"t"'),
            "tagged thumbnail",
        ),
        (
            structure.check_anatomy,
            lambda book: replace(book / SOURCE, '"hide-input", "thumbnail"', '"thumbnail"'),
            "lacks the tag hide-input",
        ),
        (
            structure.check_anatomy,
            lambda book: replace(book / SOURCE, '"claims", "hide-input"', '"claims"'),
            "lacks the tag hide-input",
        ),
        (
            structure.check_anatomy,
            lambda book: change_notebook(book, lambda cells: cells[2].metadata.mystnb.image.update(alt="")),
            "alt text",
        ),
        (
            structure.check_anatomy,
            lambda book: change_notebook(book, lambda cells: cells[2].outputs.append(cells[3].outputs[0])),
            "does not stand alone",
        ),
        (
            structure.check_anatomy,
            lambda book: change_notebook(book, lambda cells: cells[3].outputs.clear()),
            "no claims",
        ),
        (
            structure.check_glue,
            lambda book: replace(book / "notebooks/stein/tiny.ipynb", "`tiny-mean`", "`tiny-meen`"),
            "cites tiny-meen",
        ),
        (
            structure.check_docstrings,
            lambda book: append(book / PACKAGE / "stein/tiny.py", "def f(x):\n    return x\n"),
            "f has no docstring",
        ),
        (
            structure.check_docstrings,
            lambda book: append(
                book / PACKAGE / "stein/tiny.py",
                'def f(x) -> int:\n    """Say."""\n    raise ValueError(x)\n',
            ),
            "f does not tell of x",
        ),
        (
            structure.check_docstrings,
            lambda book: append(
                book / PACKAGE / "stein/tiny.py", 'def f() -> int:\n    """Say."""\n    return 1\n'
            ),
            "f does not tell what it returns",
        ),
    ],
)
def test_a_broken_book_is_complained_of(check, break_it, complaint, executed_book):
    break_it(executed_book)
    complaints = check(executed_book)
    assert any(complaint in text for text in complaints), complaints


@pytest.mark.parametrize("module", ["regularity", "regularity.lab", "regularity.press.cli", "regularity.data"])
def test_importing_loads_neither_torch_nor_matplotlib(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_committed_claims_can_be_read(executed_book):
    notebook = json.loads((executed_book / "notebooks/stein/tiny.ipynb").read_text())
    rows = structure.claims_of(notebook)
    assert [row["claim"] for row in rows] == [
        "The mean is zero",
        "The draws spread",
        "The first draw is positive",
    ]
