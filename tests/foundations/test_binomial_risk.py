"""The estimated risk of binomial counts against sums over all counts, and its Gaussian limit."""

import math

import numpy as np
import pytest
import torch

from regularity.foundations.risk import binomial_variance, sure_binomial, sure_gaussian
from tests.binomials import RATES, all_counts, exact_risk, mean_over_counts, tensor
from tests.draws import seeded


@pytest.mark.parametrize("n", range(2, 21))
@pytest.mark.parametrize("form", ["central", "falling", "third order"])
def test_linear_rules_have_an_unbiased_risk(n, form):
    if form == "third order" and n < 3:
        n = 21
    for centre in (0.0, 0.3, 1.0):
        for weight in (0.0, 0.4, 1.0):
            estimate = sure_binomial(
                lambda x, n, w=weight, m=centre: m + w * (x / n - m), *all_counts(n), form=form
            )
            table = centre + weight * (np.arange(n + 1) / n - centre)
            np.testing.assert_allclose(
                mean_over_counts(estimate, n), exact_risk(table, n), rtol=0, atol=1e-14
            )


BIASES = {
    "central": lambda p, n, table: p * (1 - p) * (1 - 2 * p) * mean_over_counts(np.diff(table, 2), n - 2),
    "falling": lambda p, n, table: 2 * p**3 * mean_over_counts(np.diff(table, 2), n - 2),
    "third order": lambda p, n, table: (
        -p * (1 - p) * (1 - 2 * p) ** 2 / 2 * mean_over_counts(np.diff(table, 3), n - 3)
    ),
}


@pytest.mark.parametrize("n", [3, 4, 7, 15])
@pytest.mark.parametrize("form", BIASES)
def test_any_table_has_the_stated_bias(n, form):
    table = torch.randn(n + 1, generator=seeded(n), dtype=torch.float64)
    estimate = sure_binomial(lambda x, n: table[x.long()], *all_counts(n), form=form)
    bias = mean_over_counts(estimate, n) - exact_risk(table, n)
    np.testing.assert_allclose(bias, BIASES[form](RATES, n, table.numpy()), rtol=0, atol=1e-13)
    assert np.abs(bias).max() > 1e-3  # there is a bias to be stated
    if form != "falling":
        assert abs(bias[RATES == 0.5]) < 1e-14


def test_two_trials_are_enough_for_the_central_form():
    table = tensor([0.3, -1.0, 0.9])
    estimate = sure_binomial(lambda x, n: table[x.long()], *all_counts(2))
    bias = mean_over_counts(estimate, 2) - exact_risk(table, 2)
    np.testing.assert_allclose(bias, RATES * (1 - RATES) * (1 - 2 * RATES) * 3.2, rtol=0, atol=1e-15)


@pytest.mark.parametrize("form", ["central", "third order"])
def test_successes_and_failures_are_alike(form):
    table = torch.rand(9, generator=seeded(), dtype=torch.float64)
    x, n = all_counts(8)
    straight = sure_binomial(lambda x, n: table[x.long()], x, n, form=form)
    mirrored = sure_binomial(lambda x, n: 1 - table[(n - x).long()], n - x, n, form=form)
    torch.testing.assert_close(mirrored, straight)


def test_many_trials_give_the_gaussian_estimate():
    """At p̂ = p, with variance p(1 − p)/n and the derivative by hand; the relative error falls like 1/n."""
    rate, errors = 0.3, []
    for n in (200, 400, 800):
        x = tensor([rate * n])
        ours = sure_binomial(lambda x, n: torch.sin(2 * x / n), x, tensor([float(n)]))
        noise_std, slope = math.sqrt(rate * (1 - rate) / n), 2 * math.cos(2 * rate)
        theirs = sure_gaussian(torch.sin(2 * x / n)[:, None], x[:, None] / n, noise_std, tensor([slope]))
        # The residual is the same in both, and large; what is compared is the rest.
        residual = (math.sin(2 * rate) - rate) ** 2
        errors.append(abs((ours - theirs) / (theirs - residual)).item())
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("form", ["central", "falling", "third order"])
def test_a_rule_is_asked_for_counts_alone(form):
    def rule(x, n):
        assert bool(((x >= 0) & (x <= n)).all())
        return x / n

    x, n = all_counts(3)
    assert torch.isfinite(sure_binomial(rule, x, n, form=form)).all()


def test_the_variance_is_estimated_without_bias():
    for n in (2, 3, 11):
        variance = mean_over_counts(binomial_variance(*all_counts(n)), n)
        np.testing.assert_allclose(variance, RATES * (1 - RATES) / n, rtol=0, atol=1e-15)


@pytest.mark.bad_input
def test_the_third_order_needs_three_trials():
    with pytest.raises(ValueError, match="trials must be at least 3 for the third order; got 2"):
        sure_binomial(lambda x, n: x / n, tensor([1.0, 1.0]), tensor([4.0, 2.0]), form="third order")
