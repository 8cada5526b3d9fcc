"""The command line, as a reader types it."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from regularity.press.cli import main


@pytest.fixture
def call(monkeypatch):
    def run(book, *arguments):
        monkeypatch.chdir(book)
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def test_list_tells_chapters_and_parameters(call, tiny_book):
    done = call(tiny_book, "list")
    assert done.exit_code == 0
    assert "stein/tiny: Tiny: is the mean of normal draws zero?" in done.output
    assert "n_draws: int = 100" in done.output
    assert "how many draws" in done.output


def test_execute_says_what_it_did(call, executed_book):
    done = call(executed_book, "execute")
    assert "stein/tiny: up to date\n" in done.output


def test_ledger_lists_the_claims(call, executed_book):
    rows = json.loads(call(executed_book, "ledger", "--json").output)
    assert [row["claim"] for row in rows] == [
        "The mean is zero",
        "The draws spread",
        "The first draw is positive",
        "It holds for all laws",
    ]
    told = {
        "part": "stein",
        "chapter": "tiny",
        "claim": "The mean is zero",
        "kind": "statistical",
        "verdict": "reproduced",
        "held_over_seeds": None,
        "gpu_verdict": None,
    }
    assert told.items() <= rows[0].items()
    text = call(executed_book, "ledger").output
    assert (
        "1 of the paper's 1 checked claims reproduced; implied by it 1 of 1; ours 1 of 1; 1 not checked"
        in text
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("command", ["execute"])
def test_an_unknown_chapter_is_exit_2_and_one_line(call, tiny_book, command):
    done = call(tiny_book, command, "tinny")
    assert done.exit_code == 2
    assert done.output == "Error: no page 'tinny'; did you mean 'tiny'?\n"


def test_papermill_works_on_the_plain_notebook_from_any_folder(executed_book, tmp_path):
    made = tmp_path / "made.ipynb"
    notebook = executed_book / "notebooks" / "stein" / "tiny.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, made, "-p", "n_draws", "7", "--no-progress-bar"]
    environment = os.environ | {"PYTHONPATH": str(executed_book / "src")}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([str(word) for word in command], **options)
    assert done.returncode == 0, done.stderr
    cells = json.loads(made.read_text())["cells"]
    assert any("n_draws = 7" in "".join(cell["source"]) for cell in cells)


@pytest.mark.bad_input
def test_an_output_that_is_full_is_told_in_a_line(tiny_book):
    tool = os.path.join(os.path.dirname(sys.executable), "regularity")
    with open("/dev/full", "w") as full:
        done = subprocess.run([tool, "list"], cwd=tiny_book, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "Error: cannot write: No space left on device\n"
