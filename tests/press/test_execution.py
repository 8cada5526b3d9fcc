"""Pages executed in place: only what is stale, both halves in step, and never a broken notebook."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from regularity.press import execution
from regularity.press.chapters import BookError, find_chapter
from regularity.press.execution import execute_in_place, is_stale, sources_agree
from regularity.press.files import scratch_folder


@pytest.fixture
def no_papermill(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("nothing should have been executed")

    monkeypatch.setattr(execution, "execute_notebook", refuse)


@pytest.fixture
def pretend(monkeypatch):
    """Let nothing be executed: each code cell is said to have put out what the test says."""

    def install(outputs=(), meanwhile=lambda: None):
        def execute(notebook, *_arguments, **_options):
            made = nbformat.reads(notebook, as_version=4)
            for count, cell in enumerate([cell for cell in made.cells if cell.cell_type == "code"], 1):
                cell.update(execution_count=count, outputs=list(outputs))
            meanwhile()
            return nbformat.writes(made)

        monkeypatch.setattr(execution, "execute_notebook", execute)

    return install


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """The folder of temporary folders, of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def save_as_jupyter_does(pair, change_cells) -> None:
    notebook = nbformat.read(pair.notebook, as_version=4)
    change_cells([cell for cell in notebook.cells if cell.cell_type == "code"])
    nbformat.write(notebook, pair.notebook)


def test_an_executed_chapter_agrees_with_its_source(executed_book):
    chapter = find_chapter("tiny", executed_book)
    assert sources_agree(chapter)
    assert not is_stale(chapter)
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
    assert execute_in_place(chapter) is False
    assert chapter.notebook.stat().st_mtime_ns == before


@pytest.mark.usefixtures("no_papermill")
def test_prose_is_brought_over_without_an_execution(executed_book):
    chapter = find_chapter("tiny", executed_book)
    outputs = [cell.get("outputs") for cell in nbformat.read(chapter.notebook, as_version=4).cells]
    change(chapter.source, "is the mean", "is a mean")
    changed = chapter.reread()
    assert not sources_agree(changed)
    assert execute_in_place(changed) is False
    assert sources_agree(changed)
    assert [cell.get("outputs") for cell in nbformat.read(chapter.notebook, as_version=4).cells] == outputs


TALKS = """\
import sys
import time
from tqdm import tqdm

for number in tqdm(range(3), desc="counting"):
    print(number, flush=True)
    time.sleep(.06)
print("end", file=sys.stdout)"""


def test_changed_code_is_executed_and_equal_runs_give_equal_files(page, temporary):
    pair = page(TALKS)
    assert is_stale(pair)
    assert execute_in_place(pair) is True
    assert not is_stale(pair)
    first = pair.notebook.read_bytes()
    assert execute_in_place(pair, force=True) is True
    assert pair.notebook.read_bytes() == first
    (cell,) = [cell for cell in pair.executed()["cells"] if cell["cell_type"] == "code"]
    assert [(output["name"], "".join(output["text"])) for output in cell["outputs"]] == [
        ("stdout", "0\n1\n2\nend\n")
    ]
    assert list(temporary.iterdir()) == []


DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "stein/opening: cell 2 raised ZeroDivisionError: division by zero"),
        ("raise ValueError('a\\nb')", "stein/opening: cell 2 raised ValueError: a b"),
        (DIES, "stein/opening: its kernel died, as one does that runs out of memory"),
    ],
)
def test_a_failed_execution_leaves_the_notebook_as_it_was(page, temporary, code, message):
    pair = page("x = 1", code)
    pair.notebook.write_text(nbformat.writes(nbformat.v4.new_notebook()))
    before = pair.notebook.read_bytes()
    with pytest.raises(BookError) as caught:
        execute_in_place(pair)
    assert caught.value.message == message
    assert pair.notebook.read_bytes() == before
    assert list(pair.notebook.parent.glob(".*")) == []
    assert list(temporary.iterdir()) == []


def stderr(text: str):
    return nbformat.v4.new_output("stream", name="stderr", text=text)


BARS = [
    "\rsteps:   0%|          | 0/450 [00:00<?, ?it/s]\rsteps:  12%|█▏        | 54/450 [00:01<00:09, 41.2it/s]",
    "\r                                                      \r",
    "reading: 1200it [00:03, 400.0it/s]\n",
    "100%|██████████| 3/3 [00:00<00:00, 16.2it/s]\n\n",
]


def test_progress_bars_are_not_stored(page, pretend):
    pair = page("x = 1")
    pretend([stderr(text) for text in BARS])
    execute_in_place(pair)
    assert pair.executed()["cells"][1]["outputs"] == []


