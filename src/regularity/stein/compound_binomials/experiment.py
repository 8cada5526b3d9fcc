"""The chapter's runs: every rule on every design, the regret, the coverage of intervals, and the failure."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import binom
from torch import Tensor

from regularity.foundations.cross_fitting import cross_fit
from regularity.foundations.risk import sure_binomial
from regularity.stein.compound_binomials.method import (
    Measurements,
    best_loss,
    choose_by_sure,
    loss_curve,
    proportions,
    pulls,
    risk_interval,
    shrink_monotonically,
    sure_curve,
)
from regularity.stein.compound_binomials.problems import (
    Districts,
    draw_counts,
    made_up_population,
    pupils_drawn,
    random_forest,
    ridge_regression,
)
from regularity.stein.compound_binomials.rivals import choose_by_likelihood, npmle, shrink_on_arcsine_scale

Rule = Callable[[Tensor, Tensor], Tensor]


def squared_error(estimates: Tensor, truth: Tensor) -> Tensor:
    """Mean over the units, one value a draw."""
    return (estimates - truth).square().mean(dim=-1)


# --- Exact risks, by summing over all counts -----------------------------------------------------------------------


def arcsine_rule(successes: Tensor, trials: Tensor) -> Tensor:
    """Pull the arcsine of an average towards 0.3 by four tenths of the way; a rule that is not linear."""
    angle = torch.asin(torch.sqrt((successes + 0.25) / (trials + 0.5)))
    return torch.sin(0.3 + 0.6 * (angle - 0.3)).square()


def threshold_rule(successes: Tensor, trials: Tensor) -> Tensor:
    """The average, or a quarter where it is less; a rule with a kink."""
    return (successes / trials).clamp_min(0.25)


def plug_in_sure(rule: Rule, successes: Tensor, trials: Tensor) -> Tensor:
    """The central form with p̂(1 − p̂)/n in the place of the variance."""
    central = sure_binomial(rule, successes, trials)
    residual = (rule(successes, trials) - successes / trials).square()
    return residual + (central - residual) * (trials - 1) / trials


def mean_over_counts(function: Rule, n: int, rates: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Mean of function(x, n) under Bin(n, p) for each p: all counts, no sampling."""
    x = torch.arange(n + 1, dtype=torch.float64)
    return torch.as_tensor(binom.pmf(x.numpy(), n, rates.numpy()[:, None])) @ function(
        x, torch.full_like(x, n)
    )


