"""A small book, whole and in order, for tests that execute it or break it."""

import shutil
import textwrap
from pathlib import Path

import pytest

from regularity.lab.chapters import find_chapter
from regularity.lab.execution import execute_in_place

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""

TINY = """
# %% [markdown]
# # Tiny: is the mean of normal draws zero?

# %% tags=["parameters"]
seed: int = 0  # source of all randomness
device: str = "auto"  # where it runs
n_draws: int = 100  # how many draws
scale: float = 1.0  # standard deviation of the draws
fails: bool = False  # whether to raise
waits: float = 0.0  # seconds to sleep
names: list[str] = ["a", "b"]  # names that nothing uses

# %% [markdown]
# ## The method

# %%
import time

import numpy as np

from regularity.lab import Claim, above, between, figure, glue_number, resolve_device, show_claims, use_book_style
from regularity.foundations.checks import check_positive

use_book_style()
resolve_device(device)
check_positive("scale", scale)
time.sleep(waits)
if fails:
    raise RuntimeError("this run was asked to fail")
draws = scale * np.random.default_rng(seed).standard_normal(n_draws)
glue_number("tiny-mean", draws.mean())

# %% [markdown]
# ## The experiment
# The mean is {glue:text}`tiny-mean`.

# %% tags=["hide-input", "thumbnail"] mystnb={"figure": {"name": "fig-tiny", "caption": "A"}, "image": {"alt": "L"}}
fig, axes = figure()
lines = axes.plot(draws)

# %% [markdown]
# ## The claims

# %% tags=["claims", "hide-input"]
error = draws.std() / n_draws**0.5
show_claims(
    [
        Claim("The mean is zero", "exact", draws.mean() / error, between(-4, 4), "statistical", 1.0),
        Claim("The draws spread", "σ > 0", draws.std(), above(0), "qualitative"),
        Claim("The first draw is positive", "no figure", draws[0], above(0), "qualitative"),
    ]
)

# %% [markdown]
# ## Where it breaks
# ## Bigger
# ## Exercises
# ## References
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def write_tiny_book(root: Path) -> Path:
    """Write a book of one chapter, not yet executed."""
    write(root / "_toc.yml", "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/stein/tiny\n")
    write(root / "notebooks" / "stein" / "tiny.py", HEADER + TINY)
    write(root / "notebooks" / "stein" / "tiny.gpu.yaml", "n_draws: 1000\n")
    write(root / "notebooks" / "stein" / "tiny.paper.yaml", "n_draws: 2000\nscale: 2.0\n")
    write(root / "src" / "regularity" / "stein" / "tiny.py", '"""The method."""\n\nvalue = 1\n')
    write(root / "src" / "regularity" / "foundations" / "checks.py", '"""Checks."""\n\nlevel = 1\n')
    write(root / "src" / "regularity" / "lab" / "claims.py", '"""Claims."""\n')
    write(root / "tests" / "stein" / "test_tiny.py", '"""Its test."""\n')
    return root


def copy_book(book: Path, root: Path) -> Path:
    """Copy a small book to another place, where a test may break it."""
    shutil.copytree(book, root, dirs_exist_ok=True)
    return root


@pytest.fixture
def tiny_book(tmp_path):
    """A book of one chapter, not yet executed; the path of its top."""
    return write_tiny_book(tmp_path / "book")


@pytest.fixture(scope="session")
def executed_original(tmp_path_factory):
    """The same, executed; tests must not change it."""
    root = write_tiny_book(tmp_path_factory.mktemp("executed"))
    execute_in_place(find_chapter("tiny", root))
    return root


@pytest.fixture
def executed_book(executed_original, tmp_path):
    """A copy of the executed book, for one test."""
    return copy_book(executed_original, tmp_path / "executed")
