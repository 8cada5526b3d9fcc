"""Claims of a paper, the rules that judge them, and the table of verdicts.

A claim is words, one measured number and a rule that was fixed before the run. Its verdict is a function of these
and never raises, whatever a reader's parameters make of the number; a claim that is stated wrongly does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

Verdict = Literal["reproduced", "partly", "not reproduced"]
Kind = Literal["exact", "statistical", "qualitative"]

SIGNS: Mapping[str, str] = {"reproduced": "✓", "partly": "◐", "not reproduced": "✗"}
METADATA_KEY = "regularity_claims"


@dataclass(frozen=True)
class Rule:
    """Bounds on a measured number. Make one with `at_least`, `at_most`, `above`, `below` or `between`.

    Attributes
    ----------
    low, high
        The bounds of *reproduced*; infinite where there is none.
    partly_low, partly_high
        The wider bounds of *partly*, or None.
    strict
        Whether the bounds themselves are outside.
    standard_errors
        How many standard errors the measurement must keep from each bound.
    unit
        Unit of the bounds and of the measurement, for the table.
    """

    low: float = -math.inf
    high: float = math.inf
    partly_low: float | None = None
    partly_high: float | None = None
    strict: bool = False
    standard_errors: float = 0.0
    unit: str = ""

    def __post_init__(self) -> None:
        bounds = [self.low, self.high, self.partly_low, self.partly_high]
        if any(bound is not None and math.isnan(bound) for bound in bounds):
            raise ValueError(f"a rule's bounds must be numbers; got {bounds}")
        if math.isinf(self.low) and math.isinf(self.high):
            raise ValueError("a rule must have a finite bound: no value could fail this one")
        if self.low > self.high:
            raise ValueError(f"low must not be above high; got low={self.low}, high={self.high}")
        if not (self.standard_errors >= 0 and math.isfinite(self.standard_errors)):
            raise ValueError(f"standard_errors must be finite and not negative; got {self.standard_errors}")
        if self.partly is not None:
            low, high = self.partly
            if math.isinf(low) and math.isinf(high):
                raise ValueError("partly must have a finite bound: no value could fail this one")
            if low > self.low or high < self.high or (low, high) == (self.low, self.high):
                raise ValueError(f"partly must be weaker than the rule; got {self.describe()}")

    @property
    def partly(self) -> tuple[float, float] | None:
        """The bounds of *partly*, or None where the rule knows only yes and no."""
        if self.partly_low is None and self.partly_high is None:
            return None
        low = -math.inf if self.partly_low is None else self.partly_low
        return low, math.inf if self.partly_high is None else self.partly_high

    def judge(self, measured: float, uncertainty: float | None = None) -> Verdict:
        """Give the verdict on a measurement.

        Parameters
        ----------
        measured
            The number; one that is not finite is *not reproduced*.
        uncertainty
            Its standard error, where the rule asks for a distance in standard errors.

        Returns
        -------
        The verdict.
        """
        margin = self.standard_errors * (uncertainty or 0.0) if self.standard_errors else 0.0
        if not (math.isfinite(measured) and math.isfinite(margin)):
            return "not reproduced"

        def holds(low: float, high: float) -> bool:
            if self.strict:
                return low < measured - margin and measured + margin < high
            return low <= measured - margin and measured + margin <= high

        if holds(self.low, self.high):
            return "reproduced"
        return "partly" if self.partly is not None and holds(*self.partly) else "not reproduced"

    def describe(self) -> str:
        """Write the rule in words and signs.

        Returns
        -------
        For instance "≥ 3 dB (partly ≥ 1 dB)".
        """

        def bounds(low: float, high: float) -> str:
            if math.isfinite(low) and math.isfinite(high):
                brackets = "()" if self.strict else "[]"
                interval = f"{brackets[0]}{_plain(low)}, {_plain(high)}{brackets[1]}"
                return f"in {interval} {self.unit}".rstrip()
            sign, bound = ("≥", low) if math.isfinite(low) else ("≤", high)
            sign = {"≥": ">", "≤": "<"}[sign] if self.strict else sign
            return f"{sign} {_plain(bound)} {self.unit}".rstrip()

        words = bounds(self.low, self.high)
        if self.standard_errors:
            words += f" by {self.standard_errors:g} standard errors"
        return words if self.partly is None else f"{words} (partly {bounds(*self.partly)})"


def _plain(bound: float) -> str:
    return f"{bound:g}".replace("-", "−")


def at_least(
    threshold: float, *, partly: float | None = None, standard_errors: float = 0.0, unit: str = ""
) -> Rule:
    """Rule: the measurement is at least `threshold`.

    Parameters
    ----------
    threshold
        The bound, in the unit of the measurement.
    partly
        A smaller bound that gives the verdict *partly*.
    standard_errors
        How many standard errors the measurement must lie inside the bound.
    unit
        Unit of the measurement, for the table.

    Returns
    -------
    The rule.

    Raises
    ------
    ValueError
        If a bound is not a finite number, or `partly` is not weaker than `threshold`.

    Examples
    --------
    >>> from regularity.lab import at_least
    >>> at_least(3.0, partly=1.0, unit="dB").judge(2.0)
    'partly'
    """
    return Rule(low=threshold, partly_low=partly, standard_errors=standard_errors, unit=unit)


def at_most(
    threshold: float, *, partly: float | None = None, standard_errors: float = 0.0, unit: str = ""
) -> Rule:
    """Rule: the measurement is at most `threshold`. Parameters, returns and errors as for `at_least`."""
    return Rule(high=threshold, partly_high=partly, standard_errors=standard_errors, unit=unit)


def above(
    threshold: float, *, partly: float | None = None, standard_errors: float = 0.0, unit: str = ""
) -> Rule:
    """Rule: the measurement is above `threshold`, never equal. The rest as for `at_least`."""
    return Rule(low=threshold, partly_low=partly, strict=True, standard_errors=standard_errors, unit=unit)


def below(
    threshold: float, *, partly: float | None = None, standard_errors: float = 0.0, unit: str = ""
) -> Rule:
    """Rule: the measurement is below `threshold`, never equal. The rest as for `at_least`."""
    return Rule(high=threshold, partly_high=partly, strict=True, standard_errors=standard_errors, unit=unit)


def between(
    low: float,
    high: float,
    *,
    partly: tuple[float, float] | None = None,
    standard_errors: float = 0.0,
    unit: str = "",
) -> Rule:
    """Rule: the measurement is between `low` and `high`, both included.

    Parameters
    ----------
    low, high
        The bounds, in the unit of the measurement.
    partly
        A wider pair of bounds that gives the verdict *partly*.
    standard_errors, unit
        As for `at_least`.

    Returns
    -------
    The rule.

    Raises
    ------
    ValueError
        If the bounds are not finite numbers in order, or `partly` is not wider.
    """
    wider = partly if partly is not None else (None, None)
    return Rule(low, high, *wider, standard_errors=standard_errors, unit=unit)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, what was measured, and the rule that judges it.

    Attributes
    ----------
    text
        The claim, in words.
    paper
        The paper's own figure, in words ("+0.34 dB on BSD68"; "exact" for a theorem).
    measured
        One number. A claim about several conditions measures the worst of them.
    rule
        The bounds, fixed before the run.
    kind
        "exact" (mathematics, to rounding), "statistical" (with an uncertainty) or "qualitative".
    uncertainty
        Standard error of the measurement, or None.

    Raises
    ------
    ValueError
        If the claim is stated wrongly: no words, no measurement, no rule, an unknown kind, a negative uncertainty,
        or a rule that counts in standard errors without one.
    """

    text: str
    paper: str
    measured: float
    rule: Rule
    kind: Kind
    uncertainty: float | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("text must say what is claimed; got nothing")
        if self.measured is None:
            raise ValueError(f"measured must be a number; got None for {self.text!r}")
        if not isinstance(self.rule, Rule):
            raise ValueError(
                f"rule must come from at_least, at_most, ...; got {self.rule!r} for {self.text!r}"
            )
        if self.kind not in ("exact", "statistical", "qualitative"):
            raise ValueError(f"kind must be exact, statistical or qualitative; got {self.kind!r}")
        object.__setattr__(self, "measured", float(self.measured))
        if self.uncertainty is not None:
            object.__setattr__(self, "uncertainty", float(self.uncertainty))
            if self.uncertainty < 0:
                raise ValueError(
                    f"uncertainty must not be negative; got {self.uncertainty} for {self.text!r}"
                )
        elif self.rule.standard_errors:
            raise ValueError(
                f"uncertainty must be given for a rule in standard errors; got None for {self.text!r}"
            )

    @property
    def verdict(self) -> Verdict:
        """What the rule says of the measurement."""
        return self.rule.judge(self.measured, self.uncertainty)

    def as_dict(self) -> dict[str, Any]:
        """Write the claim as JSON can hold it; numbers that are not finite become None.

        Returns
        -------
        claim, paper, measured, uncertainty, rule, kind, verdict, unit.
        """
        return {
            "claim": self.text,
            "paper": self.paper,
            "measured": _rounded(self.measured),
            "uncertainty": None if self.uncertainty is None else _rounded(self.uncertainty),
            "rule": self.rule.describe(),
            "kind": self.kind,
            "verdict": self.verdict,
            "unit": self.rule.unit,
        }


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def format_measurement(measured: float | None, uncertainty: float | None = None, unit: str = "") -> str:
    """Write a measurement with the digits that its uncertainty leaves: "1.23 ± 0.05 dB".

    Parameters
    ----------
    measured
        The number; None where it was not finite.
    uncertainty
        Its standard error, or None: then three significant digits are shown.
    unit
        Appended.

    Returns
    -------
    The text.

    Examples
    --------
    >>> from regularity.lab.claims import format_measurement
    >>> format_measurement(1.23456, 0.051, "dB")
    '1.23 ± 0.05 dB'
    """
    if measured is None or not math.isfinite(measured):
        return "not a number"

    def digits(value: float, significant: int) -> int:
        return max(0, significant - 1 - math.floor(math.log10(abs(value)))) if value else 2

    if measured != 0 and not 1e-4 <= abs(measured) < 1e5:
        text = f"{measured:.1e}"
    elif uncertainty is not None and math.isfinite(uncertainty) and uncertainty > 0:
        places = min(digits(uncertainty, 1), 6)
        text = f"{measured:.{places}f} ± {uncertainty:.{places}f}"
    else:
        text = f"{measured:.{digits(measured, 3)}f}"
    return f"{text} {unit}".rstrip().replace("-", "−")


