"""The budgets, on a small tree of chapters that spend what they are told to."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEND = """
import time

def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """One chapter, whose test spends half a second."""
    files = {
        "conftest.py": f"""
            import sys; sys.path.insert(0, {str(ROOT)!r})
            from tests import budgets
            budgets.BUDGETS.update({{"unit tests": LIMIT, "one test": 10.0}})
            pytest_plugins = ["tests.budgets"]
        """,
        "notebooks/stein/tiny.py": "",
        "spending.py": SPEND,
        "tests_of/stein/test_tiny.py": "from spending import spend\n\ndef test_it():\n    spend(0.5)\n",
        "tests_of/stein/test_other.py": "from spending import spend\n\ndef test_it():\n    spend(0.5)\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix(" " * 12) for line in text.splitlines()) + "\n")
    return tmp_path


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "under xdist"])
@pytest.mark.parametrize(("limit", "status"), [(1.0, 0), (0.1, 1)])
def test_a_chapter_fails_at_twice_its_budget(book: Path, options: tuple[str, ...], limit: float, status: int):
    conftest = book / "conftest.py"
    conftest.write_text(conftest.read_text().replace("LIMIT", str(limit)))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "tests_of"]
    done = subprocess.run(command, cwd=book, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("unit tests")]
    assert [line[2] for line in lines] == ["stein/tiny"]  # the other file belongs to no chapter
    assert 0.4 <= float(lines[0][3]) < 1.0
    assert ("over twice its budget: stein/tiny: unit tests" in done.stdout) is bool(status)
