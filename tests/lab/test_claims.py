"""Verdicts: what each rule says of each number, what is refused, and what a notebook keeps."""

import json
import math

import nbformat
import numpy as np
import pytest
import torch

from regularity.lab.claims import (
    Claim,
    NotChecked,
    Rule,
    above,
    at_least,
    at_most,
    below,
    between,
    claims_of,
    count_verdicts,
)
from regularity.lab.estimates import Estimate
from regularity.lab.verdicts import show_claims, summarise_verdicts

NAN, INF = math.nan, math.inf


def claim(text="c", paper="p", measured=1.0, rule=above(0), kind="exact", source="ours"):  # noqa: B008
    """A claim that is stated rightly but for what a test changes."""
    return Claim(text, paper, measured, rule, kind, source=source)


@pytest.mark.parametrize(
    ("rule", "verdicts"),
    [
        (at_least(3), {2.999: "not reproduced", 3.0: "reproduced", 4: "reproduced"}),
        (at_most(3), {3.001: "not reproduced", 3.0: "reproduced", -4: "reproduced"}),
        (above(0), {0.0: "not reproduced", 1e-300: "reproduced"}),
        (below(0), {0.0: "not reproduced", -1e-300: "reproduced"}),
        (
            between(1, 2),
            {0.99: "not reproduced", 1.0: "reproduced", 2.0: "reproduced", 2.01: "not reproduced"},
        ),
        (at_least(3, partly=1), {0.9: "not reproduced", 1.0: "partly", 2.9: "partly", 3.0: "reproduced"}),
        (at_most(3, partly=5), {5.1: "not reproduced", 5.0: "partly", 3.0: "reproduced"}),
        (
            between(1, 2, partly=(0, 3)),
            {-0.1: "not reproduced", 0.5: "partly", 2.5: "partly", 1.5: "reproduced"},
        ),
    ],
)
def test_a_rule_gives_its_verdict(rule, verdicts):
    assert {value: rule.judge(value) for value in verdicts} == verdicts


@pytest.mark.parametrize(
    "rule", [at_least(0), at_most(0), above(0), below(0), between(-1, 1), at_least(0, partly=-1)]
)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_number_that_is_not_finite_is_not_reproduced(rule, value):
    assert rule.judge(value) == "not reproduced"


def test_standard_errors_narrow_the_bounds():
    rule = above(0, standard_errors=2)
    assert rule.judge(0.5, 0.2) == "reproduced"
    assert rule.judge(0.5, 0.25) == "not reproduced"
    assert rule.judge(0.5, NAN) == "not reproduced"
    assert between(-1, 1, standard_errors=2).judge(0.9, 0.06) == "not reproduced"
    assert at_least(0, partly=-1, standard_errors=2).judge(-0.5, 0.2) == "partly"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (at_least(3, partly=1, unit="dB"), "≥ 3 dB (partly ≥ 1 dB)"),
        (above(0, standard_errors=2), "> 0 by 2 standard errors"),
        (below(-0.5), "< −0.5"),
        (between(0.93, 0.99), "in [0.93, 0.99]"),
        (at_most(1e-12), "≤ 1e−12"),
    ],
)
def test_a_rule_is_told_in_words(rule, words):
    assert rule.describe() == words


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rule(), "no value could fail"),
        (lambda: at_least(-INF), "no value could fail"),
        (lambda: at_most(INF), "no value could fail"),
        (lambda: at_least(NAN), "bounds must be numbers"),
        (lambda: between(2, 1), "low must not be above high"),
        (lambda: at_least(1, partly=2), "partly must be weaker"),
        (lambda: at_least(1, partly=1), "partly must be weaker"),
        (lambda: at_least(1, partly=-INF), "no value could fail"),
        (lambda: between(0, 1, partly=(0.2, 2)), "partly must be weaker"),
        (lambda: above(0, standard_errors=-1), "standard_errors must be"),
        (lambda: claim(text=" "), "text must say"),
        (lambda: claim(measured=None), "measured must be a number"),
        (lambda: claim(rule=None), "rule must come from"),
        (lambda: claim(kind="likely"), "kind must be one of exact, statistical, qualitative; got 'likely'"),
        (lambda: claim(source="theirs"), "source must be one of paper, implied, ours; got 'theirs'"),
        (lambda: claim(kind="statistical"), "an Estimate with an error for a statistical claim"),
        (lambda: claim(measured=Estimate(1.0), kind="statistical"), "for a statistical claim"),
        (lambda: claim(rule=above(0, standard_errors=2)), "for a rule in standard errors"),
        (
            lambda: claim(measured=Estimate(1, unit="dB"), rule=above(0, unit="s")),
            "one unit; got 'dB' and 's'",
        ),
        (lambda: NotChecked("c", "p", ""), "reason must say something"),
        (lambda: NotChecked("", "p", "r"), "text must say something"),
        (lambda: show_claims([]), "claims must not be empty"),
        (lambda: show_claims([claim()] * 2), "words of its own"),
    ],
)
def test_a_claim_stated_wrongly_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [2, np.float32(2), np.array(2.0), torch.tensor(2.0), True + 1, Estimate(2)])
def test_a_measurement_may_be_any_kind_of_number(value):
    assert claim(measured=value, rule=at_least(2)).verdict == "reproduced"


