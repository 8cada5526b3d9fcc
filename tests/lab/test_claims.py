"""Verdicts: what each rule says of each number, what is refused, and what a notebook keeps."""

import json
import math

import nbformat
import numpy as np
import pytest
import torch

from regularity.lab.claims import (
    Claim,
    Rule,
    above,
    at_least,
    at_most,
    below,
    between,
    claims_of,
    count_reproduced,
    format_measurement,
    show_claims,
)

NAN, INF = math.nan, math.inf


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
        (lambda: Claim(" ", "p", 1.0, above(0), "exact"), "text must say"),
        (lambda: Claim("c", "p", None, above(0), "exact"), "measured must be a number"),
        (lambda: Claim("c", "p", 1.0, None, "exact"), "rule must come from"),
        (lambda: Claim("c", "p", 1.0, above(0), "likely"), "kind must be"),
        (lambda: Claim("c", "p", 1.0, above(0), "exact", -0.1), "uncertainty must not be negative"),
        (
            lambda: Claim("c", "p", 1.0, above(0, standard_errors=2), "statistical"),
            "uncertainty must be given",
        ),
        (lambda: show_claims([]), "claims must not be empty"),
        (lambda: show_claims([Claim("c", "p", 1.0, above(0), "exact")] * 2), "words of its own"),
    ],
)
def test_a_claim_stated_wrongly_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [2, np.float32(2), np.array(2.0), torch.tensor(2.0), True + 1])
def test_a_measurement_may_be_any_kind_of_number(value):
    assert Claim("c", "p", value, at_least(2), "exact").verdict == "reproduced"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1.23456, 0.051, "dB"), "1.23 ± 0.05 dB"),
        ((-12.3456, 1.2), "−12 ± 1"),
        ((0.07654,), "0.0765"),
        ((1234.56,), "1235"),
        ((3.2e-13,), "3.2e−13"),
        ((0.0,), "0.00"),
        ((None,), "not a number"),
        ((NAN, 1.0), "not a number"),
    ],
)
def test_measurements_are_written_with_the_digits_they_have(arguments, text):
    assert format_measurement(*arguments) == text


@pytest.fixture
def shown(monkeypatch):
    """What `show_claims` displays."""
    caught = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: caught.append((data, options)))
    return caught


def test_a_notebook_keeps_what_machines_read(shown):
    claims = [
        Claim("It <holds>", "+1", 2.0, at_least(1, unit="dB"), "statistical", 0.1),
        Claim("It fails", "+2", NAN, at_least(1), "exact"),
    ]
    show_claims(claims)
    data, options = shown[0]
    output = nbformat.v4.new_output("display_data", data, metadata=options["metadata"])
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("x"), nbformat.v4.new_code_cell("y", outputs=[output])]
    )
    read = claims_of(json.loads(nbformat.writes(notebook)))
    assert [(row["claim"], row["verdict"], row["cell"]) for row in read] == [
        ("It <holds>", "reproduced", 1),
        ("It fails", "not reproduced", 1),
    ]
    assert read[0]["measured"] == 2.0
    assert read[1]["measured"] is None
    assert count_reproduced(read) == 1
    assert "It &lt;holds&gt;" in data["text/html"]
    assert "reproduced: 1 of 2" in data["text/plain"]
    for verdict in ("✓ reproduced", "✗ not reproduced"):
        assert verdict in data["text/plain"]
