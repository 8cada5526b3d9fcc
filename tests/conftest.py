"""A small book, whole and in order, for tests that execute it or break it."""

import shutil
import textwrap
from pathlib import Path

import pytest

import regularity
from regularity.press.chapters import all_pairs, find_pair
from regularity.press.execution import execute_in_place

PACKAGE = Path(regularity.__file__).parent

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
#
# **Is it?**
#
# | | |
# |---|---|
# | paper | *On nothing at all* |
# | read for this chapter | abstract |
#
# It is: {glue:text}`mean`.
#
# ```{verdicts}
# ```
#
# ```{glue:figure} answer
# :name: fig-tiny-answer
# :alt: A jagged line around zero.
#
# The draws, one after the other.
# ```

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
seed: int = 0  # source of all randomness
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
n_draws: int = 100  # how many draws
scale: float = 1.0  # standard deviation of the draws
fails: bool = False  # whether to raise
waits: float = 0.0  # seconds to sleep
names: list[str] = ["a", "b"]  # names that nothing uses
law: str = "normal"  # "normal" or "constant", of the draws
note: str | None = None  # a = b # c, and more that nothing uses
keep: str = ""  # file in which the draws are kept, "" for none

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np

from regularity import lab
from regularity.foundations.checks import check_positive
from regularity.stein import tiny

session = lab.begin(seed, device)

# %% [markdown]
# ## The method

# %%
check_positive("scale", scale)
time.sleep(waits)
if fails:
    raise RuntimeError("this run was asked to fail")
draws = tiny.draw(law, seed, n_draws, scale)
mean = lab.mean(draws)
lab.glue("mean", mean)
if keep:
    Path(keep).write_text(str(list(draws)))

# %% [markdown]
# ## The experiment

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure()
axes.plot(draws)
lab.glue("answer", fig)

# %% [markdown]
# ## The claims

# %% tags=["claims", "hide-input"]
zero, spread = lab.between(-1, 1), lab.above(0, unit="m")
lab.show_claims(
    [
        lab.Claim("The mean is zero", "0", mean, zero, "statistical", source="paper"),
        lab.Claim(
            "The draws spread",
            "σ > 0",
            draws.std(),
            spread,
            "qualitative",
            source="implied",
        ),
        lab.Claim(
            "The first draw is positive",
            "no figure",
            draws[0],
            lab.above(0),
            "qualitative",
            source="ours",
        ),
        lab.NotChecked("It holds for all laws", "all laws", "there are too many"),
    ]
)

# %% [markdown]
# ## Where it breaks
# ## Bigger
# ## Exercises
# ## References
"""

METHOD = '''
"""The method."""

import numpy as np

from regularity.foundations.checks import check_at_least


def draw(law: str, seed: int, n: int, scale: float) -> np.ndarray:
    """Draw numbers."""
    check_at_least("n", n, 1)
    if law == "constant":
        return np.full(n, scale)
    return scale * np.random.default_rng(seed).standard_normal(n)
'''

OPENING = """
# %% [markdown]
# # Stein: one chapter
#
# ```{glue:figure} opening
# :name: fig-stein-opening
# :alt: A line.
#
# A line.
# ```

# %% tags=["hide-input"]
from regularity import lab

session = lab.begin(seed=0)

# %% tags=["hide-input", "remove-output"]
fig, axes = lab.figure()
axes.plot([0, 1])
lab.glue("opening", fig)
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def write_tiny_book(root: Path) -> Path:
    """Write a book of one chapter and one opening, not yet executed, with what it needs of this package."""
    contents = "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/stein/opening\n"
    write(root / "_toc.yml", contents + "  - file: notebooks/stein/tiny\n")
    write(root / "notebooks" / "stein" / "tiny.py", HEADER + TINY)
    write(root / "notebooks" / "stein" / "opening.py", HEADER + OPENING)
    write(root / "notebooks" / "stein" / "tiny.gpu.yaml", "n_draws: 1000\n")
    write(root / "notebooks" / "stein" / "tiny.paper.yaml", "n_draws: 2000\nscale: 2.0\n")
    for folder in ("foundations", "lab"):  # with what was compiled: kernels need not do it again
        shutil.copytree(PACKAGE / folder, root / "src" / "regularity" / folder)
    for module in ("__init__", "stein/__init__"):
        target = root / "src" / "regularity" / f"{module}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(PACKAGE / f"{module}.py", target)
    write(root / "src" / "regularity" / "stein" / "tiny.py", METHOD.lstrip())
    write(root / "tests" / "stein" / "test_tiny.py", '"""Its test."""\n')
    return root


def copy_book(book: Path, root: Path) -> Path:
    """Copy a small book to another place, where a test may break it."""
    shutil.copytree(book, root, dirs_exist_ok=True)
    return root


@pytest.fixture
def tiny_book(tmp_path):
    """A book of one chapter and an opening, not yet executed; the path of its top."""
    return write_tiny_book(tmp_path / "book")


HEAVY = (  # what imports torch or matplotlib: most of a kernel's time
    "from regularity.foundations.checks import check_positive\n",
    "session = lab.begin(seed, device)\n",
    'check_positive("scale", scale)\n',
    'fig, axes = lab.figure()\naxes.plot(draws)\nlab.glue("answer", fig)\n',
    "from regularity.foundations.checks import check_at_least\n",
    '    check_at_least("n", n, 1)\n',
)


@pytest.fixture
def light_book(tiny_book):
    """The same without what takes a kernel seconds to import, for tests that start several."""
    for path in (tiny_book / "notebooks/stein/tiny.py", tiny_book / "src/regularity/stein/tiny.py"):
        text = path.read_text(encoding="utf-8")
        for heavy in HEAVY:
            text = text.replace(heavy, "")
        path.write_text(text, encoding="utf-8")
    return tiny_book


@pytest.fixture(scope="session")
def executed_original(tmp_path_factory):
    """The same, executed; tests must not change it."""
    root = write_tiny_book(tmp_path_factory.mktemp("executed"))
    for pair in all_pairs(root):
        execute_in_place(pair)
    return root


@pytest.fixture
def executed_book(executed_original, tmp_path):
    """A copy of the executed book, for one test."""
    return copy_book(executed_original, tmp_path / "executed")


@pytest.fixture
def page(tmp_path):
    """Makes a page of some code cells and nothing else: its kernel imports nothing, and starts in half a second."""

    def make(*cells: str):
        root = tmp_path / "page"
        write(root / "_toc.yml", "format: jb-book\nroot: index\n")
        source = "\n".join(f"\n# %%\n{cell}" for cell in cells)
        write(
            root / "notebooks" / "stein" / "opening.py", f"{HEADER}\n# %% [markdown]\n# # A page\n{source}\n"
        )
        return find_pair("stein/opening", root)

    return make