def test_the_unit_stands_with_the_number_or_with_the_rule():
    for stated in (
        claim(measured=Estimate(2, unit="dB"), rule=at_least(1)),
        claim(measured=2, rule=at_least(1, unit="dB")),
    ):
        assert stated.as_dict()["unit"] == "dB"
        assert stated.as_dict()["rule"] == "≥ 1 dB"


CLAIMS = [
    Claim("It <holds>", "+1", Estimate(2.0, 0.1), at_least(1, unit="dB"), "statistical", source="paper"),
    Claim("It fails", "+2", NAN, at_least(1), "exact", source="ours", revised="from 2 to 1"),
    NotChecked("It scales", "“to millions”", "no such data here"),
]


def test_a_notebook_keeps_what_machines_read(shown):
    show_claims(CLAIMS)
    data, metadata = shown[0]
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("x"), nbformat.v4.new_code_cell("y", outputs=[output])]
    )
    read = claims_of(json.loads(nbformat.writes(notebook)))
    assert [(row["claim"], row["verdict"], row["source"], row["cell"]) for row in read] == [
        ("It <holds>", "reproduced", "paper", 1),
        ("It fails", "not reproduced", "ours", 1),
        ("It scales", "not checked", "paper", 1),
    ]
    assert (read[0]["measured"], read[0]["error"]) == (2.0, 0.1)
    assert read[1]["measured"] is None
    assert [row["revised"] for row in read] == ["", "from 2 to 1", ""]


def test_totals_count_the_papers_claims_that_were_checked():
    records = [stated.as_dict() for stated in CLAIMS]
    assert count_verdicts(records, "paper") == {
        "reproduced": 1,
        "partly": 0,
        "not reproduced": 0,
        "not checked": 1,
    }
    assert sum(count_verdicts(records).values()) == 3
    assert summarise_verdicts(records) == (
        "1 of the paper's 1 checked claims reproduced; ours 0 of 1; 1 not checked"
    )


def test_the_table_tells_all_that_is_kept(shown):
    show_claims(CLAIMS)
    data, _ = shown[0]
    assert "It &lt;holds&gt;" in data["text/html"]
    assert 'id="claim-3"' in data["text/html"]
    for kind in ("text/html", "text/plain"):
        text = data[kind].replace("&nbsp;", " ")
        for words in (
            "✓ reproduced",
            "✗ not reproduced",
            "– not checked",
            "2.0 ± 0.1 dB",
            "no such data here",
            "rule revised: from 2 to 1",
        ):
            assert words in text
