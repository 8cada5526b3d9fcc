"""Claims of a paper and the rules that judge them.

A claim is words, one measured number and a rule that was fixed before the run. Its verdict is a function of these
and never raises, whatever a reader's parameters make of the number; a claim that is stated wrongly does.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, get_args

from regularity.lab.estimates import Estimate

Verdict = Literal["reproduced", "partly", "not reproduced", "not checked"]
Kind = Literal["exact", "statistical", "qualitative"]
Source = Literal["paper", "implied", "ours"]

SIGNS: Mapping[Verdict, str] = {"reproduced": "✓", "partly": "◐", "not reproduced": "✗", "not checked": "–"}
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

    def judge(self, measured: float, error: float | None = None) -> Verdict:
        """Give the verdict on a measurement.

        Parameters
        ----------
        measured
            The number; one that is not finite is *not reproduced*.
        error
            Its standard error, where the rule asks for a distance in standard errors.

        Returns
        -------
        The verdict.
        """
        margin = self.standard_errors * (error or 0.0) if self.standard_errors else 0.0
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
    """A claim, what was measured, and the rule that judges it.

    Attributes
    ----------
    text
        The claim, in words that stand alone.
    paper
        The paper's own words or figure, quoted briefly ("+0.34 dB on BSD68"; "exact" for a theorem).
    measured
        One number, an `Estimate` with its standard error where the kind is "statistical". A claim about several
        conditions measures the worst of them.
    rule
        The bounds, fixed before the run.
    kind
        "exact" (mathematics, to rounding), "statistical" (another seed gives another number) or "qualitative" (a
        shape or an order, put into a number).
    source
        Whose claim it is: "paper" (in its own words), "implied" (follows from what the paper says) or "ours".
    revised
        What was changed in the rule after a seed had been seen; empty where nothing was. It is then judged on other
        seeds, and the ledger marks it.

    Raises
    ------
    ValueError
        If the claim is stated wrongly: no words, no measurement, no rule, an unknown kind or source, a statistical
        claim without a standard error, a rule in standard errors without one, or two different units.
    """

    text: str
    paper: str
    measured: Estimate | float
    rule: Rule
    kind: Kind
    _: KW_ONLY
    source: Source
    revised: str = ""

    def __post_init__(self) -> None:
        _check_words("text", self.text)
        if self.measured is None:
            raise ValueError(f"measured must be a number; got None for {self.text!r}")
        if not isinstance(self.rule, Rule):
            raise ValueError(
                f"rule must come from at_least, at_most, ...; got {self.rule!r} for {self.text!r}"
            )
        _check_choice("kind", self.kind, get_args(Kind))
        _check_choice("source", self.source, get_args(Source))
        estimate = self.measured if isinstance(self.measured, Estimate) else Estimate(self.measured)
        if estimate.error is None and (self.kind == "statistical" or self.rule.standard_errors):
            why = "a statistical claim" if self.kind == "statistical" else "a rule in standard errors"
            raise ValueError(
                f"measured must be an Estimate with an error for {why}; got none for {self.text!r}"
            )
        units = {estimate.unit, self.rule.unit} - {""}
        if len(units) > 1:
            raise ValueError(
                f"measured and rule must have one unit; got {estimate.unit!r} and {self.rule.unit!r}"
            )
        unit = "".join(units)
        object.__setattr__(self, "measured", replace(estimate, unit=unit))
        object.__setattr__(self, "rule", replace(self.rule, unit=unit))

    @property
    def verdict(self) -> Verdict:
        """What the rule says of the measurement."""
        return self.rule.judge(self.measured.value, self.measured.error)

    def as_dict(self) -> dict[str, Any]:
        """Write the claim as JSON can hold it; numbers that are not finite become None.

        Returns
        -------
        claim, paper, source, measured, error, unit, rule, kind, verdict, revised, reason.
        """
        error = self.measured.error
        return {
            "claim": self.text,
            "paper": self.paper,
            "source": self.source,
            "measured": _rounded(self.measured.value),
            "error": None if error is None else _rounded(error),
            "unit": self.measured.unit,
            "rule": self.rule.describe(),
            "kind": self.kind,
            "verdict": self.verdict,
            "revised": self.revised,
            "reason": "",
        }


@dataclass(frozen=True)
class NotChecked:
    """A claim of the paper that cannot be checked here: it stands in the table with the reason, and counts nowhere.

    Attributes
    ----------
    text
        The claim, in words that stand alone.
    paper
        The paper's own words or figure.
    reason
        Why it cannot be checked at this size, or without what.

    Raises
    ------
    ValueError
        If there are no words, or no reason.
    """

    text: str
    paper: str
    reason: str

    def __post_init__(self) -> None:
        _check_words("text", self.text)
        _check_words("reason", self.reason)

    def as_dict(self) -> dict[str, Any]:
        """Write the claim as JSON can hold it.

        Returns
        -------
        The keys of `Claim.as_dict`; nothing is measured, and the verdict is "not checked".
        """
        return {
            "claim": self.text,
            "paper": self.paper,
            "source": "paper",
            "measured": None,
            "error": None,
            "unit": "",
            "rule": "",
            "kind": "",
            "verdict": "not checked",
            "revised": "",
            "reason": self.reason,
        }


def _check_words(name: str, words: str) -> None:
    if not words.strip():
        raise ValueError(f"{name} must say something; got nothing")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def count_verdicts(records: Iterable[Mapping[str, Any]], *sources: Source) -> dict[Verdict, int]:
    """Count the verdicts of claims.

    Parameters
    ----------
    records
        Claims as `Claim.as_dict` writes them.
    sources
        Whose claims to count; none: all.

    Returns
    -------
    The number of each verdict, in the order of `SIGNS`; those that did not occur are 0.
    """
    counts: dict[Verdict, int] = dict.fromkeys(SIGNS, 0)
    for record in records:
        if not sources or record["source"] in sources:
            counts[record["verdict"]] += 1
    return counts


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
