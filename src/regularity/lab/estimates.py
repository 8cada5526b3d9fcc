"""Measurements with their uncertainty: what a statistical claim is judged by.

The functions reduce independent repetitions (seeds, splits, images) to one number and its standard error.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsFloat


@dataclass(frozen=True)
class Estimate:
    """A measured number, its standard error and its unit.

    Attributes
    ----------
    value
        The number; one that is not finite is kept, and no rule holds for it.
    error
        Its standard error, not negative; None where the number is exact or its error unknown.
    unit
        Of both: "dB", "s", ...; empty for a bare number.

    Raises
    ------
    ValueError
        If `error` is negative, or `value` is missing.

    Examples
    --------
    >>> from regularity.lab import Estimate
    >>> print(Estimate(1.23456, 0.051, "dB"))
    1.23 ± 0.05 dB
    """

    value: float
    error: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.value is None:
            raise ValueError("value must be a number; got None")
        object.__setattr__(self, "value", float(self.value))
        if self.error is not None:
            object.__setattr__(self, "error", float(self.error))
            if self.error < 0:
                raise ValueError(f"error must not be negative; got {self.error}")

    def __str__(self) -> str:
        return format_measurement(self.value, self.error, self.unit)

    def __float__(self) -> float:
        return self.value


def mean(values: Iterable[SupportsFloat], unit: str = "") -> Estimate:
    """Average independent repetitions.

    Parameters
    ----------
    values
        One measurement a repetition; at least two, or there is no error to estimate.
    unit
        Of the values.

    Returns
    -------
    The mean and its standard error, the sample standard deviation over √n.

    Raises
    ------
    ValueError
        If there are fewer than two values.

    Examples
    --------
    >>> from regularity import lab
    >>> lab.mean([1.0, 2.0, 3.0]).error == (1 / 3) ** 0.5
    True
    """
    numbers = _numbers("values", values)
    centre = math.fsum(numbers) / len(numbers)
    return Estimate(centre, math.sqrt(_covariance(numbers, numbers) / len(numbers)), unit)


def paired_difference(
    ours: Iterable[SupportsFloat], theirs: Iterable[SupportsFloat], unit: str = ""
) -> Estimate:
    """Average the differences of two methods that were given the same repetitions.

    What the repetitions share (an easy split, a bright image) cancels, so the error is that of the comparison.

    Parameters
    ----------
    ours, theirs
        One measurement a repetition, in the same order.
    unit
        Of the values.

    Returns
    -------
    The mean of `ours` − `theirs` and its standard error.

    Raises
    ------
    ValueError
        If there are fewer than two repetitions, or the numbers of them differ.
    """
    first, second = _pairs(ours, theirs)
    return mean([a - b for a, b in zip(first, second, strict=True)], unit)


def ratio(ours: Iterable[SupportsFloat], theirs: Iterable[SupportsFloat]) -> Estimate:
    """Divide the means of two methods that were given the same repetitions.

    Parameters
    ----------
    ours, theirs
        One measurement a repetition, in the same order; the mean of `theirs` is not zero.

    Returns
    -------
    The mean of `ours` over that of `theirs`, with the standard error that the delta method gives a ratio of paired
    means.

    Raises
    ------
    ValueError
        If there are fewer than two repetitions, the numbers of them differ, or the mean of `theirs` is zero.

    References
    ----------
    Cochran (1977), Sampling Techniques, Section 2.11.
    """
    first, second = _pairs(ours, theirs)
    over, under = math.fsum(first) / len(first), math.fsum(second) / len(second)
    if under == 0:
        raise ValueError("theirs must not have a mean of zero")
    quotient = over / under
    residuals = [a - quotient * b for a, b in zip(first, second, strict=True)]
    return Estimate(quotient, math.sqrt(_covariance(residuals, residuals) / len(residuals)) / abs(under))


def _numbers(name: str, values: Iterable[SupportsFloat]) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        raise ValueError(f"{name} must hold at least two repetitions; got {len(numbers)}")
    return numbers


def _pairs(ours: Iterable[SupportsFloat], theirs: Iterable[SupportsFloat]) -> tuple[list[float], list[float]]:
    first, second = _numbers("ours", ours), _numbers("theirs", theirs)
    if len(first) != len(second):
        raise ValueError(f"ours and theirs must be paired; got {len(first)} and {len(second)} repetitions")
    return first, second


def _covariance(first: list[float], second: list[float]) -> float:
    n = len(first)
    middle_first, middle_second = math.fsum(first) / n, math.fsum(second) / n
    products = ((a - middle_first) * (b - middle_second) for a, b in zip(first, second, strict=True))
    return math.fsum(products) / (n - 1)


def format_measurement(value: float | None, error: float | None = None, unit: str = "") -> str:
    """Write a measurement with the digits that its error leaves.

    Parameters
    ----------
    value
        The number; None where it was not finite.
    error
        Its standard error, or None: then three significant digits are shown.
    unit
        Appended.

    Returns
    -------
    The text, with the sign "−".

    Examples
    --------
    >>> from regularity.lab.estimates import format_measurement
    >>> format_measurement(-12.3456, 1.2)
    '−12 ± 1'
    """
    if value is None or not math.isfinite(value):
        return "not a number"

    def digits(number: float, significant: int) -> int:
        return max(0, significant - 1 - math.floor(math.log10(abs(number)))) if number else 2

    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        text = f"{value:.1e}"
        if error is not None and math.isfinite(error) and error > 0:
            text += f" ± {error:.0e}"
    elif error is not None and math.isfinite(error) and error > 0:
        places = min(digits(error, 1), 6)
        text = f"{value:.{places}f} ± {error:.{places}f}"
    else:
        text = f"{value:.{digits(value, 3)}f}"
    return f"{text} {unit}".rstrip().replace("-", "−")
