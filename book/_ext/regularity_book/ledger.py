"""The ledger: every claim of every chapter in one table, which a reader can filter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from regularity.lab.chapters import Chapter
from regularity.lab.claims import SIGNS, badge, claims_of, format_measurement
from regularity.lab.ledger import ledger_rows

from .gallery import chapters_in_book, page_of

COLUMNS = ("claim", "the paper", "measured", "rule", "verdict", "over seeds", "on a GPU")


def render(app: Sphinx, docname: str, argument: str) -> str:
    chapters = {(chapter.part, chapter.name): chapter for chapter in chapters_in_book(app)}
    rows = [row for row in ledger_rows(Path(app.srcdir)) if (row["part"], row["chapter"]) in chapters]
    if not rows:
        return "<p>No chapter has been executed yet.</p>"
    units = {
        (chapter.part, chapter.name, claim["claim"]): claim["unit"]
        for chapter in chapters.values()
        for claim in claims_of(chapter.executed())
    }
    links = {key: _claims_address(app, docname, chapter) for key, chapter in chapters.items()}
    body = "".join(
        _row(row, units[row["part"], row["chapter"], row["claim"]], *links[row["part"], row["chapter"]])
        for row in rows
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    return (
        _counts(app, rows)
        + _filter(app, rows)
        + '<div class="ledger-scroll" tabindex="0" role="region" aria-label="All claims">'
        + f'<table class="ledger" id="ledger-table"><caption>{len(rows)} claims of {len(chapters)} '
        + f"{'chapter' if len(chapters) == 1 else 'chapters'}</caption>"
        + f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _claims_address(app: Sphinx, docname: str, chapter: Chapter) -> tuple[str, str]:
    """The chapter's title, and the address of the section with its cell of claims."""
    page = page_of(chapter)
    address, anchor = app.builder.get_relative_uri(docname, page), app.env.metadata[page]["claims"]
    return app.env.titles[page].astext(), f"{address}#{anchor}" if anchor else address


def seeds_group(held: str | None) -> str:
    """Sort "5/5", "3/5, partly 2/5" or None into what the filter offers."""
    if held is None:
        return "not recorded"
    n_held, n_runs = held.split(",")[0].split(" ")[0].split("/")
    return "always" if n_held == n_runs else "never" if n_held == "0" else "sometimes"


def gpu_group(verdict: str | None) -> str:
    return "not recorded" if verdict is None else verdict.split(" (")[0]


def _row(row: Mapping[str, Any], unit: str, chapter: str, address: str) -> str:
    groups = {
        "part": row["part"],
        "verdict": row["verdict"],
        "kind": row["kind"],
        "seeds": seeds_group(row["held_over_seeds"]),
        "gpu": gpu_group(row["gpu_verdict"]),
    }
    data = "".join(f' data-{name}="{escape(value, quote=True)}"' for name, value in groups.items())
    measured = format_measurement(row["measured"], row["uncertainty"], unit)
    gpu = row["gpu_verdict"] or "–"
    plain = gpu.split(" (")[0]
    cells = (
        escape(row["paper"]),
        escape(measured),
        escape(row["rule"]),
        badge(row["verdict"]),
        escape(row["held_over_seeds"] or "–"),
        badge(plain) + escape(gpu.removeprefix(plain)) if plain in SIGNS else escape(gpu),
    )
    head = (
        f'<th scope="row"><a href="{address}">{escape(row["claim"])}</a>'
        f'<span class="claim-source">{escape(chapter)} · {escape(row["kind"])}</span></th>'
    )
    labelled = zip(COLUMNS[1:], cells, strict=True)
    return (
        f"<tr{data}>{head}"
        + "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in labelled)
        + "</tr>"
    )


def _counts(app: Sphinx, rows: Sequence[Mapping[str, Any]]) -> str:
    total = Counter(row["verdict"] for row in rows)
    items = "".join(
        f"<li>{badge(verdict)} <strong>{total[verdict]}</strong></li>" for verdict in SIGNS if total[verdict]
    )
    return f'<ul class="ledger-counts" aria-label="Verdicts of all claims">{items}</ul>'


def _filter(app: Sphinx, rows: Sequence[Mapping[str, Any]]) -> str:
    @cache
    def part_title(part: str) -> str:
        return app.env.titles[f"book/parts/{part}"].astext().split(":")[0]

    def select(name: str, label: str, options: Mapping[str, str]) -> str:
        choices = "".join(
            f'<option value="{value}">{escape(text)}</option>' for value, text in options.items()
        )
        return f'<label>{label} <select name="{name}"><option value="">all</option>{choices}</select></label>'

    def same(*values: str) -> dict[str, str]:
        return dict(zip(values, values, strict=True))

    seeds = {
        "always": "held always",
        "sometimes": "held sometimes",
        "never": "never held",
        "not recorded": "not recorded",
    }
    parts = {row["part"]: part_title(row["part"]) for row in rows}
    return (
        '<form class="ledger-filter" id="ledger-filter" hidden aria-controls="ledger-table">'
        '<label>words <input type="search" name="words" autocomplete="off"></label>'
        + select("part", "part", parts)
        + select("verdict", "verdict", same(*SIGNS))
        + select("kind", "kind", same("exact", "statistical", "qualitative"))
        + select("seeds", "over seeds", seeds)
        + select("gpu", "on a GPU", same(*SIGNS, "not recorded"))
        + '<button type="reset">show all</button><output aria-live="polite"></output></form>'
    )
