"""The chapters of the book that is being built, and what their notebooks say of themselves, each read once."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sphinx.application import Sphinx

from regularity.lab.claims import claims_of
from regularity.press.chapters import Chapter, Pair, all_chapters, all_pairs

Claims = Sequence[Mapping[str, Any]]
AnyPair = TypeVar("AnyPair", bound=Pair)


def opening_of(part: str) -> str:
    return f"notebooks/{part}/opening"


def chapters_in_book(app: Sphinx) -> list[Chapter]:
    """The chapters that have a page, in reading order."""
    return _in_book(app, _listed(Path(app.srcdir), _time(Path(app.srcdir, "_toc.yml")))[0])


def pairs_in_book(app: Sphinx) -> list[Pair]:
    """The same, with the parts' openings and whatever else is a notebook."""
    return _in_book(app, _listed(Path(app.srcdir), _time(Path(app.srcdir, "_toc.yml")))[1])


def pair_at(app: Sphinx, page: str) -> Pair | None:
    """The notebook of a page; None where the page is none."""
    return next((pair for pair in pairs_in_book(app) if pair.entry == page), None)


def _in_book(app: Sphinx, pairs: Iterable[AnyPair]) -> list[AnyPair]:
    return [pair for pair in pairs if pair.entry in app.env.found_docs]


@lru_cache(maxsize=1)
def _listed(root: Path, changed: int) -> tuple[list[Chapter], list[Pair]]:
    return all_chapters(root), all_pairs(root)


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def notebook_of(pair: Pair) -> dict[str, Any]:
    """The executed notebook; one without cells where there is none yet."""
    return _read(pair.notebook, _time(pair.notebook)) if pair.notebook.is_file() else {"cells": []}


def claims_in(pair: Pair) -> Claims:
    return claims_of(notebook_of(pair))


# --- How a chapter introduces itself -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Front:
    """What stands at the top of a chapter, as plain words.

    Attributes
    ----------
    title
        Its first heading.
    question
        Its first paragraph up to the question, or the first sentence where it asks none.
    card
        The rows of its card, by their heads: "paper", "authors", "year, arXiv", "read for this chapter".
    """

    title: str
    question: str
    card: Mapping[str, str]

    @property
    def year(self) -> str:
        return next((row[:4] for head, row in self.card.items() if head.startswith("year")), "")


def front_of(pair: Pair) -> Front:
    cells = notebook_of(pair)["cells"]
    first = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    title = re.search(r"^# (.+)$", first, flags=re.MULTILINE)
    blocks = [block for block in re.split(r"\n\s*\n", first) if block.strip()]
    prose = next((plain(block) for block in blocks if not re.match(r"[#|`:(]", block)), "")
    rows = (re.fullmatch(r"\|([^|]+)\|(.+)\|", line.strip()) for line in first.splitlines())
    card = {plain(row[1]): plain(row[2]) for row in rows if row and row[1].strip(" -:")}
    return Front(plain(title[1]) if title else pair.label, _opening(prose), card)


def _opening(paragraph: str) -> str:
    end = r"(?<=\?)\s" if "?" in paragraph else r"(?<=\.)\s"
    return re.split(end, paragraph, maxsplit=1)[0]


def plain(markdown: str) -> str:
    """Take the markup off a piece of Markdown."""
    text = re.sub(r"\{cite:[pt]\}`[^`]*`", "", markdown)
    text = re.sub(r"\{[a-z:]+\}`~?(?:[^`<]*\.)?([^`<]+?)\s*(?:<[^`]*>)?`", r"\1", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(\*\*|\*|`|(?<!\w)_|_(?!\w))", "", text)
    return " ".join(text.split()).replace(" ,", ",").replace(" .", ".")


def captions_of(pair: Pair) -> dict[str, str]:
    """The alternative texts of a notebook's figures, by the names under which they are glued."""
    cells = notebook_of(pair)["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    figures = re.findall(r"^```\{glue:figure\} (\S+)\n((?::.*\n)+)", text, flags=re.MULTILINE)
    return {
        name: " ".join(words[1].split())
        for name, options in figures
        if (words := re.search(r"^:alt: (.+)$", options, flags=re.MULTILINE))
    }
