"""Estimates against NumPy, SciPy and simulations."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from regularity import lab
from regularity.lab.estimates import format_measurement

NAN = math.nan


def test_a_mean_has_the_standard_error_that_scipy_gives():
    values = np.random.default_rng(0).gamma(2.0, size=9)
    estimate = lab.mean(torch.as_tensor(values), "dB")
    assert estimate.value == pytest.approx(values.mean(), rel=1e-14)
    assert estimate.error == pytest.approx(scipy.stats.sem(values), rel=1e-13)
    assert estimate.unit == "dB"


def test_pairs_cancel_what_repetitions_share():
    noise = np.random.default_rng(1)
    shared, own = 100 * noise.standard_normal(50), noise.standard_normal(50)
    difference = lab.paired_difference(shared + 0.5 + own, shared)
    test = scipy.stats.ttest_rel(shared + 0.5 + own, shared)
    assert difference.value / difference.error == pytest.approx(test.statistic, rel=1e-9)
    assert difference.error < 0.3


def test_the_error_of_a_ratio_is_what_simulations_scatter():
    noise = np.random.default_rng(2)

    def draw():
        shared = noise.standard_normal(200)
        return 3 + shared + 0.3 * noise.standard_normal(200), 2 + 0.5 * shared

    ratios = [lab.ratio(*draw()) for _ in range(600)]
    assert np.mean([r.value for r in ratios]) == pytest.approx(1.5, abs=0.005)
    scatter = np.std([r.value for r in ratios])
    assert np.mean([r.error for r in ratios]) == pytest.approx(scatter, rel=0.12)


def test_a_ratio_to_a_constant_is_the_scaled_mean():
    values = [1.0, 2.0, 4.0]
    assert lab.ratio(values, [2.0] * 3).error == pytest.approx(lab.mean(values).error / 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1.23456, 0.051, "dB"), "1.23 ± 0.05 dB"),
        ((-12.3456, 1.2), "−12 ± 1"),
        ((0.07654,), "0.0765"),
        ((1234.56,), "1235"),
        ((3.2e-13,), "3.2e−13"),
        ((3.2e-13, 4e-14), "3.2e−13 ± 4e−14"),
        ((0.0,), "0.00"),
        ((None,), "not a number"),
        ((NAN, 1.0), "not a number"),
    ],
)
def test_measurements_are_written_with_the_digits_they_have(arguments, text):
    assert format_measurement(*arguments) == text


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lab.Estimate(None), "value must be a number; got None"),
        (lambda: lab.Estimate(1.0, -0.1), r"error must not be negative; got -0\.1"),
        (lambda: lab.mean([1.0]), "values must hold at least two repetitions; got 1"),
        (lambda: lab.paired_difference([1, 2], [1, 2, 3]), "must be paired; got 2 and 3"),
        (lambda: lab.ratio([1, 2], [-1, 1]), "theirs must not have a mean of zero"),
    ],
)
def test_what_is_no_measurement_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
