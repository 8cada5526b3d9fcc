"""The table of verdicts, as a reader sees it and as machines read it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regularity.lab.claims import METADATA_KEY, SIGNS, Claim, NotChecked, Source, Verdict, count_verdicts
from regularity.lab.estimates import format_measurement

SOURCES: Mapping[Source, str] = {"paper": "the paper's", "implied": "implied by it", "ours": "ours"}
COLUMNS = ("claim", "the paper", "measured", "rule", "verdict")


def show_claims(claims: Sequence[Claim | NotChecked]) -> None:
    """Show the table of verdicts, and leave it in the notebook for machines to read.

    Parameters
    ----------
    claims
        All claims of the chapter.

    Raises
    ------
    ValueError
        If there is no claim, or two have the same words.
    """
    from IPython.display import display

    if not claims:
        raise ValueError("claims must not be empty")
    texts = [claim.text for claim in claims]
    if len(set(texts)) < len(texts):
        raise ValueError(f"each claim must have words of its own; got {texts}")
    records = [claim.as_dict() for claim in claims]
    bundle = {"text/plain": _as_text(records), "text/html": _as_html(records)}
    display(bundle, raw=True, metadata={METADATA_KEY: records})


def badge(verdict: Verdict) -> str:
    """Write a verdict as a badge that does not rest on colour alone.

    Parameters
    ----------
    verdict
        One of `SIGNS`.

    Returns
    -------
    HTML.
    """
    css_class = verdict.replace(" ", "-")
    return f'<span class="verdict verdict-{css_class}">{SIGNS[verdict]}&nbsp;{verdict}</span>'


def claim_anchor(number: int) -> str:
    """Name the row of a claim, to which other pages link.

    Parameters
    ----------
    number
        Of the claim in its chapter, from 1.

    Returns
    -------
    The row's id in HTML.
    """
    return f"claim-{number}"


def summarise_verdicts(records: Sequence[Mapping[str, Any]]) -> str:
    """Say in words how many claims were reproduced: the paper's first, then what stands beside them.

    Parameters
    ----------
    records
        Claims as `Claim.as_dict` writes them.

    Returns
    -------
    For instance "9 of the paper's 11 claims reproduced; ours 3 of 4; 1 not checked".
    """
    words = []
    for source, owner in SOURCES.items():
        counts = count_verdicts(records, source)
        n_checked = sum(counts.values()) - counts["not checked"]
        if source == "paper":
            words.append(f"{counts['reproduced']} of {owner} {n_checked} checked claims reproduced")
        elif n_checked:
            words.append(f"{owner} {counts['reproduced']} of {n_checked}")
    n_left = count_verdicts(records)["not checked"]
    return "; ".join([*words, *([f"{n_left} not checked"] if n_left else [])])


def describe_measurement(record: Mapping[str, Any]) -> str:
    """Write what was measured for a claim, or why nothing was.

    Parameters
    ----------
    record
        A claim as `Claim.as_dict` writes it.

    Returns
    -------
    The text.
    """
    if record["verdict"] == "not checked":
        return record["reason"]
    return format_measurement(record["measured"], record["error"], record["unit"])


def _as_text(records: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for number, record in enumerate(records, 1):
        kind = ", ".join(word for word in (SOURCES[record["source"]], record["kind"]) if word)
        lines += [
            f"{number}. {record['claim']} [{kind}]",
            f"   paper: {record['paper']} | measured: {describe_measurement(record)} | rule: {record['rule'] or '–'}",
            *([f"   rule revised: {record['revised']}"] if record["revised"] else []),
            f"   {SIGNS[record['verdict']]} {record['verdict']}",
        ]
    return "\n".join([*lines, summarise_verdicts(records)])


def _as_html(records: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for number, record in enumerate(records, 1):
        notes = [SOURCES[record["source"]], *([record["kind"]] if record["kind"] else [])]
        notes += [f"rule revised: {record['revised']}"] if record["revised"] else []
        words = f'{number}. {escape(record["claim"])}<br><small class="claim-kind">{escape(", ".join(notes))}</small>'
        cells = [record["paper"], describe_measurement(record), record["rule"] or "–"]
        rows.append(
            f'<tr id="{claim_anchor(number)}"><th scope="row">{words}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + f"<td>{badge(record['verdict'])}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    return (
        f'<table class="claims"><caption>{escape(summarise_verdicts(records))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
