"""Compound binomials beside SciPy: choose a centre and a strength of shrinkage for 30,000 units.

What a user would write instead is the beta-binomial likelihood, `scipy.stats.betabinom`, in a quasi-Newton optimiser;
statsmodels has no such model. Rates come from Beta(2, 6), where that model is true, in 2 to 12 trials.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from regularity.stein.compound_binomials import (
    choose_by_likelihood,
    choose_by_sure,
    proportions,
    shrink,
    strength_grid,
)

N_UNITS = 30_000
GENERATOR = torch.Generator().manual_seed(0)
TRIALS = torch.randint(2, 13, (N_UNITS,), generator=GENERATOR).double()
# The second smallest of seven uniform numbers follows Beta(2, 6).
RATES = torch.rand(N_UNITS, 7, generator=GENERATOR, dtype=torch.float64).kthvalue(2, dim=1).values
SUCCESSES = torch.binomial(TRIALS, RATES, GENERATOR)
STRENGTHS = strength_grid()


def mean_log_likelihood(centre: float, strength: float) -> float:
    """Of the beta-binomial model, a unit."""
    a, b = strength * centre, strength * (1 - centre)
    return stats.betabinom.logpmf(SUCCESSES.numpy(), TRIALS.numpy(), a, b).mean()


def maximise_likelihood() -> tuple[float, float]:
    """Centre and strength by SciPy, from the centre of the parameters' range."""

    def parameters(unbounded: np.ndarray) -> tuple[float, float]:
        return 1 / (1 + np.exp(-unbounded[0])), np.exp(unbounded[1])

    found = optimize.minimize(lambda u: -mean_log_likelihood(*parameters(u)), [0.0, 1.0], method="L-BFGS-B")
    return parameters(found.x)


def thousandths_of_error(estimates: torch.Tensor) -> float:
    """Mean squared error against the true rates."""
    return 1e3 * (estimates - RATES).square().mean().item()


def test_choice_by_sure(compare: Callable[..., None]) -> None:
    """The method's own criterion; where the peer's model is true, both reach the same error."""
    measured = proportions(SUCCESSES, TRIALS)
    centre, strength = maximise_likelihood()
    ours = thousandths_of_error(choose_by_sure(measured, STRENGTHS).estimates)
    theirs = thousandths_of_error(shrink(measured, torch.full_like(RATES, centre), strength))
    assert ours == pytest.approx(theirs, rel=5e-3)
    compare(
        "choose centre and strength, 30,000 units",
        method="choose_by_sure",
        peer="scipy",
        run_method=lambda: choose_by_sure(proportions(SUCCESSES, TRIALS), STRENGTHS),
        run_peer=maximise_likelihood,
        quality=(ours, theirs),
        quality_name="mean squared error (thousandths)",
        note="SURE needs sums over the units of each size, once; the likelihood visits every unit at every step.",
    )


def test_choice_by_likelihood(compare: Callable[..., None]) -> None:
    """The chapter's baseline: the peer's criterion, on the method's grid of strengths."""
    choice = choose_by_likelihood(SUCCESSES, TRIALS, STRENGTHS)
    ours = mean_log_likelihood(choice.centre.item(), choice.strength.item())
    theirs = mean_log_likelihood(*maximise_likelihood())
    assert ours == pytest.approx(theirs, abs=1e-4)
    compare(
        "maximise the beta-binomial likelihood, 30,000 units",
        method="choose_by_likelihood",
        peer="scipy",
        run_method=lambda: choose_by_likelihood(SUCCESSES, TRIALS, STRENGTHS),
        run_peer=maximise_likelihood,
        quality=(ours, theirs),
        quality_name="log-likelihood a unit",
        note="The likelihood depends on three counts of units a number of trials, which are summed once.",
    )
