"""Verdicts do not hang on how many threads there are: the smallest chapter, executed with one and with two."""

from pathlib import Path

import nbformat

from regularity.lab.claims import claims_of
from regularity.press.chapters import find_chapter
from regularity.press.execution import execute_notebook

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = "compound_binomials"


def test_one_thread_or_two_give_the_committed_verdicts(monkeypatch):
    chapter = find_chapter(SMALLEST, ROOT)
    committed = {claim["claim"]: claim["verdict"] for claim in claims_of(chapter.executed())}
    for threads in ("1", "2"):
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            monkeypatch.setenv(name, threads)
        parameters = {"n_threads": int(threads)}  # the chapter's own bound on torch
        executed = nbformat.reads(execute_notebook(nbformat.writes(chapter.cells), parameters), as_version=4)
        assert {claim["claim"]: claim["verdict"] for claim in claims_of(executed)} == committed, threads