def exact_risk(rule: Rule, n: int, rates: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Mean of (rule − p)² under Bin(n, p)."""
    first, second = (mean_over_counts(lambda x, n, k=k: rule(x, n) ** k, n, rates) for k in (1, 2))
    return second - 2 * rates * first + rates**2


def exact_bias(rule: Rule, n: int, rates: Float[Tensor, " k"], estimate: Rule | None = None) -> Tensor:
    """Mean of an estimate of the risk, of `sure_binomial` where none is given, less the risk."""
    estimate = partial(sure_binomial, rule) if estimate is None else estimate
    return mean_over_counts(estimate, n, rates) - exact_risk(rule, n, rates)


def largest_linear_bias(rates: Float[Tensor, " k"], largest_n: int = 20) -> float:
    """Largest bias of the estimated risk of linear rules, over sizes, centres and weights."""

    def linear(centre: float, weight: float) -> Rule:
        return lambda x, n: centre + weight * (x / n - centre)

    return max(
        exact_bias(linear(centre, weight), n, rates).abs().max().item()
        for n in range(2, largest_n + 1)
        for centre in (0.0, 0.3, 0.5, 0.9)
        for weight in (0.0, 0.2, 0.5, 0.9, 1.0)
    )


def largest_departure_from_bias(rates: Float[Tensor, " k"], largest_n: int = 20) -> float:
    """How far the bias of two curved rules is from p(1 − p)(1 − 2p) times the mean second difference."""
    worst = 0.0
    for rule in (arcsine_rule, threshold_rule):
        for n in range(2, largest_n + 1):
            table = rule(torch.arange(n + 1, dtype=torch.float64), torch.full((n + 1,), float(n)))
            weights = binom.pmf(range(n - 1), n - 2, rates.numpy()[:, None])
            curvature = torch.as_tensor(weights @ np.diff(table.numpy(), 2))
            stated = rates * (1 - rates) * (1 - 2 * rates) * curvature
            worst = max(worst, (exact_bias(rule, n, rates) - stated).abs().max().item())
    return worst


def unidentified_prior() -> tuple[float, float]:
    """Two priors that three trials cannot tell apart: the uniform one, and Gauss's two points on (0, 1).

    Gives the largest difference between the probabilities of the counts, which depend on three moments of the prior,
    and the largest difference between the posterior means, which depend on four.
    """
    n, x = 3, np.arange(4)
    points, weights = np.polynomial.legendre.leggauss(2)
    points, weights = (points + 1) / 2, weights / 2
    likelihood = weights * binom.pmf(x[:, None], n, points)
    uniform = np.full(n + 1, 1 / (n + 1)), (x + 1) / (n + 2)
    two_points = likelihood.sum(axis=1), likelihood @ points / likelihood.sum(axis=1)
    counts, means = (np.abs(a - b).max() for a, b in zip(uniform, two_points, strict=True))
    return float(counts), float(means)


# --- Rules beside one another --------------------------------------------------------------------------------------


def monotone_sure(successes: Tensor, trials: Tensor, strengths: Tensor, seed: int) -> Tensor:
    """One weight for each size, around the centre that SURE picks on the other folds."""

    def centre(train: Tensor, held_out: Tensor) -> Tensor:
        chosen = choose_by_sure(proportions(successes[..., train], trials[train]), strengths).centre
        return chosen[..., None].expand(-1, len(held_out))

    folds = torch.Generator().manual_seed(seed)
    centres = cross_fit(centre, len(trials), generator=folds)
    return shrink_monotonically(proportions(successes, trials), centres)


def rules_without_predictions(strengths: Tensor, fold_seed: int) -> dict[str, Rule]:
    """Rules that choose a centre and a strength from the counts alone."""
    return {
        "plain average": lambda x, n: x / n,
        "beta-binomial": lambda x, n: choose_by_likelihood(x, n, strengths).estimates,
        "NPMLE": npmle,
        "arcsine": lambda x, n: shrink_on_arcsine_scale(x, n, strengths),
        "SURE": lambda x, n: choose_by_sure(proportions(x, n), strengths).estimates,
        "SURE, monotone": lambda x, n: monotone_sure(x, n, strengths, fold_seed),
    }


def rules_at_predictions(strengths: Tensor) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Rules that choose how far to shrink to given predictions."""

    def by_sure(x: Tensor, n: Tensor, m: Tensor, plug_in: bool = False) -> Tensor:
        return choose_by_sure(proportions(x, n, plug_in=plug_in), strengths, m).estimates

    return {
        "ridge alone": lambda x, n, m: m,
        "plug-in at ridge": partial(by_sure, plug_in=True),
        "arcsine at ridge": lambda x, n, m: shrink_on_arcsine_scale(x, n, strengths, m),
        "beta-binomial at ridge": lambda x, n, m: choose_by_likelihood(x, n, strengths, m).estimates,
        "SURE at ridge": by_sure,
    }


# --- Regret and intervals ------------------------------------------------------------------------------------------


def regret_at_predictions(
    districts: Districts,
    design: str,
    strengths: Tensor,
    stream: Callable[..., torch.Generator],
    *,
    n_draws: int,
    n_folds: int,
    penalty: float,
) -> Float[Tensor, " draws"]:
    """Loss at the chosen strength less the least loss of any strength, one value a draw of the counts."""
    device = strengths.device
    trials = pupils_drawn(districts, stream("trials"))[design]
    counts = draw_counts(districts.rates, trials, n_draws, stream("counts")).to(device)
    rates, trials, covariates = (part.to(device) for part in (districts.rates, trials, districts.covariates))
    predictor = ridge_regression(covariates, counts, trials, penalty=penalty)
    predictions = cross_fit(predictor, len(trials), n_folds=n_folds, generator=stream("folds"))
    measured = proportions(counts, trials)
    loss = squared_error(choose_by_sure(measured, strengths, predictions).estimates, rates)
    return loss - loss_curve(measured, predictions, strengths, rates).amin(dim=-1)


def regret_at_free_centre(
    name: str, n_units: int, strengths: Tensor, stream: Callable[..., torch.Generator], *, n_draws: int
) -> Float[Tensor, " draws"]:
    """The same for a common centre that is chosen as well, in a made-up population."""
    trials, rates = made_up_population(name, n_units, n_draws, stream("rates"))
    counts = draw_counts(rates, trials, n_draws, stream("counts"))
    counts, rates, trials = (part.to(strengths.device) for part in (counts, rates, trials))
    sample = proportions(counts, trials)
    loss = squared_error(choose_by_sure(sample, strengths).estimates, rates)
    return loss - best_loss(sample, strengths, rates)


def cover_gain(
    measured: Measurements, predictions: Tensor, strengths: Tensor, rates: Tensor
) -> tuple[Tensor, Tensor]:
    """Whether the 95 % interval for the gain over the plain average, at the chosen strength, holds it.

    First the expected gain at that strength and these predictions, over new draws of the units' counts; then the gain
    that was realised in the same draw, for which the interval was not built. One truth value a draw each.
    """
    choice = choose_by_sure(measured, strengths, predictions)
    pull = pulls(measured.sizes, choice.strength)
    # The terms of SURE, less the variance estimates, which are the terms of the plain average.
    gap = (measured.values - predictions).square()
    low, high = risk_interval(pull.square() * gap - 2 * pull * measured.variances)
    variance = rates * (1 - rates) / measured.sizes
    expected = (pull.square() * ((rates - predictions).square() + variance) - 2 * pull * variance).mean(
        dim=-1
    )
    realised = squared_error(choice.estimates, rates) - squared_error(measured.values, rates)
    return (low < expected) & (expected < high), (low < realised) & (realised < high)


# --- Where it breaks -----------------------------------------------------------------------------------------------


def forest_curves(
    districts: Districts,
    counts: Tensor,
    trials: Tensor,
    strengths: Tensor,
    *,
    seed: int,
    folds: torch.Generator,
    n_folds: int,
    n_trees: int,
    min_leaf: int,
) -> dict[str, Float[Tensor, "2 k"]]:
    """Estimated risk and loss of shrinkage of one draw to a random forest that has not, and that has, seen it."""
    forest = random_forest(
        districts.covariates, counts, trials, n_trees=n_trees, min_leaf=min_leaf, seed=seed
    )
    everyone = torch.arange(len(trials))
    targets = {
        "cross-fitted": cross_fit(forest, len(trials), n_folds=n_folds, generator=folds),
        "in-sample": forest(everyone, everyone),
    }
    sample = proportions(counts, trials)
    return {
        way: torch.stack(
            [sure_curve(sample, m, strengths), loss_curve(sample, m, strengths, districts.rates)]
        )
        for way, m in targets.items()
    }
