"""One run: stored whole or not at all, never repeated, and a failure kept apart."""

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from regularity.lab import runs
from regularity.lab.chapters import BookError, find_chapter
from regularity.lab.cli import main

RESULT = {
    "notebook": "{}",
    "claims": [],
    "seconds": 1.0,
    "peak_memory_mib": 100,
    "device": "none",
    "versions": {},
}


@pytest.fixture
def call(tiny_book, monkeypatch):
    def run(*arguments):
        monkeypatch.chdir(tiny_book)
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_is_kept_with_where_it_came_from_and_not_repeated(call, tiny_book, monkeypatch):
    done = call("run", "tiny", "-p", "seed", "3", "-f", "gpu")
    assert done.exit_code == 0, done.output
    parameters = {"seed": 3, "n_draws": 1000}
    folder = runs.run_folder(find_chapter("tiny", tiny_book), parameters, tiny_book / "runs")
    assert files_in(folder) == ["claims.json", "provenance.json", "tiny.ipynb"]
    kept = runs.read_run(folder)
    assert kept["claims"][0]["claim"] == "The mean is zero"
    provenance = kept["provenance"]
    assert provenance["parameters"] == parameters
    assert provenance["command"] == "regularity run tiny -p n_draws 1000 -p seed 3"
    assert provenance["versions"]["numpy"] == __import__("numpy").__version__
    assert 50 < provenance["peak_memory_mib"] < 2048
    assert 0 < provenance["seconds"] < 300
    assert "reproduced" in done.output

    monkeypatch.setattr(runs, "execute_run", lambda *_: pytest.fail("it was done already"))
    again = call("run", "tiny", "-p", "seed", "3", "-p", "n_draws", "1000")
    assert again.exit_code == 0
    assert again.output.startswith("done already: ")


def test_a_notebook_that_raises_is_kept_apart_with_its_traceback(call, tiny_book):
    done = call("run", "tiny", "-p", "fails", "true")
    assert done.exit_code == 1
    assert "tiny: cell 3 raised RuntimeError: this run was asked to fail" in done.output
    assert len(done.output.strip().splitlines()) == 1
    (folder,) = (tiny_book / "runs" / "tiny" / "failed").iterdir()
    assert files_in(folder) == ["tiny.ipynb", "traceback.txt"]
    assert "RuntimeError" in (folder / "traceback.txt").read_text()
    assert [path.name for path in (tiny_book / "runs" / "tiny").iterdir()] == ["failed"]


@pytest.mark.parametrize("fails_at", ["claims.json", "provenance.json", "rename"])
def test_a_full_disk_leaves_nothing_half_written(tiny_book, monkeypatch, fails_at):
    def no_space(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text = Path.write_text
    if fails_at == "rename":
        monkeypatch.setattr(runs.os, "replace", no_space)
    else:
        monkeypatch.setattr(
            Path,
            "write_text",
            lambda self, *given, **options: (
                no_space() if self.name == fails_at else write_text(self, *given, **options)
            ),
        )
    chapter = find_chapter("tiny", tiny_book)
    folder = runs.run_folder(chapter, {}, tiny_book / "runs")
    with pytest.raises(BookError, match=f"cannot write {folder}: No space left on device"):
        runs.store_run(folder, chapter, {}, RESULT)
    assert list((tiny_book / "runs" / "tiny").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_by_name(tiny_book):
    (tiny_book / "runs").write_text("a file is in the way")
    chapter = find_chapter("tiny", tiny_book)
    with pytest.raises(BookError, match=r"cannot write .*runs/tiny/.*: Not a directory"):
        runs.store_run(runs.run_folder(chapter, {}, tiny_book / "runs"), chapter, {}, RESULT)


def test_who_comes_second_leaves_the_first_run_alone(tiny_book):
    chapter = find_chapter("tiny", tiny_book)
    folder = runs.run_folder(chapter, {}, tiny_book / "runs")
    runs.store_run(folder, chapter, {}, RESULT)
    before = json.loads((folder / "provenance.json").read_text())
    runs.store_run(folder, chapter, {}, {**RESULT, "seconds": 2.0})
    assert json.loads((folder / "provenance.json").read_text()) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_commit_is_told_where_there_is_one(tiny_book, tmp_path):
    assert runs.current_commit(tmp_path) is None
    assert (
        runs.current_commit(Path(__file__).parents[2]) is None
        or len(runs.current_commit(Path(__file__).parents[2])) >= 7
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tinny"], "Error: no chapter 'tinny'; did you mean 'tiny'?"),
        (["run", "tiny", "-p", "sed", "1"], "Error: tiny has no parameter 'sed'; did you mean 'seed'?"),
        (["run", "tiny", "-p", "seed", "x"], "Error: seed of tiny must be int; got 'x'"),
        (
            ["run", "tiny", "-f", "none.yaml"],
            "Error: cannot read parameters from none.yaml: No such file or directory",
        ),
        (["run", "tiny", "-p", "device", "tpu"], "Error: device must be one of auto, cpu"),
        (["sweep", "tiny", "--over", "seed"], "Error: --over must be NAME=V1,V2,...; got 'seed'"),
        (["sweep", "tiny", "--over", "scale=1,x"], "Error: scale of tiny must be float; got 'x'"),
        (
            ["sweep", "tiny", "--over", "sclae=1"],
            "Error: tiny has no parameter 'sclae'; did you mean 'scale'?",
        ),
        (
            ["sweep", "tiny", "--over", "seed=1,2", "--seeds", "2"],
            "Error: --over seed and --seeds exclude each other",
        ),
        (["sweep", "tiny", "--over", "scale=1", "--over", "scale=2"], "Error: --over scale is given twice"),
        (
            ["sweep", "tiny", "--workers", "1", "--scheduler", "tcp://127.0.0.1:1"],
            "Error: --workers and --scheduler",
        ),
        (
            ["record", "tiny", "-f", "huge"],
            "Error: cannot read parameters from huge: No such file or directory",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_runs(call, tiny_book, arguments, message):
    done = call(*arguments)
    assert done.exit_code == 2
    assert done.output.startswith(message)
    assert len(done.output.strip().splitlines()) == 1
    assert not (tiny_book / "runs").exists()