def show_claims(claims: Sequence[Claim]) -> None:
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


def count_reproduced(records: Sequence[Mapping[str, Any]]) -> int:
    """Count the claims whose verdict is *reproduced*.

    Parameters
    ----------
    records
        Claims as `Claim.as_dict` writes them.

    Returns
    -------
    Their number.
    """
    return sum(record["verdict"] == "reproduced" for record in records)


def claims_of(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the claims out of an executed notebook.

    Parameters
    ----------
    notebook
        The notebook as nbformat or JSON gives it.

    Returns
    -------
    One entry a claim, as `Claim.as_dict` writes them, with `cell`, the number of the cell they stand in; empty
    where the notebook has not been executed.
    """
    return [
        {**record, "cell": number}
        for number, cell in enumerate(notebook["cells"])
        for output in cell.get("outputs", [])
        for record in output.get("metadata", {}).get(METADATA_KEY, [])
    ]


def _as_text(records: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for number, record in enumerate(records, 1):
        measured = format_measurement(record["measured"], record["uncertainty"], record["unit"])
        lines += [
            f"{number}. {record['claim']} [{record['kind']}]",
            f"   paper: {record['paper']} | measured: {measured} | rule: {record['rule']}",
            f"   {SIGNS[record['verdict']]} {record['verdict']}",
        ]
    return "\n".join([*lines, f"reproduced: {count_reproduced(records)} of {len(records)}"])


def _as_html(records: Sequence[Mapping[str, Any]]) -> str:
    heads = ["claim", "the paper", "measured", "rule", "verdict"]
    rows = []
    for number, record in enumerate(records, 1):
        measured = format_measurement(record["measured"], record["uncertainty"], record["unit"])
        kind = f'<br><small class="claim-kind">{record["kind"]}</small>'
        rows.append(
            f'<tr><th scope="row">{number}. {escape(record["claim"])}{kind}</th><td>{escape(record["paper"])}</td>'
            f"<td>{escape(measured)}</td><td>{escape(record['rule'])}</td><td>{badge(record['verdict'])}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    summary = f"{count_reproduced(records)} of {len(records)} claims reproduced"
    return (
        f'<table class="claims"><caption>{summary}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def badge(verdict: str) -> str:
    """Write a verdict as a badge that does not rest on colour alone.

    Parameters
    ----------
    verdict
        "reproduced", "partly" or "not reproduced".

    Returns
    -------
    HTML.
    """
    css_class = verdict.replace(" ", "-")
    return f'<span class="verdict verdict-{css_class}">{SIGNS[verdict]}&nbsp;{verdict}</span>'
