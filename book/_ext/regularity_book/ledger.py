"""The ledger: every claim of every chapter in one table, which a reader can filter."""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from regularity.lab.claims import SIGNS, count_verdicts
from regularity.lab.verdicts import SOURCES, badge, claim_anchor, describe_measurement, summarise_verdicts
from regularity.press.chapters import Chapter
from regularity.press.ledger import ledger_rows

from .book import chapters_in_book, front_of, opening_of, pair_at
from .generated import add_directive
from .tables import Row, html_table

COLUMNS = ("claim", "the paper", "measured", "rule", "verdict", "over seeds")
ON_A_GPU = "on a GPU"
KINDS = ("exact", "statistical", "qualitative")
SEEDS = {
    "always": "held always",
    "sometimes": "held sometimes",
    "never": "never held",
    "not recorded": "not recorded",
}


def render(app: Sphinx, page: str, argument: str) -> str:
    """All claims: their counts, the filter, the table; a column for GPUs appears with the first record of one."""
    chapters = {(chapter.part, chapter.name): chapter for chapter in chapters_in_book(app)}
    claims = [row for row in ledger_rows(Path(app.srcdir)) if (row["part"], row["chapter"]) in chapters]
    if not claims:
        return "<p>No chapter has been executed yet.</p>"
    on_a_gpu = any(row["gpu_verdict"] for row in claims)
    rows, numbers = [], dict.fromkeys(chapters, 0)
    for claim in claims:
        key = claim["part"], claim["chapter"]
        numbers[key] += 1
        address = f"{app.builder.get_relative_uri(page, chapters[key].entry)}#{claim_anchor(numbers[key])}"
        rows.append(_row(claim, chapters[key], address, on_a_gpu))
    n_chapters = len({(row["part"], row["chapter"]) for row in claims})
    caption = f"{len(rows)} claims of {n_chapters} {'chapter' if n_chapters == 1 else 'chapters'}"
    columns = (*COLUMNS, ON_A_GPU) if on_a_gpu else COLUMNS
    table = html_table(columns, rows, label="All claims", name="ledger-table", caption=caption)
    return _counts(claims) + _filter(app, claims, on_a_gpu) + table


def seeds_group(held: str | None) -> str:
    """Sort "5/5", "3/5, partly 2/5" or None into what the filter offers."""
    if held is None:
        return "not recorded"
    n_held, n_runs = held.split(",")[0].split(" ")[0].split("/")
    return "always" if n_held == n_runs else "never" if n_held == "0" else "sometimes"


def gpu_group(verdict: str | None) -> str:
    return "not recorded" if verdict is None else verdict.split(" (")[0]


def _row(claim: Mapping[str, Any], chapter: Chapter, address: str, on_a_gpu: bool) -> Row:
    notes = [front_of(chapter).title, SOURCES[claim["source"]], *([claim["kind"]] if claim["kind"] else [])]
    head = f'<a href="{address}">{escape(claim["claim"])}</a>'
    head += f'<span class="claim-source">{escape(" · ".join(notes))}</span>'
    if claim["revised"]:
        head += f'<span class="claim-revised">rule revised: {escape(claim["revised"])}</span>'
    gpu = claim["gpu_verdict"] or "–"
    verdict_on_gpu = gpu.split(" (")[0]
    cells = [
        escape(claim["paper"]),
        escape(describe_measurement(claim)),
        escape(claim["rule"] or "–"),
        badge(claim["verdict"]),
        escape(claim["held_over_seeds"] or "–"),
    ]
    if on_a_gpu:
        known = verdict_on_gpu in SIGNS
        cells.append(badge(verdict_on_gpu) + escape(gpu[len(verdict_on_gpu) :]) if known else escape(gpu))
    data = {
        "part": claim["part"],
        "source": claim["source"],
        "verdict": claim["verdict"],
        "kind": claim["kind"],
        "seeds": seeds_group(claim["held_over_seeds"]),
        "gpu": gpu_group(claim["gpu_verdict"]),
        "revised": "yes" if claim["revised"] else "no",
    }
    return Row(head, cells, data)


def _counts(claims: Sequence[Mapping[str, Any]]) -> str:
    """The paper's claims by their verdicts, and what stands beside them."""
    counts = count_verdicts(claims, "paper")
    items = "".join(
        f"<li>{badge(verdict)} <strong>{count}</strong></li>" for verdict, count in counts.items() if count
    )
    words = summarise_verdicts(claims).replace("the paper's", "the papers'").replace("by it", "by them")
    return (
        f'<ul class="ledger-counts" aria-label="Verdicts on the papers’ claims">{items}</ul>'
        f"<p>{escape(words)}.</p>"
    )


def _filter(app: Sphinx, claims: Sequence[Mapping[str, Any]], on_a_gpu: bool) -> str:
    @cache
    def title(part: str) -> str:
        opening = pair_at(app, opening_of(part))
        return front_of(opening).title.split(":")[0] if opening else part

    def select(name: str, label: str, options: Mapping[str, str]) -> str:
        choices = "".join(
            f'<option value="{value}">{escape(text)}</option>' for value, text in options.items()
        )
        return f'<label>{label} <select name="{name}"><option value="">all</option>{choices}</select></label>'

    def same(*values: str) -> dict[str, str]:
        return dict(zip(values, values, strict=True))

    return (
        '<form class="ledger-filter" id="ledger-filter" hidden aria-controls="ledger-table">'
        '<label>words <input type="search" name="words" autocomplete="off"></label>'
        + select("part", "part", {row["part"]: title(row["part"]) for row in claims})
        + select("source", "whose", SOURCES)
        + select("verdict", "verdict", same(*SIGNS))
        + select("kind", "kind", same(*KINDS))
        + select("seeds", "over seeds", SEEDS)
        + (select("gpu", ON_A_GPU, same(*SIGNS, "not recorded")) if on_a_gpu else "")
        + select("revised", "rule revised", same("yes", "no"))
        + '<button type="reset">show all</button><output aria-live="polite"></output></form>'
    )


def setup(app: Sphinx) -> None:
    add_directive(app, "ledger", render)
