"""How fast: a figure and a table of the recorded ratios between a method and its peer."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from regularity.lab.chapters import all_chapters

LEFT, RIGHT, ROW, TOP = 12, 588, 40, 40  # of the figure, in its own units


def render(app: Sphinx, docname: str, argument: str) -> str:
    path = Path(app.srcdir, "benchmarks", "results.json")
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    rows = results["rows"]
    if not rows:
        return "<p>No times have been recorded yet.</p>"
    where = " · ".join(escape(str(results[key])) for key in ("machine", "date") if results.get(key))
    versions = results.get("versions") or {}
    packages = ", ".join(f"{escape(name)} {escape(str(version))}" for name, version in versions.items())
    measured = f"<p>Measured on: {where}.{f' Versions: {packages}.' if packages else ''}</p>"
    return figure(rows) + measured + _table(app, docname, rows)


def figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw each ratio with its range on a logarithmic scale, as SVG in the colours of the page."""
    smallest = min(min(row["low"], row["ratio"]) for row in rows)
    largest = max(max(row["high"], row["ratio"]) for row in rows)
    low, high = min(math.floor(math.log10(smallest)), -1), max(math.ceil(math.log10(largest)), 1)

    def x(ratio: float) -> float:
        return LEFT + (math.log10(ratio) - low) / (high - low) * (RIGHT - LEFT)

    bottom = TOP + ROW * len(rows)
    marks = []
    for power in range(low, high + 1):
        at, css = x(10**power), "one" if power == 0 else "grid"
        marks.append(f'<line class="{css}" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{bottom}"/>')
        marks.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 18}">{10.0**power:g}</text>')
    marks.append(
        f'<text class="side" x="{x(1) - 8:.1f}" y="{TOP - 14}" text-anchor="end">method faster</text>'
    )
    marks.append(f'<text class="side" x="{x(1) + 8:.1f}" y="{TOP - 14}">peer faster</text>')
    for number, row in enumerate(rows):
        y = TOP + ROW * (number + 0.75)
        name = escape(f"{row['chapter']}: {row['task']}, {threads(row)}")
        marks.append(f'<text class="name" x="{LEFT + 6}" y="{y - 13:.1f}">{name}</text>')
        marks.append(
            f'<line class="range" x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        marks.append(f'<circle class="ratio" cx="{x(row["ratio"]):.1f}" cy="{y:.1f}" r="5"/>')
    n_faster = sum(row["ratio"] <= 1 for row in rows)
    label = f"Ratio of times, method over peer, for {len(rows)} tasks: the method is as fast or faster in {n_faster}."
    return (
        '<figure class="speed"><div class="speed-scroll" tabindex="0" role="region" aria-label="Figure of ratios">'
        f'<svg viewBox="0 0 {RIGHT + 12} {bottom + 34}" role="img" aria-label="{label}">{"".join(marks)}</svg></div>'
        "<figcaption>Time of the method over the time of its peer on the same work (dot: median of the ratios in "
        "turn, line: its 95 % interval). Left of 1 the method is faster.</figcaption></figure>"
    )


def threads(row: Mapping[str, Any]) -> str:
    return "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"


def _table(app: Sphinx, docname: str, rows: Sequence[Mapping[str, Any]]) -> str:
    pages = {
        chapter.name: f"notebooks/{chapter.part}/{chapter.name}" for chapter in all_chapters(Path(app.srcdir))
    }
    heads = ("task", "method", "peer", "ratio", "seconds", "quality", "note")
    body = []
    for row in rows:
        name = escape(row["chapter"])
        page = pages.get(row["chapter"])
        if page in app.env.found_docs:
            name = f'<a href="{app.builder.get_relative_uri(docname, page)}">{name}</a>'
        cells = (
            escape(row["method"]),
            escape(f"{row['peer']} {row['peer_version']}"),
            f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})",
            f"{row['seconds_method']:.3g} / {row['seconds_peer']:.3g}",
            escape(f"{row['quality_method']:.4g} / {row['quality_peer']:.4g} {row['quality_name']}"),
            escape(row.get("note") or ""),
        )
        task = f'<th scope="row">{escape(row["task"])}<span class="claim-source">{name} · {threads(row)}</span></th>'
        labelled = zip(heads[1:], cells, strict=True)
        body.append(
            f"<tr>{task}"
            + "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in labelled)
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        '<div class="ledger-scroll" tabindex="0" role="region" aria-label="Times">'
        f'<table class="ledger"><caption>Seconds and quality: method / peer</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
