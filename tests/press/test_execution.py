"""Chapters executed in place: only what is stale, both halves in step, and never a broken notebook."""

import json

import nbformat
import pytest

from regularity.lab import execution
from regularity.lab.chapters import BookError, find_chapter


@pytest.fixture
def no_papermill(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("nothing should have been executed")

    monkeypatch.setattr(execution, "execute_notebook", refuse)


def test_an_executed_chapter_agrees_with_its_source(executed_book):
    chapter = find_chapter("tiny", executed_book)
    assert execution.sources_agree(chapter)
    assert not execution.is_stale(chapter)
    notebook = nbformat.read(chapter.notebook, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = chapter.notebook.read_text()
    assert "papermill" not in json.loads(text)["metadata"]
    assert str(executed_book.parent) not in text  # no path of the machine
    assert "executed" not in str([cell.metadata for cell in notebook.cells])


@pytest.mark.usefixtures("no_papermill")
def test_what_is_up_to_date_is_left_alone(executed_book):
    chapter = find_chapter("tiny", executed_book)
    before = chapter.notebook.stat().st_mtime_ns
    assert execution.execute_in_place(chapter) is False
    assert chapter.notebook.stat().st_mtime_ns == before


@pytest.mark.usefixtures("no_papermill")
def test_prose_is_brought_over_without_an_execution(executed_book):
    chapter = find_chapter("tiny", executed_book)
    outputs = [cell.get("outputs") for cell in nbformat.read(chapter.notebook, as_version=4).cells]
    chapter.source.write_text(chapter.source.read_text().replace("is the mean", "is a mean"))
    changed = find_chapter("tiny", executed_book)
    assert not execution.sources_agree(changed)
    assert execution.execute_in_place(changed) is False
    assert execution.sources_agree(changed)
    assert [cell.get("outputs") for cell in nbformat.read(chapter.notebook, as_version=4).cells] == outputs


def test_changed_code_is_executed(executed_book):
    source = executed_book / "notebooks" / "stein" / "tiny.py"
    source.write_text(source.read_text().replace("n_draws: int = 100", "n_draws: int = 50"))
    chapter = find_chapter("tiny", executed_book)
    assert execution.is_stale(chapter)
    assert execution.execute_in_place(chapter) is True
    assert execution.sources_agree(chapter)
    assert not execution.is_stale(chapter)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "tiny: cell 5 raised ZeroDivisionError: division by zero"),
        ("import sys; print('careful', file=sys.stderr)", "tiny: cell 5 wrote to stderr: careful"),
    ],
)
def test_a_failed_execution_leaves_the_notebook_as_it_was(executed_book, code, message):
    source = executed_book / "notebooks" / "stein" / "tiny.py"
    source.write_text(source.read_text() + f"\n# %%\n{code}\n")
    chapter = find_chapter("tiny", executed_book)
    before = chapter.notebook.read_bytes()
    with pytest.raises(BookError, match=message):
        execution.execute_in_place(chapter)
    assert chapter.notebook.read_bytes() == before
    assert not list(chapter.notebook.parent.glob(".*"))