@pytest.mark.bad_input
def test_other_words_on_stderr_are_refused(page, pretend):
    pretend([stderr(BARS[0]), stderr("\ncareful: 12% |\nof x")])
    with pytest.raises(BookError, match=r"stein/opening: cell 1 wrote to stderr: .* careful: 12% \| of x"):
        execute_in_place(page("x = 1"))


@pytest.mark.usefixtures("no_papermill")
def test_what_jupyterlab_saved_is_tidied_without_an_execution(executed_book):
    chapter = find_chapter("tiny", executed_book)
    before = chapter.notebook.read_bytes()
    save_as_jupyter_does(chapter, lambda cells: cells[3].outputs.insert(0, stderr(BARS[0])))
    assert chapter.notebook.read_bytes() != before
    assert execute_in_place(chapter) is False
    assert chapter.notebook.read_bytes() == before


@pytest.mark.parametrize(
    "save",
    [
        lambda cells: cells[1].update(execution_count=17),
        lambda cells: cells[1].update(execution_count=None, outputs=[]),
        lambda cells: cells[1].outputs.append(
            nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
        ),
    ],
)
def test_what_was_saved_half_executed_is_stale(executed_book, save):
    chapter = find_chapter("tiny", executed_book)
    save_as_jupyter_does(chapter, save)
    assert is_stale(chapter)


@pytest.mark.bad_input
@pytest.mark.usefixtures("no_papermill")
def test_an_edit_of_the_notebook_alone_is_not_erased(executed_book, monkeypatch):
    chapter = find_chapter("tiny", executed_book)
    save_as_jupyter_does(chapter, lambda cells: cells[2].update(source=cells[2].source + "\nprint(1)"))
    saved = chapter.notebook.read_bytes()
    with pytest.raises(
        BookError, match=r"tiny\.ipynb was edited and tiny.py was not: .* `jupytext --to py:percent"
    ):
        execute_in_place(chapter)
    monkeypatch.chdir(chapter.notebook.parent)  # the command is to be typed where one stands
    with pytest.raises(BookError, match=r"^tiny\.ipynb was edited .* `jupytext --to py:percent tiny\.ipynb`"):
        execute_in_place(chapter, force=True)
    change(chapter.source, "is the mean", "is a mean")
    with pytest.raises(BookError, match=r"tiny\.ipynb and tiny.py were both edited"):
        execute_in_place(chapter.reread())
    assert chapter.notebook.read_bytes() == saved


@pytest.mark.bad_input
@pytest.mark.parametrize("file", ["notebooks/stein/tiny.py", "src/regularity/foundations/checks.py"])
def test_what_is_edited_while_it_is_executed_is_not_stamped(executed_book, pretend, file):
    chapter = find_chapter("tiny", executed_book)
    before = chapter.notebook.read_bytes()
    path = executed_book / file
    old, new = ("= 100", "= 101") if path.suffix == ".py" and "tiny" in file else ("> 0", "> 1")
    pretend(meanwhile=lambda: change(path, old, new))
    with pytest.raises(BookError, match="stein/tiny was changed while it was executed; nothing is kept"):
        execute_in_place(chapter, force=True)
    assert chapter.notebook.read_bytes() == before


@pytest.mark.bad_input
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_disk_that_cannot_be_written_is_an_error_by_name(page, pretend, monkeypatch, moment):
    pair = page("x = 1")

    def break_disk():
        def refuse(*_arguments, **_options):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr("regularity.press.files.tempfile.mkstemp", refuse)
        monkeypatch.setattr("regularity.press.files.tempfile.NamedTemporaryFile", refuse)

    pretend(meanwhile=break_disk)
    if moment == "before":
        break_disk()
        pretend(meanwhile=lambda: pytest.fail("it was executed for nothing"))
    with pytest.raises(BookError, match=r"cannot write .*/notebooks/stein.*: Read-only file system"):
        execute_in_place(pair)


def test_what_a_killed_command_left_goes_with_the_next(temporary):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    node = os.uname().nodename
    for name in (
        f"regularity-{node}-{gone.pid}-abcd1234",
        f"regularity-{node}-{os.getpid()}-abcd1234",
        "regularity-x",
    ):
        (temporary / name / "kernel").mkdir(parents=True)
    with scratch_folder() as folder:
        assert folder.parent == temporary
    assert sorted(path.name for path in temporary.iterdir()) == [
        f"regularity-{node}-{os.getpid()}-abcd1234",
        "regularity-x",
    ]
