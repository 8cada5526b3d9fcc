"""How pages are found, what their cells and parameters are, and what makes a new version of one."""

import json

import nbformat
import pytest

from regularity.press.chapters import (
    BookError,
    Chapter,
    all_chapters,
    all_pairs,
    find_chapter,
    find_pair,
    find_root,
)
from regularity.press.parameters import Parameter
from tests.conftest import HEADER, write


@pytest.fixture
def tiny(tiny_book):
    return find_chapter("tiny", tiny_book)


def test_the_book_is_found_from_any_folder_in_it(tiny_book):
    assert find_root(tiny_book / "notebooks" / "stein") == tiny_book


def test_outside_a_book_the_installed_one_is_found(tmp_path):
    assert (find_root(tmp_path) / "src" / "regularity").is_dir()


CONTENTS = """\
format: jb-book
root: index
parts:
  - caption: Stein
    chapters:
      - file: notebooks/stein/opening
        sections:
          - file: notebooks/stein/zebra
          - file: notebooks/stein/tiny
  - caption: Reference
    chapters:
      - file: book/how_fast
      - glob: book/api/*
"""


def test_pages_come_in_the_order_of_the_contents(tiny_book, tiny):
    for name in ("zebra", "ant"):
        write(tiny.source.with_name(f"{name}.py"), tiny.source.read_text())
    write(tiny_book / "book" / "how_fast.py", HEADER + "\n# %% [markdown]\n# # How fast\n")
    write(tiny_book / "_toc.yml", CONTENTS)
    assert [chapter.name for chapter in all_chapters(tiny_book)] == ["zebra", "tiny", "ant"]
    labels = [pair.label for pair in all_pairs(tiny_book)]
    assert labels == ["stein/opening", "stein/zebra", "stein/tiny", "how_fast", "stein/ant"]
    assert find_pair("how_fast", tiny_book).title == "How fast"
    assert not isinstance(find_pair("stein/opening", tiny_book), Chapter)
    assert find_pair("ant", tiny_book) == find_chapter("stein/ant", tiny_book)


def test_a_chapter_tells_its_title_files_and_parameters(tiny_book, tiny):
    assert find_chapter("stein/tiny", tiny_book) == tiny
    assert (tiny.part, tiny.name) == ("stein", "tiny")
    assert tiny.title == "Tiny: is the mean of normal draws zero?"
    assert tiny.parameter_file("gpu").read_text() == "n_draws: 1000\n"
    assert tiny.parameters["n_draws"] == Parameter("n_draws", "int", 100, "how many draws")
    assert tiny.executed() is None
    assert tiny.method == tiny_book / "src/regularity/stein/tiny.py"
    write(tiny_book / "src/regularity/stein/tiny/__init__.py", "")
    assert tiny.method.is_dir()


@pytest.mark.parametrize("pair", all_pairs(), ids=lambda pair: pair.label)
def test_cells_are_those_that_jupytext_reads(pair):
    theirs = [(cell.cell_type, cell.source.strip()) for cell in pair.cells.cells]
    assert [(cell.kind, cell.source.strip()) for cell in pair.source_cells] == theirs
    tagged = [cell.source for cell in pair.cells.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in pair.source_cells if cell.is_parameters] == tagged


@pytest.mark.parametrize("chapter", all_chapters(), ids=lambda chapter: chapter.name)
def test_papermill_finds_the_same_parameters(chapter, tmp_path):
    from papermill import inspect_notebook

    nbformat.write(chapter.cells, tmp_path / "plain.ipynb")
    theirs = inspect_notebook(tmp_path / "plain.ipynb")
    assert {name: parameter.help for name, parameter in chapter.parameters.items()} == {
        name: entry["help"] for name, entry in theirs.items()
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("notebooks/stein/tiny.py", "is the mean", "is a mean", False),
        ("notebooks/stein/tiny.py", "  # how many draws", "  # number of draws", False),
        ("notebooks/stein/tiny.py", "= 100", "= 101", True),
        ("src/regularity/stein/tiny.py", '"""The method."""', '"""A method."""  # of ours', False),
        ("src/regularity/stein/tiny.py", "standard_normal(n)", "standard_normal(n + 1)[:n]", True),
        ("src/regularity/foundations/checks.py", "must be positive", "must not be zero", True),
        ("src/regularity/lab/figures.py", "WIDTH = 7.0", "WIDTH = 8.0", False),
    ],
)
def test_prose_makes_no_new_version_and_code_does(tiny_book, file, old, new, changes):
    before = find_chapter("tiny", tiny_book).digest()
    path = tiny_book / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (find_chapter("tiny", tiny_book).digest() != before) is changes


def test_new_timings_are_a_new_version_of_how_fast(tiny_book):
    write(tiny_book / "book" / "how_fast.py", HEADER + "\n# %%\nx = 1\n")
    write(tiny_book / "benchmarks" / "results.json", '{"ratio": 1}')
    page = find_pair("how_fast", tiny_book)
    before = page.digest()
    write(tiny_book / "benchmarks" / "results.json", '{"ratio": 2}')
    assert page.digest() != before


@pytest.mark.bad_input
def test_wrong_names_are_met_with_the_nearest_right_one(tiny_book):
    with pytest.raises(BookError, match=r"no chapter 'tinny'; did you mean 'tiny'\?"):
        find_chapter("tinny", tiny_book)
    with pytest.raises(BookError, match="no chapter 'qqq'; there are: tiny, stein/tiny"):
        find_chapter("qqq", tiny_book)
    with pytest.raises(BookError, match=r"no page 'stein/opened'; did you mean 'stein/opening'\?"):
        find_pair("stein/opened", tiny_book)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("notebooks/stein/tiny.py", "#   kernelspec:", "#   colonelspec:", "must hold a `kernelspec:`"),
        ("notebooks/stein/tiny.py", "draws = tiny", "draws == = tiny", "code cell 3, line 5 is not Python"),
        (
            "notebooks/stein/tiny.py",
            "seed: int = 0",
            "seed: int = ",
            "tagged parameters, line 1 is not Python",
        ),
        ("notebooks/stein/tiny.py", "= 100", "= 10 * 10", r"n_draws must be a plain literal; got 10 \* 10"),
        (
            "notebooks/stein/tiny.py",
            '"parameters"',
            '"others"',
            "must have one cell tagged parameters; got 0",
        ),
        ("notebooks/stein/tiny.py", "draws = tiny", "# %time draws = tiny", "plain Python, without magic"),
        (
            "notebooks/stein/tiny.py",
            "draws = tiny",
            "%time draws = tiny",
            "code cell 3, line 5 is not Python",
        ),
        ("notebooks/stein/tiny.py", "# # Tiny", "# # Tiny \udcff", "tiny.py: 'utf-8' codec can't decode"),
        (
            "src/regularity/stein/tiny.py",
            "def draw(",
            "def draw",
            "regularity.stein.tiny, line 8 is not Python",
        ),
        ("_toc.yml", "root: index", "root: [index", "_toc.yml is not YAML: "),
        ("_toc.yml", "root: index", "a: &a [b]\nroot: *a", "_toc.yml is not YAML: an alias is no value"),
    ],
)
def test_what_is_half_edited_is_named_in_one_line(tiny_book, file, old, new, message):
    path = tiny_book / file
    assert old in path.read_text()
    path.write_bytes(path.read_text().replace(old, new).encode("utf-8", "surrogateescape"))

    def read_all():
        chapter = find_chapter("tiny", tiny_book)
        return chapter.parameters, chapter.digest(), chapter.cells

    with pytest.raises(BookError, match=message) as caught:
        read_all()
    assert str(tiny_book) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.bad_input
@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3, "metadata": {}}', "\udcff"])
def test_a_broken_notebook_is_named(tiny, content):
    tiny.notebook.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BookError, match=r"tiny.ipynb is no notebook; remove it"):
        tiny.executed()


def edit(notebook, change) -> None:
    content = json.loads(notebook.read_text())
    change(content)
    notebook.write_text(json.dumps(content))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change",
    [
        lambda notebook: notebook.update(cells=[1]),
        lambda notebook: notebook.update(cells=[{}]),
        lambda notebook: notebook["cells"][0].update(source=None),
        lambda notebook: notebook["cells"][0].update(source=[1]),
        lambda notebook: notebook["cells"][0].pop("metadata"),
        lambda notebook: notebook["cells"][1].update(outputs=None),
        lambda notebook: notebook["cells"][1].update(outputs=[1]),
        lambda notebook: notebook["cells"][1].pop("execution_count"),
        lambda notebook: notebook["metadata"].update(regularity="x"),
    ],
)
def test_a_notebook_with_cells_of_another_shape_is_named(tiny, change):
    code = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [], "execution_count": 1}
    words = {"cell_type": "markdown", "source": ["a", "b"], "metadata": {}}
    tiny.notebook.write_text(json.dumps({"cells": [words, code], "metadata": {}}))
    assert len(tiny.executed()["cells"]) == 2
    edit(tiny.notebook, change)
    with pytest.raises(BookError, match=r"tiny.ipynb is no notebook; remove it"):
        tiny.executed()


@pytest.mark.bad_input
@pytest.mark.parametrize("claims", ["x", None, [1], [{"claim": "x"}]])
def test_claims_of_another_shape_are_named_with_what_mends_them(executed_book, claims):
    chapter = find_chapter("tiny", executed_book)
    assert len(chapter.claims()) == 4

    def change(notebook):
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                if "regularity_claims" in output.get("metadata", {}):
                    output["metadata"]["regularity_claims"] = claims

    edit(chapter.notebook, change)
    with pytest.raises(BookError, match=r"tiny\.ipynb holds claims as this .* `regularity execute --force`"):
        chapter.claims()


def test_an_editors_locks_are_no_chapters(tiny_book):
    (tiny_book / "notebooks/stein/.#tiny.py").symlink_to("somebody@somewhere.1234")
    assert [chapter.name for chapter in all_chapters(tiny_book)] == ["tiny"]


@pytest.mark.bad_input
def test_a_working_directory_that_is_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(BookError, match="the working directory is gone"):
        find_root()
